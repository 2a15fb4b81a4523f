"""Graphs to ONNX models: a table of rules, operator class -> ONNX nodes.

A rule writes the nodes that stand for one node of the graph, the last of them by ``result``. What has no rule is
decomposed. A constant becomes an initializer when a rule first reads it, so that what no rule reads is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, TypeVar

import numpy as np
import onnx
from onnx import helper, numpy_helper

from graphopt.errors import Unsupported
from graphopt.ir import (
    Array,
    Batch,
    Constant,
    Dim,
    Graph,
    Input,
    Node,
    Op,
    Shape,
    TensorType,
    Value,
    rebuild,
    verify,
)
from graphopt.ir.registry import Table
from graphopt.rewrite.driver import stamp

OPSET = 21
IR_VERSION = 10
MAX_BYTES = 2**31 - 1
"""A protobuf message is no larger."""

O = TypeVar("O", bound=Op)  # noqa: E741
RULES: Table[type[Op], Callable[[Any, At], None]] = Table("a rule that writes it")
"""The rules by operator class."""
Parts = Callable[[Node, tuple[Value, ...]], Sequence[Value] | None]
PARTS: Table[type[Op], Parts] = Table("parts that are written for it")
"""Of operators with a rule: the parts that are written instead of some nodes, or None for the others."""


def export_rule(*kinds: type[O]) -> Callable[[Callable[[O, At], None]], Callable[[O, At], None]]:
    """Register the rule that writes these operators."""

    def register(rule: Callable[[O, At], None]) -> Callable[[O, At], None]:
        RULES.enter(rule, *kinds)
        return rule

    return register


def export_parts(*kinds: type[Op]) -> Callable[[Parts], Parts]:
    """Register what is written instead of nodes of these operators that their rule cannot express."""

    def register(parts: Parts) -> Parts:
        PARTS.enter(parts, *kinds)
        return parts

    return register


class At:
    """One node of the graph, as a rule sees it. Tensors are named by strings."""

    def __init__(self, node: Node, name: str, export: Export) -> None:
        self.node, self.name, self.export = node, name, export
        self.types = [v.type for v in node.inputs]

    @property
    def inputs(self) -> list[str]:
        """The names of all operands."""
        return [self.input(i) for i in range(len(self.node.inputs))]

    def input(self, index: int) -> str:
        return self.export.read(self.node.inputs[index])

    def bias(self, index: int) -> list[str]:
        """An optional operand: nothing where it is a constant of zeros."""
        data = self.node.inputs[index].constant
        return [] if data is not None and not data.any() else [self.input(index)]

    def derived(self, index: int, how: str, make: Callable[[Array], Array]) -> str | None:
        """An initializer made of a constant operand, under its name if nothing else reads that; None of any other."""
        return self.export.derived(self.node.inputs[index], how, make)

    def constant(self, data: Any, dtype: str = "int64") -> str:
        """An initializer of this node's own: a shape, a limit."""
        return self.export.initializer(f"{self.name}/constant", np.asarray(data, dtype))

    def emit(self, kind: str, *inputs: str, part: str = "", **attributes: Any) -> str:
        """A helper node of one result."""
        name = self.export.fresh(f"{self.name}/{part or kind}")
        self.export.add(kind, inputs, [name], name, attributes)
        return name

    def emit_all(self, kind: str, *inputs: str, results: int, **attributes: Any) -> list[str]:
        """A helper node of several results."""
        names = [self.export.fresh(f"{self.name}/{kind}.{i}") for i in range(results)]
        self.export.add(kind, inputs, names, names[0], attributes)
        return names

    def result(self, kind: str, *inputs: str, **attributes: Any) -> None:
        """The node that gives the results."""
        self.export.add(kind, inputs, [self.export.tensors[v] for v in self.node.results], self.name, attributes)

    def shape(self, dims: Sequence[Dim]) -> str:
        """A tensor of dimensions, N taken from the input that has it."""
        if not any(isinstance(d, Batch) for d in dims):
            return self.constant(dims)
        return self.emit("Concat", *(self.dimension(d) for d in dims), part="shape", axis=0)

    def dimension(self, dim: Dim) -> str:
        if not isinstance(dim, Batch):
            return self.constant([dim])
        name, axis, factor = self.export.batch_source()
        size = self.emit("Shape", name, part="batch", start=axis, end=axis + 1)
        if dim.factor % factor:
            size, factor = self.emit("Div", size, self.constant([factor]), part="n"), 1
        times = dim.factor // factor
        return size if times == 1 else self.emit("Mul", size, self.constant([times]), part="times")


