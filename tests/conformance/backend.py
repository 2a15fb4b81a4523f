"""The tests of the ONNX backend, run through graphopt: on the reference evaluator, and as programs."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

import graphopt
from graphopt.errors import GraphoptError, Unsupported
from graphopt.frontends import load
from graphopt.ir import Array, Graph

KINDS = ("node", "simple", "pytorch-operator", "pytorch-converted")
"""The kinds of tests whose models and data come with onnx; those of kind "real" are downloaded, and left out."""

FREEZE = re.compile(r"freeze it: constants=\{'([^']*)': \.\.\.\}")
"""The advice of a refusal that names an input which must be known."""

PASSED, REFUSED, WRONG, DIFFERENT = "passed", "refused", "wrong", "different"

ALIGNED = (
    "align_corners with a scale that gives no whole length: ONNX's text divides by `length_resized - 1`, the whole "
    "length, and so do ONNX Runtime and PyTorch; the test has what onnx's reference evaluator gives, which divides "
    "by the length before rounding"
)
DELIBERATE = {
    "test_resize_downsample_scales_cubic_align_corners": ALIGNED,
    "test_resize_downsample_scales_linear_align_corners": ALIGNED,
}
"""Tests that ask for another result than graphopt means to give, and why; they count apart."""


@dataclass(frozen=True)
class Case:
    """One test: a model, and arrays for its inputs and outputs."""

    name: str
    kind: str
    op: str
    model: onnx.ModelProto
    data: Sequence[tuple[Sequence[Any], Sequence[Any]]]
    rtol: float
    atol: float

    @property
    def is_expanded(self) -> bool:
        """Whether it is a test of another operator, written with the function that defines that one."""
        return "_expanded" in self.name


@dataclass(frozen=True)
class Outcome:
    """What became of a case: on the evaluator and as a program, each one of the four states, with the reason."""

    name: str
    kind: str
    op: str
    is_expanded: bool
    evaluator: str = REFUSED
    program: str = REFUSED
    why: str = ""
    why_program: str = ""
    frozen: tuple[str, ...] = ()


@cache
def cases() -> tuple[Case, ...]:
    """All tests, in the order of their names."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        tests = [test for kind in KINDS for test in load_model_tests(kind=kind)]
    plain = {test.name: only_op(test.model) for test in tests if test.model is not None}
    found = []
    for test in tests:
        model, data = (test.model, test.data_sets) if test.model is not None else stored(Path(test.model_dir or ""))
        op = plain.get(test.name.split("_expanded")[0]) or only_op(model) or "several"
        found.append(Case(test.name, test.kind, op, model, data, test.rtol, test.atol))
    return tuple(sorted(found, key=lambda case: (case.name, case.kind)))


def only_op(model: onnx.ModelProto) -> str | None:
    """The operator of a model of one node."""
    (node, *more) = model.graph.node or [None]
    if node is None or more:
        return None
    return f"{node.domain}:{node.op_type}" if node.domain not in ("", "ai.onnx") else str(node.op_type)


def stored(folder: Path) -> tuple[onnx.ModelProto, list[tuple[list[Any], list[Any]]]]:
    """The model and the data of a test that lies in files."""
    model = onnx.load(folder / "model.onnx")
    sets = sorted(folder.glob("test_data_set_*"))
    return model, [(arrays(s, "input"), arrays(s, "output")) for s in sets]


def arrays(folder: Path, what: str) -> list[Any]:
    """The tensors of a data set; None for what is no tensor."""
    found: list[Any] = []
    for index in range(len(list(folder.glob(f"{what}_*.pb")))):
        tensor = onnx.TensorProto()
        try:
            tensor.ParseFromString((folder / f"{what}_{index}.pb").read_bytes())
            found.append(numpy_helper.to_array(tensor))
        except Exception:  # sequences and optional values, which protobuf reads as broken tensors
            found.append(None)
    return found


def array(data: Any) -> Any:
    """A tensor of the data as an array."""
    return numpy_helper.to_array(data) if isinstance(data, onnx.TensorProto) else data


