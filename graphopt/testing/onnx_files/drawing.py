"""An ONNX file while it is drawn: every node is run by ONNX Runtime at once, so that all is valid by construction.

What a node gives is known when the next one is drawn: its dtype, its shape, its numbers. So operators can ask for an
operand of some range, for places within an axis, for a divisor that is not zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import Any, TypeVar

import numpy as np
import onnx
from onnx import helper, numpy_helper

from graphopt.errors import Unsupported
from graphopt.ir import Array
from graphopt.testing.onnx_files.departures import DEPARTURES

T = TypeVar("T")
OPSETS = (7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23)
SIZES = (1, 1, 2, 3, 3, 4, 5, 7)
MAX_ELEMENTS, MAX_NUMBER = 1500, 1e4
IR_VERSION = 8


class Undrawn(Exception):
    """A node that cannot be drawn here: ONNX Runtime refuses it, or its numbers are of no use."""


@dataclass
class FileDrawing:
    """The file: what its inputs, its stored tensors and its nodes are; and a source of random choices.

    ``exact`` names the tensors in which no rounding has gone: only such are compared, rounded or used as places, for
    where a last digit decides, two engines that are both right give different results.
    """

    rng: np.random.Generator
    opset: int
    batch: int = 1
    inputs: dict[str, Array] = field(default_factory=dict)
    stored: dict[str, Array] = field(default_factory=dict)
    computed: dict[str, Array] = field(default_factory=dict)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    exact: set[str] = field(default_factory=set)

    # choices

    def integer(self, low: int, high: int) -> int:
        """An integer between two bounds, inclusive."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, percent: int) -> bool:
        return self.integer(0, 99) < percent

    def choice(self, options: Sequence[T]) -> T:
        return options[self.integer(0, len(options) - 1)]

    def some(self, **attributes: Any) -> dict[str, Any]:
        """The attributes, each of them left out now and then."""
        return {name: value for name, value in attributes.items() if self.chance(60)}

    def size(self) -> int:
        return self.choice(SIZES)

    def shape(self, low: int = 0, high: int = 5) -> tuple[int, ...]:
        """A shape of a rank between two bounds, not too large; its first size is the batch mostly."""
        rank = self.integer(low, high)
        shape = [self.size() for _ in range(rank)]
        if rank > 1 and self.chance(70):
            shape[0] = self.batch
        while prod(shape) > MAX_ELEMENTS // 4:
            shape[self.integer(0, rank - 1)] = 1
        return tuple(shape)

    def axis(self, rank: int) -> int:
        """An axis, counted from the front or, where the opset allows, from the back."""
        axis = self.integer(0, rank - 1)
        return axis - rank if self.opset >= 11 and self.chance(40) else axis

    def axes(self, rank: int, least: int = 1) -> list[int]:
        """Some axes, in order, no two alike."""
        count = self.integer(min(least, rank), rank)
        axes = sorted(int(a) for a in self.rng.choice(rank, count, replace=False))
        return [a - rank for a in axes] if self.opset >= 11 and self.chance(40) else axes

    # tensors

    def numbers(
        self, shape: Sequence[int], dtype: str = "float32", low: float = -2, high: float = 2, whole: bool = False
    ) -> Array:
        """Random numbers, floats with few digits now and then, so that sums tie and middles are met."""
        if dtype == "bool":
            return self.rng.integers(0, 2, shape).astype(bool)
        if not dtype.startswith("float"):
            info = np.iinfo(dtype)
            return self.rng.integers(int(max(low, info.min)), int(min(high, info.max)), shape, endpoint=True).astype(
                dtype
            )
        data = self.rng.uniform(low, high, shape)
        if whole:
            return np.clip(np.round(data * 2) / 2, np.ceil(2 * low) / 2, np.floor(2 * high) / 2).astype(dtype)
        return data.astype(dtype)

    def array(self, name: str) -> Array:
        """The numbers of a tensor of the file."""
        return next(known[name] for known in (self.inputs, self.stored, self.computed) if name in known)

    def input(self, data: Array) -> str:
        name = f"x{len(self.inputs)}"
        self.inputs[name] = np.asarray(data)
        self.exact.add(name)
        return name

    def constant(self, data: Any, dtype: str | None = None) -> str:
        """A tensor stored in the file."""
        name = f"c{len(self.stored)}"
        self.stored[name] = np.asarray(data, dtype)
        self.exact.add(name)
        return name

    def tensor(self, data: Array, stored: int = 30) -> str:
        """An input, or in so many of a hundred cases a stored tensor."""
        return self.constant(data) if self.inputs and self.chance(stored) else self.input(data)

    def operand(
        self,
        low_rank: int = 0,
        high_rank: int = 5,
        dtype: str = "float32",
        low: float = -2,
        high: float = 2,
        exact: bool = False,
        whole: bool | None = None,
    ) -> str:
        """A tensor of a rank, a dtype and a range: one computed before if there is one (mostly), or a new one."""

        def fits(name: str, data: Array) -> bool:
            ranged = dtype == "bool" or (data.min() >= low and data.max() <= high)
            return str(data.dtype) == dtype and low_rank <= data.ndim <= high_rank and ranged

        names = [n for n, a in (*self.inputs.items(), *self.computed.items()) if fits(n, a)]
        names = [n for n in names if n in self.exact or not exact]
        if names and self.chance(75):
            return names[-1] if self.chance(70) else self.choice(names)
        half = self.chance(30) if whole is None else whole
        return self.tensor(self.numbers(self.shape(low_rank, high_rank), dtype, low, high, half), 10)

    def like(self, name: str, dtype: str | None = None, low: float = -2, high: float = 2, stored: int = 40) -> str:
        """A tensor that broadcasts with another: of its shape, or with ones or fewer axes."""
        shape = [1 if self.chance(25) else size for size in self.array(name).shape]
        shape = shape[self.integer(0, len(shape)) if self.chance(30) else 0 :]
        whole = self.chance(30)
        return self.tensor(self.numbers(shape, dtype or str(self.array(name).dtype), low, high, whole), stored)

    # nodes

    def node(
        self, op: str, inputs: Sequence[str], outputs: int = 1, domain: str = "", exact: bool = False, **attributes: Any
    ) -> tuple[str, ...]:
        """Add a node and run it; raises ``Undrawn`` if that fails. ``exact`` says that it does not round."""
        first = len(self.computed)
        names = [f"y{first + i}" for i in range(outputs)]
        node = helper.make_node(op, inputs, names, f"{op}_{len(self.nodes)}", domain=domain, **attributes)
        given = {name: self.array(name) for name in inputs if name}
        results = run(alone(node, given, self.stored, self.opset), given.keys() - self.stored.keys(), given)
        if any(not usable(result) for result in results):
            raise Undrawn("a result has no elements, or numbers that are of no use")
        self.nodes.append(node)
        self.computed.update(zip(names, results, strict=True))
        if (exact and all(name in self.exact for name in inputs if name)) or results[0].dtype.kind in "iub":
            self.exact.update(names)
        return tuple(names)

    def step(self, draw: Callable[[FileDrawing, str], object], op: str) -> bool:
        """Draw an operator; what a failed one left is undone."""
        before = dict(self.inputs), dict(self.stored), dict(self.computed), list(self.nodes), set(self.exact)
        try:
            draw(self, op)
        except Undrawn:
            self.inputs, self.stored, self.computed, self.nodes, self.exact = before
            return False
        return True

    # the file

    def departure(self, node: onnx.NodeProto) -> str:
        """How ONNX Runtime leaves ONNX's text in a node of this file; empty if it does not."""
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        operands = [self.array(name) if name else None for name in node.input]
        known = (d for d in DEPARTURES if d.op == node.op_type)
        found = (d for d in known if d.applies(attributes, operands, self.array(node.output[0])))
        return next((f"{d.op}: {d.why}" for d in found), "")

    def model(self, free_batch: bool) -> onnx.ModelProto:
        """The file, its outputs with their shapes stated; with ``free_batch`` its inputs have N where the batch is."""
        read = {name for node in self.nodes for name in node.input}
        outputs = {name: data for name, data in self.computed.items() if name not in read}
        inputs = {name: data for name, data in self.inputs.items() if name in read}
        free = frozenset(n for n, a in inputs.items() if free_batch and a.ndim > 1 and a.shape[0] == self.batch)
        stored = {name: data for name, data in self.stored.items() if name in read}
        return build(self.nodes, inputs, stored, outputs, self.opset, free)


