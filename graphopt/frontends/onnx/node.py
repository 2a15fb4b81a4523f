"""What a rule for an ONNX operator sees and returns, and the tables of rules."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol, TypeVar

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from graphopt.errors import InvalidGraph, InvalidInput, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.build import Derived, Scope
from graphopt.frontends.onnx.stored import Tensors
from graphopt.ir import Array, Batch, Dim, Graph, Input, Node, TensorType, Value, numel
from graphopt.ir.registry import Table

Known = Array
"""A tensor whose elements are known: numbers, or Python integers and ``Batch`` in an object array."""
Tensor = Value | Known
Rule = Callable[["OnnxNode"], Tensor | Sequence[Tensor | None]]
R = TypeVar("R", bound=Rule)

ONNX_RULES: Table[str, Rule] = Table("an importer rule")
"""The rules of operators, by name."""
KNOWN_RULES: Table[str, Rule] = Table("a rule for known inputs")
"""The rules that compute at once, for nodes all of whose inputs are known, where sizes may be among them; what the
other rules make of known inputs is evaluated."""
FROM_SHAPES = "it must be a constant or follow from shapes"
MAX_WRITTEN = 16
"""The most elements of an input that a refusal suggests to freeze where others are computed from it."""
STANDARD = (None, "", "ai.onnx")
"""What the domain of ONNX's own operators is called."""
SCALARS = (onnx.AttributeProto.INT, onnx.AttributeProto.FLOAT, onnx.AttributeProto.STRING)
UNFOLDED: set[str] = set()
"""The operators not evaluated though their inputs are known: quantised weights stay so, bodies read other tensors."""


def onnx_rule(*names: str, folded: bool = True) -> Callable[[R], R]:
    """Register the rule of these operators; those not ``folded`` are not evaluated though their inputs are known."""

    def register(rule: R) -> R:
        ONNX_RULES.enter(rule, *names)
        UNFOLDED.update(() if folded else names)
        return rule

    return register


def known_rule(*names: str) -> Callable[[R], R]:
    """Register the rule that computes these operators from known inputs."""

    def register(rule: R) -> R:
        KNOWN_RULES.enter(rule, *names)
        return rule

    return register


class OnnxImport(Protocol):
    """What a node needs of the import that it is part of; see ``graphopt.frontends.onnx``."""

    opset: int
    prefix: str
    env: ChainMap[str, Tensor | None]
    derived: Derived
    tensors: Tensors

    def constant(self, name: str, data: Known) -> Value: ...
    def inline(
        self, graph: gs.Graph, name: str, env: ChainMap[str, Tensor | None], opset: int
    ) -> list[Tensor | None]: ...