class Export:
    """Builds one model."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.tensors: dict[Value, str] = {v: graph.names[v.node] for v in graph.inputs}
        self.made: dict[tuple[Value, str], str] = {}
        self.taken = {*self.tensors.values(), *graph.output_names}
        self.copies: list[tuple[Value, str]] = []
        self.name_outputs()

    def name_outputs(self) -> None:
        """Give computed values the names of the outputs they are; what cannot have one is copied at the end."""
        inputs = {name: value for value, name in self.tensors.items()}
        for name, value in zip(self.graph.output_names, self.graph.outputs, strict=True):
            if name in inputs:
                if inputs[name] is not value:
                    raise Unsupported(f"an input and an output are both called {name!r}", where=self.graph.name)
            elif value in self.tensors or isinstance(value.op, Constant):
                self.copies.append((value, name))
            else:
                self.tensors[value] = name

    def fresh(self, wanted: str) -> str:
        """A tensor name that nothing else has."""
        name, count = wanted, 0
        while name in self.taken:
            count += 1
            name = f"{wanted}_{count}"
        self.taken.add(name)
        return name

    def model(self) -> onnx.ModelProto:
        computing = [n for n in self.graph.nodes if not isinstance(n.op, Input | Constant)]
        for node in (n for n in self.graph.nodes if isinstance(n.op, Constant)):
            self.tensors[node.results[0]] = self.fresh(self.graph.names[node])
        for node in computing:
            for value in node.results:
                if value not in self.tensors:
                    part = f".{value.index}" if len(node.results) > 1 else ""
                    self.tensors[value] = self.fresh(self.graph.names[node] + part)
        for node in computing:
            RULES[type(node.op)](node.op, At(node, self.graph.names[node], self))
        for value, name in self.copies:
            self.add("Identity", [self.read(value)], [name], self.fresh(f"{name}/copy"), {})
        graph = helper.make_graph(
            self.nodes,
            self.graph.name,
            [value_info(self.tensors[v], v.type) for v in self.graph.inputs],
            [value_info(n, v.type) for n, v in zip(self.graph.output_names, self.graph.outputs, strict=True)],
            list(self.initializers.values()),
        )
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="graphopt",
            producer_version=version("graphopt"),
        )

    def read(self, value: Value) -> str:
        """The name of a tensor; a constant is stored when it is first read."""
        name = self.tensors[value]
        if value.constant is not None and name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(value.constant, name)
        return name

    def derived(self, value: Value, how: str, make: Callable[[Array], Array]) -> str | None:
        if value.constant is None:
            return None
        if (value, how) not in self.made:
            data = np.ascontiguousarray(make(value.constant))
            if self.graph.use_count(value) == 1:
                name = self.tensors[value]
                self.initializers[name] = numpy_helper.from_array(data, name)
            else:
                name = self.initializer(f"{self.tensors[value]}.{how}", data)
            self.made[value, how] = name
        return self.made[value, how]

    def initializer(self, wanted: str, data: Array) -> str:
        name = self.fresh(wanted)
        self.initializers[name] = numpy_helper.from_array(data, name)
        return name

    def add(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str], name: str, attributes: dict[str, Any]
    ) -> None:
        self.nodes.append(helper.make_node(kind, inputs, outputs, name, **attributes))

    def batch_source(self) -> tuple[str, int, int]:
        """An input with N in its shape: its name, the axis and the factor."""
        for value in self.graph.inputs:
            for axis, dim in enumerate(value.type.shape):
                if isinstance(dim, Batch):
                    return self.tensors[value], axis, dim.factor
        raise Unsupported("no input has the batch N", where=self.graph.name)


def value_info(name: str, type_: TensorType) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(type_.dtype))
    return helper.make_tensor_value_info(name, kind, dim_params(type_.shape))


def dim_params(shape: Shape) -> list[int | str]:
    names = {d: "N" if d.factor == 1 else f"N_times_{d.factor}" for d in shape if isinstance(d, Batch)}
    return [names[d] if isinstance(d, Batch) else d for d in shape]


def legalize(graph: Graph) -> Graph:
    """Decompose every operator without a rule. Raises ``Unsupported`` with all that have neither."""
    from graphopt.exporters import onnx_integer, onnx_recurrent, onnx_rules  # noqa: F401

    stuck: list[str] = []
    changed = True

    def lower(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        nonlocal changed
        kind = type(node.op)
        if isinstance(node.op, Input | Constant) or (kind in RULES and kind not in PARTS):
            return None
        parts = PARTS[kind](node, inputs) if kind in PARTS else node.op.decompose(*inputs)
        if parts is None and kind in RULES:
            return None
        if parts is None:
            stuck.append(f"{node.name or node.op.name} ({node.op.name})")
            return None
        changed = True
        return stamp(parts, node, node.results, {v.node for v in inputs})

    while changed:
        changed = False
        graph = rebuild(graph, lower)
        if stuck:
            raise Unsupported(
                f"ONNX has no operator for {', '.join(stuck)}",
                where=graph.name,
                advice="give the operator an export_rule or decompose()",
            )
    return graph


def to_onnx(graph: Graph) -> onnx.ModelProto:
    """The graph as an ONNX model; see ``graphopt.exporters.to_onnx``."""
    verify(graph)
    model = Export(legalize(graph)).model()
    if model.ByteSize() > MAX_BYTES:
        raise Unsupported(f"{model.ByteSize():,} bytes are more than an ONNX file holds", where=graph.name)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        why = str(error).strip().splitlines()[0]
        raise Unsupported("ONNX cannot express the graph", where=graph.name, why=why) from error
    return model


def serialized(graph: Graph) -> bytes:
    return bytes(to_onnx(graph).SerializeToString(deterministic=True))
