"""What is wrong with an ONNX file: how graphopt and ONNX Runtime disagree on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import onnx

from graphopt.errors import GraphoptError, Unsupported
from graphopt.frontends import load
from graphopt.ir import Array, Graph, bind_batch, cast_floats
from graphopt.passes import optimize
from graphopt.targets import compile
from graphopt.testing.onnx_files.drawing import FileDrawing, alone, run

BOUND, NOISE = 2e-5, 1e-7
"""Floats may differ by so much of max|y|, and by so much in absolute terms: sums in another order do."""
ILL = 0.25
"""A file is too sensitive to be judged where float64 moves its results by more than this share of the bound."""

Way = Callable[[Graph, Mapping[str, Array]], Sequence[Array]]


def by_evaluator(graph: Graph, given: Mapping[str, Array]) -> Sequence[Array]:
    with np.errstate(all="ignore"):
        return graph(*(given[graph.names[v.node]] for v in graph.inputs))


def by_optimized(graph: Graph, given: Mapping[str, Array]) -> Sequence[Array]:
    return by_evaluator(optimize(graph), given)


def by_host(graph: Graph, given: Mapping[str, Array]) -> Sequence[Array]:
    program = compile(optimize(graph), "host", io="float32")
    result = program.run(*(given[graph.names[v.node]] for v in graph.inputs))
    return result if isinstance(result, tuple) else (result,)


WAYS: dict[str, Way] = {"evaluator": by_evaluator, "optimized": by_optimized, "host": by_host}
"""The ways to compute a file that is loaded, each held to ONNX Runtime."""


@dataclass(frozen=True)
class Outcome:
    """What became of a file in one way: ``state`` is equal, refused, excepted, sensitive, differs or crashed."""

    way: str
    state: str
    detail: str = ""

    @property
    def is_fault(self) -> bool:
        return self.state in ("differs", "crashed")


def examine(model: onnx.ModelProto, given: Mapping[str, Array], batch: int, ways: Sequence[str]) -> list[Outcome]:
    """The file in several ways; the list ends at the first that is not equal.

    Raises ``Undrawn`` if ONNX Runtime refuses the file.
    """
    want = run(model, [info.name for info in model.graph.input], given)
    try:
        graph = loaded(model, batch)
    except GraphoptError as error:
        return [Outcome("load", "refused", reason(error))]
    except Exception as error:  # a crash of any sort is what this looks for
        return [Outcome("load", "crashed", f"{type(error).__name__}: {error}")]
    outcomes = []
    for way in ways:
        outcomes.append(judged(way, graph, given, want))
        if outcomes[-1].state != "equal":
            break
    return outcomes


def loaded(model: onnx.ModelProto, batch: int) -> Graph:
    """The graph at a batch: N is left free and bound later where that can be."""
    if not any(d.dim_param for info in model.graph.input for d in info.type.tensor_type.shape.dim):
        return load(model)
    with suppress(GraphoptError):  # that what follows N does not fit one
        graph = load(model)
        if graph.is_symbolic:
            return bind_batch(graph, batch)
    return load(model, batch=batch)


def judged(way: str, graph: Graph, given: Mapping[str, Array], want: Sequence[Array]) -> Outcome:
    try:
        got = WAYS[way](graph, given)
    except Unsupported as error:
        return Outcome(way, "refused", reason(error))
    except Exception as error:  # a crash of any sort is what this looks for
        return Outcome(way, "crashed", f"{type(error).__name__}: {error}")
    details = [difference(g, w) for g, w in zip(got, want, strict=True)]
    differing = [i for i, detail in enumerate(details) if detail]
    if not differing:
        return Outcome(way, "equal")
    if all(sensitive(graph, i, given) for i in differing):
        return Outcome(way, "sensitive")
    return Outcome(way, "differs", f"{graph.output_names[differing[0]]}: {details[differing[0]]}")


def difference(got: Array, want: Array) -> str:
    """How a result differs from ONNX Runtime's; nothing if it does not."""
    if got.dtype != want.dtype or got.shape != want.shape:
        return f"{got.dtype}{list(got.shape)} instead of {want.dtype}{list(want.shape)}"
    if want.dtype.kind != "f":
        return f"{int((got != want).sum())} of {want.size} elements" if (got != want).any() else ""
    error = float(np.abs(np.asarray(got, np.float64) - np.asarray(want, np.float64)).max())
    scale = float(np.abs(np.asarray(want, np.float64)).max())
    return "" if error <= BOUND * scale + NOISE else f"{error:.3g}, where max|y| is {scale:.3g}"


def sensitive(graph: Graph, index: int, given: Mapping[str, Array]) -> bool:
    """Whether rounding in float32 moves an output by much: then ONNX Runtime's may be as wrong as ours."""
    if graph.outputs[index].type.dtype != "float32":
        return False
    wide = {n: a.astype(np.float64) if a.dtype == np.float32 else a for n, a in given.items()}
    single, double = by_evaluator(graph, given)[index], by_evaluator(cast_floats(graph, "float64"), wide)[index]
    error, scale = float(np.abs(single - double).max()), float(np.abs(double).max())
    return error > ILL * (BOUND * scale + NOISE)


def reason(error: GraphoptError) -> str:
    """The reason of a refusal, of the first node if it names several, without the name of the node."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[1] if "cannot be imported" in lines[0] and len(lines) > 1 else lines[0]
    return text.split("; ")[0].split("): ", 1)[-1]


def faulty(drawing: FileDrawing, way: str) -> list[onnx.NodeProto]:
    """The nodes of a file that disagree by themselves, each given what it was given there."""

    def disagrees(node: onnx.NodeProto) -> bool:
        outcomes = examine(*by_itself(drawing, node), drawing.batch, [way] if way in WAYS else [])
        return any(outcome.is_fault for outcome in outcomes)

    return [node for node in drawing.nodes if disagrees(node)]


def by_itself(drawing: FileDrawing, node: onnx.NodeProto) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """A node of a file as a file, and what its inputs are."""
    given = {name: drawing.array(name) for name in node.input if name}
    fed = {name: data for name, data in given.items() if name not in drawing.stored}
    return alone(node, given, drawing.stored, drawing.opset), fed