def run(case: Case, target: str = "host") -> Outcome:
    """Load, evaluate, compile and run one case. A crash is as wrong as a number."""
    outcome = Outcome(case.name, case.kind, case.op, case.is_expanded, PASSED, PASSED)
    stored = {tensor.name for tensor in case.model.graph.initializer}
    names = [v.name for v in case.model.graph.input if v.name not in stored]
    for inputs, outputs in case.data:
        given = dict(zip(names, map(array, inputs), strict=False))
        wanted = list(map(array, outputs))
        try:
            graph, frozen = load_frozen(case.model, given)
        except Exception as error:
            state, why = judged(error, GraphoptError)
            return replace(outcome, evaluator=state, program=state, why=why, why_program=why)
        outcome = replace(outcome, frozen=tuple(sorted({*outcome.frozen, *frozen})))
        fed = [given[graph.names[v.node]] for v in graph.inputs]
        if outcome.evaluator == PASSED:
            state, why = tried(evaluated, graph, fed, wanted, case)
            outcome = replace(outcome, evaluator=state, why=why)
        if outcome.program == PASSED:
            state, why = tried(partial(compiled, target), graph, fed, wanted, case)
            outcome = replace(outcome, program=state, why_program=why)
    return outcome


def tried(
    compute: Callable[[Graph, Sequence[Array]], Sequence[Array]],
    graph: Graph,
    inputs: Sequence[Array],
    wanted: Sequence[Any],
    case: Case,
) -> tuple[str, str]:
    """What becomes of running a graph, and why."""
    try:
        with np.errstate(all="ignore"):
            results = compute(graph, inputs)
    except Exception as error:
        return judged(error, Unsupported)
    difference = differ(results, wanted, case.rtol, case.atol)
    if case.name in DELIBERATE:
        return (DIFFERENT, "") if difference else (WRONG, "it does not differ, as it is listed to")
    return (WRONG, difference) if difference else (PASSED, "")


def judged(error: Exception, refusal: type[GraphoptError]) -> tuple[str, str]:
    if isinstance(error, refusal):
        return REFUSED, reason(error)
    return WRONG, f"{type(error).__name__}: {error}"


def load_frozen(model: onnx.ModelProto, given: dict[str, Any]) -> tuple[Graph, set[str]]:
    """The graph, with those inputs frozen that a refusal says must be known.

    Where something computed must be known, all inputs that are scalars or no floats are frozen.
    """
    frozen: dict[str, Array] = {}
    while True:
        try:
            return load(model, constants=frozen), set(frozen)
        except Unsupported as error:
            text = str(error)
            wanted = {name: given[name] for name in FREEZE.findall(text) if name in given}
            if "is computed by the model" in text:
                small = {name: np.asarray(array) for name, array in given.items()}
                wanted |= {name: array for name, array in small.items() if array.dtype.kind != "f" or array.ndim == 0}
            if not set(wanted) - set(frozen):
                raise
            frozen |= wanted


def evaluated(graph: Graph, inputs: Sequence[Array]) -> Sequence[Array]:
    return graph(*inputs)


def compiled(target: str, graph: Graph, inputs: Sequence[Array]) -> Sequence[Array]:
    results = graphopt.compile(graph, target).run(*inputs)
    return results if isinstance(results, tuple) else (results,)


def differ(results: Sequence[Array], wanted: Sequence[Any], rtol: float, atol: float) -> str:
    """How results differ from what is wanted, as the runner of onnx compares; integers must be equal."""
    if len(results) != len(wanted):
        return f"{len(results)} results instead of {len(wanted)}"
    for index, (got, want) in enumerate(zip(results, wanted, strict=True)):
        want = np.asarray(want)
        if got.dtype != want.dtype or got.shape != want.shape:
            return f"result {index} is {got.dtype}{list(got.shape)} instead of {want.dtype}{list(want.shape)}"
        close = np.isclose(got, want, rtol=rtol, atol=atol, equal_nan=True) if want.dtype.kind == "f" else got == want
        if not close.all():
            at = tuple(int(i) for i in np.argwhere(~close)[0])
            return f"result {index} has {got[at]} instead of {want[at]} at {list(at)}, and {(~close).sum()} more differ"
    return ""


def reason(error: GraphoptError) -> str:
    """The reason of a refusal: the first node that is refused, with its own."""
    lines = [line.strip() for line in str(error).splitlines()]
    text = lines[1] if "cannot be imported" in lines[0] and len(lines) > 1 else lines[0]
    return text if isinstance(error, Unsupported) else f"{type(error).__name__}: {text}"