def build(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Array],
    stored: Mapping[str, Array],
    outputs: Mapping[str, Array | None],
    opset: int,
    free: frozenset[str] = frozenset(),
) -> onnx.ModelProto:
    """A model of nodes; of ``free`` inputs, and then of all outputs, dimension 0 is not stated."""

    def info(name: str, data: Array | None, is_free: bool) -> onnx.ValueInfoProto:
        if data is None:
            return onnx.ValueInfoProto(name=name)
        shape: list[int | str] = list(data.shape)
        shape = ["N", *shape[1:]] if is_free else shape
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(data.dtype), shape)

    graph = helper.make_graph(
        nodes,
        "drawn",
        [info(name, data, name in free) for name, data in inputs.items()],
        [info(name, data, False) if not free else onnx.ValueInfoProto(name=name) for name, data in outputs.items()],
        [numpy_helper.from_array(data, name) for name, data in stored.items()],
    )
    domains = {node.domain for node in nodes}
    versions = [helper.make_opsetid(d, opset if d == "" else 1) for d in sorted(domains | {""})]
    return helper.make_model(graph, opset_imports=versions, ir_version=IR_VERSION if opset < 21 else 10)


def alone(node: onnx.NodeProto, given: Mapping[str, Array], stored: Mapping[str, Array], opset: int) -> onnx.ModelProto:
    """A model of one node, of whose operands those that the file stores are stored."""
    kept = {name: data for name, data in given.items() if name in stored}
    inputs = {name: data for name, data in given.items() if name not in stored}
    return build([node], inputs, kept, dict.fromkeys(filter(None, node.output)), opset)


def run(model: onnx.ModelProto, names: Any, given: Mapping[str, Array]) -> list[Array]:
    """What ONNX Runtime makes of a model, without optimizing it; raises ``Undrawn`` if it refuses the model."""
    runtime, options = onnxruntime()
    try:
        session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return [np.asarray(a) for a in session.run(None, {name: given[name] for name in names})]
    except Exception as error:  # its errors have no common class
        raise Undrawn(str(error)) from error


@cache
def onnxruntime() -> tuple[Any, Any]:
    """The library and its options; raises ``Unsupported`` if it is not installed."""
    try:
        import onnxruntime as runtime
    except ImportError as error:
        advice = "pip install onnxruntime, or graphopt[dev]"
        raise Unsupported("drawing ONNX files needs onnxruntime", advice=advice) from error
    runtime.set_default_logger_severity(4)
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return runtime, options


def usable(data: Array) -> bool:
    """Whether a result can be compared: of numbers, finite and not huge, some but not too many."""
    if data.dtype.kind not in "fiub" or not 0 < data.size <= MAX_ELEMENTS:
        return False
    size = np.abs(data.astype(np.float64)).max()
    return bool(np.isfinite(size) and size <= MAX_NUMBER)
