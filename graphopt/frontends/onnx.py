"""ONNX models to graphs, read through onnx-graphsurgeon.

The model is walked once, in order. A tensor is either a value of the graph or *known*: an array, of numbers or,
where shapes are computed, of integers and multiples of N. What is computed from known tensors alone is computed
at once (see ``onnx_known``), so that the shape arithmetic that exporters leave behind never reaches the graph.

The model is not run through ``onnx.checker``: it refuses models that are fine in practice, and what it finds is
seen here as well, when a rule reads an attribute or an input that is not as it should be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
import onnx.inliner
import onnx_graphsurgeon as gs

from graphopt.errors import GraphoptError, InvalidGraph, InvalidInput, Unsupported
from graphopt.frontends import onnx_file
from graphopt.frontends.build import Derived, Refusal, Scope, refuse, unknown_op, warn_fixed_batch
from graphopt.frontends.onnx_inputs import input_shapes
from graphopt.ir import Array, Batch, Dim, Graph, Value, arg, constant, verify
from graphopt.ir.types import DTYPES

Known = Array
"""A tensor whose elements are known: numbers, or Python integers and ``Batch`` in an object array."""
Tensor = Value | Known
Rule = Callable[["Node"], Tensor | Sequence[Tensor]]
R = TypeVar("R", bound=Rule)

RULES: dict[str, Rule] = {}
"""The rules of operators, by name."""
KNOWN_RULES: dict[str, Rule] = {}
"""The rules that compute at once, for nodes all of whose inputs are known."""


def onnx_rule(*names: str) -> Callable[[R], R]:
    """Register the rule of these operators."""

    def register(rule: R) -> R:
        RULES.update((name, rule) for name in names)
        return rule

    return register


def known_rule(*names: str) -> Callable[[R], R]:
    """Register the rule that computes these operators from known inputs."""

    def register(rule: R) -> R:
        KNOWN_RULES.update((name, rule) for name in names)
        return rule

    return register


class Node(Scope):
    """One node of the model, as a rule sees it."""

    def __init__(self, node: gs.Node, inputs: Sequence[Tensor | None], importer: Importer) -> None:
        super().__init__(node_name(node), importer.derived)
        self.op, self.opset, self.outputs = str(node.op), importer.opset, len(node.outputs)
        self._inputs, self._names = inputs, [t.name for t in node.inputs]
        self._attrs, self._importer = node.attrs, importer

    def has(self, index: int) -> bool:
        """Whether an optional input is there."""
        return index < len(self._inputs) and self._inputs[index] is not None

    def tensor(self, index: int) -> Tensor:
        """An input, known or not."""
        found = self._inputs[index] if index < len(self._inputs) else None
        if found is None:
            raise InvalidInput(f"input {index} is missing")
        return found

    def value(self, index: int) -> Value:
        """An input as a value of the graph."""
        found = self.tensor(index)
        return found if isinstance(found, Value) else self._importer.constant(self._names[index], found)

    def optional(self, index: int) -> Value | None:
        return self.value(index) if self.has(index) else None

    @property
    def values(self) -> list[Value]:
        """All inputs as values of the graph."""
        return [self.value(i) for i in range(len(self._inputs))]

    @property
    def knowns(self) -> list[Known]:
        """All inputs, each of them known."""
        return [self.known(i) for i in range(len(self._inputs))]

    def known(self, index: int) -> Known:
        """An input that must be known at import."""
        found = self.tensor(index)
        if isinstance(found, Value):
            what = f"input {index}, {self._names[index]!r}, is computed by the model"
            raise Unsupported(what, advice="it must be a constant or follow from shapes")
        return found

    def dims(self, index: int) -> list[Dim]:
        """A known input as a list of dimensions."""
        return [d if isinstance(d, Batch) else int(d) for d in self.known(index).reshape(-1).tolist()]

    def attr(self, name: str, kind: type, default: Any = None) -> Any:
        """An attribute; raises ``InvalidInput`` if it is of another kind."""
        found = self._attrs.get(name, default)
        if isinstance(found, bool) or not (found is default or isinstance(found, kind)):
            raise InvalidInput(f"attribute {name!r} is {found!r}, not of type {kind.__name__}")
        return found

    def whole(self, name: str, default: int) -> int:
        return int(self.attr(name, int, default))

    def real(self, name: str, default: float) -> float:
        return float(self.attr(name, float, default))

    def text(self, name: str, default: str) -> str:
        return str(self.attr(name, str, default))

    def ints(self, name: str) -> tuple[int, ...]:
        """A list of integers, empty if it is not there."""
        return tuple(int(i) for i in self.attr(name, list, []))

    def setting(self, name: str, index: int) -> list[Dim] | None:
        """What was an attribute in older opsets and is an input in newer ones; None if it is neither."""
        if self.has(index):
            return self.dims(index)
        return list(self.ints(name)) if name in self._attrs else None

    def integers(self, name: str, index: int) -> list[int] | None:
        """The same, of plain integers; raises ``InvalidGraph`` if N is among them."""
        found = self.setting(name, index)
        if found is None:
            return None
        plain = [d for d in found if not isinstance(d, Batch)]
        if len(plain) < len(found):
            raise InvalidGraph(f"{name} {found} depends on the batch")
        return plain

    def raw(self, name: str) -> Any:
        """An attribute as graphsurgeon gives it, None if it is not there."""
        return self._attrs.get(name)


def load(
    model: str | Path | onnx.ModelProto,
    *,
    batch: int | None = None,
    shapes: Mapping[str, int | Sequence[int]] | None = None,
) -> Graph:
    """The graph of an ONNX model; see ``graphopt.frontends.load``.

    If N leaves the form k*N, the graph gets a batch of one and a warning says so.
    """
    if isinstance(model, onnx.ModelProto):
        proto, where = model, model.graph.name or "model"
        onnx_file.refuse_external_data(proto, where)
    else:
        proto, where = onnx_file.read(Path(model)), str(model)
    if batch is not None and batch < 1:
        raise InvalidInput(f"the batch must be at least 1, got {batch}", where=where)
    register_rules()
    opset = onnx_file.check_model(proto, where)
    surgeon = parse(proto, where)
    name = proto.graph.name or Path(where).stem
    importer = Importer(surgeon, name, opset, batch, shapes or {})
    try:
        return importer.graph()
    except InvalidGraph as error:
        if not importer.is_symbolic:
            raise InvalidInput(error.what, where=error.where or where, why=error.why, advice=error.advice) from error
        reason = error
    try:
        graph = Importer(surgeon, name, opset, 1, shapes or {}).graph()
    except InvalidGraph as error:
        raise InvalidInput(error.what, where=error.where or where, why=error.why, advice=error.advice) from error
    warn_fixed_batch(name, 1, reason)
    return graph


def register_rules() -> None:
    """Fill the tables: the rules register when their modules are imported, which import this one."""
    from graphopt.frontends import onnx_known, onnx_rules, onnx_shape_rules  # noqa: F401


def parse(model: onnx.ModelProto, where: str) -> gs.Graph:
    """The model as graphsurgeon reads it, its own functions inlined."""
    try:
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        return gs.import_onnx(model)
    except Exception as error:  # whatever a malformed model makes the libraries raise
        raise InvalidInput("the model is malformed", where=where, why=str(error)) from error


class Importer:
    """Translates one model; ``batch`` binds N, None leaves it free."""

    def __init__(
        self, surgeon: gs.Graph, name: str, opset: int, batch: int | None, shapes: Mapping[str, int | Sequence[int]]
    ) -> None:
        self.surgeon, self.name, self.opset = surgeon, name, opset
        self.shapes = input_shapes(surgeon.inputs, batch, shapes)
        self.env: dict[str, Tensor | None] = {}
        self.derived: Derived = {}
        self.constants: dict[str, Value] = {}
        self.refusals: list[Refusal] = []

    @property
    def is_symbolic(self) -> bool:
        return any(isinstance(d, Batch) for shape in self.shapes.values() for d in shape)

    def graph(self) -> Graph:
        """The whole graph. Raises ``Unsupported`` with all refused nodes, ``InvalidGraph`` where N leaves k*N."""
        inputs = tuple(self.input(tensor) for tensor in self.surgeon.inputs)
        for node in self.surgeon.nodes:
            self.visit(node)
        refuse(self.name, self.refusals)
        names = tuple(tensor.name for tensor in self.surgeon.outputs)
        outputs = tuple(self.output(tensor) for tensor in self.surgeon.outputs)
        graph = Graph(inputs, outputs, names, self.name)
        verify(graph)
        return graph

    def input(self, tensor: gs.Variable) -> Value:
        dtype = tensor_dtype(tensor)
        value = arg(tensor.name, dtype, self.shapes[tensor.name])
        self.env[tensor.name] = value
        return value

    def output(self, tensor: gs.Tensor) -> Value:
        found = self.read(tensor)
        if found is None:
            raise InvalidInput("no node computes it", where=f"output {tensor.name!r}")
        return found if isinstance(found, Value) else self.constant(tensor.name, found)

    def constant(self, name: str, data: Known) -> Value:
        """A known tensor as a constant of the graph, one for all its uses."""
        if name not in self.constants:
            if data.dtype == object:
                raise InvalidGraph("a size that depends on the batch is used as data", where=name)
            if str(data.dtype) not in DTYPES:
                raise Unsupported(f"tensor {name!r} is {data.dtype}", advice="convert the model to float32")
            self.constants[name] = constant(data, name)
        return self.constants[name]

    def read(self, tensor: gs.Tensor) -> Tensor | None:
        """What a tensor is; None if it depends on what was refused."""
        if tensor.name in self.env:
            return self.env[tensor.name]
        if not isinstance(tensor, gs.Constant):
            raise InvalidInput(f"tensor {tensor.name!r} is used before it is computed")
        self.env[tensor.name] = found = constant_values(tensor)
        return found

    def visit(self, node: gs.Node) -> None:
        """Translate one node into the environment, or note why it cannot be."""
        name, op = node_name(node), f"{node.domain}:{node.op}" if foreign(node) else str(node.op)
        results: Sequence[Tensor | None] = [None] * len(node.outputs)
        try:
            results = self.translate(node, op)
            self.check_results(node, results)
        except Unsupported as error:
            self.refusals.append(Refusal(name, op, error))
            results = [None] * len(node.outputs)
        except GraphoptError as error:
            what = f"{error.where}: {error.what}" if error.where else error.what
            raise type(error)(what, where=f"{name} ({op})", why=error.why, advice=error.advice) from error
        except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
            raise InvalidInput("the node is malformed", where=f"{name} ({op})", why=str(error)) from error
        for tensor, result in zip(node.outputs, results, strict=False):
            if tensor.name in self.env:
                raise InvalidInput(f"tensor {tensor.name!r} is computed twice", where=name)
            if tensor.name:
                self.env[tensor.name] = result

    def translate(self, node: gs.Node, op: str) -> Sequence[Tensor | None]:
        """The results of a node."""
        inputs = [None if t.is_empty() else self.read(t) for t in node.inputs]
        known = all(i is None or not isinstance(i, Value) for i in inputs)
        refused = any(i is None and not t.is_empty() for i, t in zip(inputs, node.inputs, strict=True))
        rule = RULES.get(op)
        if known and not refused:
            rule = KNOWN_RULES.get(op, rule)
        if rule is None and not (refused and op in KNOWN_RULES):
            raise unknown_op()
        if rule is None or refused:
            return [None] * len(node.outputs)
        result = rule(Node(node, inputs, self))
        return [result] if isinstance(result, (Value, np.ndarray)) else result

    def check_results(self, node: gs.Node, results: Sequence[Tensor | None]) -> None:
        """Refuse a node of which a result is used that the rule does not give."""
        wanted = {o.name for o in self.surgeon.outputs}
        for index, tensor in enumerate(node.outputs[len(results) :], len(results)):
            if tensor.name and (tensor.outputs or tensor.name in wanted):
                raise Unsupported(f"result {index}, {tensor.name!r}, is used", advice="only the first can be imported")


def foreign(node: gs.Node) -> bool:
    return node.domain not in (None, "", "ai.onnx")


def node_name(node: gs.Node) -> str:
    """The name of a node, or that of its first output."""
    return str(node.name or next((t.name for t in node.outputs if t.name), node.op))


def constant_values(tensor: gs.Constant) -> Known:
    """The array of an initializer; raises ``InvalidInput`` if its data does not fit its shape."""
    try:
        return np.asarray(tensor.values)
    except Exception as error:  # onnx raises errors of many kinds for malformed tensors
        raise InvalidInput("its data is malformed", where=f"tensor {tensor.name!r}", why=str(error)) from error


def tensor_dtype(tensor: gs.Variable) -> str:
    """The dtype of an input; raises ``Unsupported`` if it is no tensor of numbers that numpy knows."""
    name = str(np.dtype(tensor.dtype)) if isinstance(tensor.dtype, (type, np.dtype)) else str(tensor.dtype)
    if tensor.type != "tensor_type" or name not in DTYPES:
        raise Unsupported(f"it is a {tensor.type} of {name}", where=f"input {tensor.name!r}")
    return name