class OnnxNode(Scope):
    """One node of the model, as a rule sees it."""

    def __init__(self, node: gs.Node, inputs: Sequence[Tensor | None], importer: OnnxImport) -> None:
        super().__init__(importer.prefix + node_name(node), importer.derived)
        self.op, self.opset, self.outputs = str(node.op), importer.opset, len(node.outputs)
        self.inputs, self._names = inputs, [t.name for t in node.inputs]
        self._attrs, self._domain, self._importer = node.attrs, node.domain, importer

    def has(self, index: int) -> bool:
        """Whether an optional input is there."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def tensor(self, index: int) -> Tensor:
        """An input, known or not."""
        found = self.inputs[index] if index < len(self.inputs) else None
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
        return [self.value(i) for i in range(len(self.inputs))]

    @property
    def knowns(self) -> list[Known]:
        """All inputs, each of them known."""
        return [self.known(i) for i in range(len(self.inputs))]

    def known(self, index: int) -> Known:
        """An input that must be known at import."""
        found = self.tensor(index)
        if isinstance(found, Value):
            if isinstance(found.op, Input):
                name = found.node.name
                raise Unsupported(f"input {index}, {name!r}, must be known", advice=f"freeze it: {freezing([name])}")
            what = f"input {index}, {self._names[index]!r}, is computed by the model"
            switches = self.switches(index)
            advice = f"freeze what it is computed from: {freezing(switches)}" if switches else FROM_SHAPES
            raise Unsupported(what, advice=advice)
        return found

    def switches(self, index: int) -> list[str]:
        """The inputs of the model from which an input is computed, if all of them look like settings, not like data."""
        found = self.tensor(index)
        inputs = [n for n in Graph((), (found,)).nodes if isinstance(n.op, Input)] if isinstance(found, Value) else []
        return [n.name for n in inputs] if all(is_setting(n.types[0]) for n in inputs) else []

    @property
    def computed_before(self) -> set[Node]:
        """The nodes of the graph whose results the model's tensors are so far."""
        return {found.node for found in self._importer.env.values() if isinstance(found, Value)}

    def is_known(self, index: int) -> bool:
        """Whether an input is there and known."""
        return self.has(index) and not isinstance(self.tensor(index), Value)

    def dtype(self, index: int) -> str:
        """The dtype of an input."""
        found = self.tensor(index)
        return found.type.dtype if isinstance(found, Value) else "int64" if found.dtype == object else str(found.dtype)

    def body(self, name: str, *bound: Tensor) -> list[Tensor | None]:
        """The results of a body in an attribute, its inputs bound."""
        graph = self.attr(name, gs.Graph)
        if graph is None or len(bound) != len(graph.inputs):
            raise InvalidInput(f"{name!r} is no body of {len(bound)} inputs")
        env: dict[str, Tensor | None] = {t.name: b for t, b in zip(graph.inputs, bound, strict=True)}
        return self._importer.inline(graph, self.name, self._importer.env.new_child(env), self.opset)

    def dims(self, index: int) -> list[Dim]:
        """A known input as a list of dimensions."""
        return [d if isinstance(d, Batch) else int(d) for d in self.known(index).reshape(-1).tolist()]

    def attr(self, name: str, kind: type, default: Any = None) -> Any:
        """An attribute; raises ``InvalidInput`` if it is of another kind."""
        found = self._attrs.get(name, default)
        if isinstance(found, bool) or not (found is default or isinstance(found, kind)):
            shown = repr(found) if isinstance(found, int | float | str | list) else f"a {type(found).__name__}"
            raise InvalidInput(f"attribute {name!r} is {shown[:80]}, not of type {kind.__name__}")
        return found

    def whole(self, name: str, default: int | None = None) -> int:
        """A whole number: where the node has none the default of ONNX, and ``default`` where ONNX has none either."""
        return int(self.attr(name, int, self.unsaid(name, default)))

    def real(self, name: str, default: float | None = None) -> float:
        return float(self.attr(name, float, self.unsaid(name, default)))

    def text(self, name: str, default: str | None = None) -> str:
        return str(self.attr(name, str, self.unsaid(name, default)))

    def flag(self, name: str) -> bool:
        """A switch; it is off in opsets that do not know it."""
        return bool(self.whole(name, 0))

    def unsaid(self, name: str, default: Any) -> Any:
        """What an attribute is where the node does not say; raises ``InvalidInput`` where it must."""
        if name in self._attrs:
            return None
        found = default if self._domain not in STANDARD else defaults_of(self.op, self.opset).get(name, default)
        if found is None:
            raise InvalidInput(f"attribute {name!r} is missing", why="ONNX has no default for it", advice="write it")
        return found

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

    def array(self, name: str) -> Known | None:
        """The array of an attribute that is a tensor, None if it is not there."""
        tensor = self.raw(name)
        return None if tensor is None else self._importer.tensors.read(tensor)


@cache
def defaults_of(op: str, opset: int) -> dict[str, int | float | str]:
    """The attributes of an ONNX operator that have a default, with it.

    An operator that is newer than the opset is read as in the newest one: ONNX Runtime writes such models.
    """
    for version in (opset, onnx.defs.onnx_opset_version()):
        try:
            attributes = onnx.defs.get_schema(op, version, "").attributes.values()
        except onnx.defs.SchemaError:
            continue
        return {a.name: plain(onnx.helper.get_attribute_value(a.default_value)) for a in attributes if has_default(a)}
    return {}


def has_default(attribute: onnx.defs.OpSchema.Attribute) -> bool:
    return attribute.default_value.type in SCALARS


def plain(default: int | float | bytes) -> int | float | str:
    """A default as its authors wrote it: the schema has the nearest float32 of, say, 0.01."""
    if isinstance(default, bytes):
        return default.decode()
    return float(str(np.float32(default))) if isinstance(default, float) else default


def is_setting(kind: TensorType) -> bool:
    """Whether an input is one number, or some that are no floats: few enough to be written."""
    size = numel(kind.shape)
    return isinstance(size, int) and size <= (1 if kind.is_float else MAX_WRITTEN)


def freezing(names: Sequence[str]) -> str:
    """How inputs of these names are frozen, in Python and on the command line."""
    constants = ", ".join(f"{name!r}: ..." for name in names)
    options = " ".join(f"--constant {name}=..." for name in names)
    return f"constants={{{constants}}}, or {options}"


def node_name(node: gs.Node) -> str:
    """The name of a node, or that of its first output."""
    return str(node.name or next((t.name for t in node.outputs if t.name), node.op))


def slices(at: OnnxNode, rank: int) -> list[tuple[int, Any, Any, int]]:
    """Axis, start, stop and step of what an ONNX Slice cuts, in attributes or inputs."""
    starts, stops = at.setting("starts", 1), at.setting("ends", 2)
    if starts is None or stops is None:
        raise InvalidInput("a slice needs starts and ends")
    axes = at.integers("axes", 3) or list(range(len(starts)))
    steps = at.integers("steps", 4) or [1] * len(starts)
    cuts = zip(axes, starts, stops, steps, strict=True)
    return [(normal.axis_of(a, rank), start, stop, step) for a, start, stop, step in cuts]
