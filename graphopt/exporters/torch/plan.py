"""The plan of a module: what runs, node by node, and what constants become. It holds no tensor and never changes.

Not every value is held in the dtype of its type. What ``quantize`` gives, and what only moves that, are floats that
hold the very integers, so that gradients pass to ``dequantize``; other operators, and the outputs, get integers.
Operands of uint16 and uint32 are widened for a rule, and its results wrapped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from graphopt import ops
from graphopt.exporters.torch.rule import TORCH_RULES, TRAINING_RULES, Rule
from graphopt.ir import Array, Constant, Graph, Input, Node, Op, Trait, Value, arg, constant
from graphopt.ops.quantized import STORED

NATIVE = (ops.Cast, ops.Quantize, ops.Dequantize)
"""The operators whose rules take every integer as it is."""

WIDER = {"uint16": torch.int32, "uint32": torch.int64}

CARRIERS = (ops.Dequantize, ops.Relu, ops.Resize)
"""The operators that do to floats that hold integers what they do to integers, as all do that only move elements;
``carries`` adds to them."""

STATISTICS: dict[type[Op], tuple[int, ...]] = {ops.BatchNorm: (3, 4), ops.Quantize: (1, 2), ops.Dequantize: (1, 2)}
"""Operands that are measured, not trained."""

Key = tuple[str, ...]
"""The name of a constant: that of its node, behind those of the fused nodes it is in."""


class Slot(NamedTuple):
    """What a constant becomes: a parameter or a buffer, which is ``derived`` if no graph has it but a decomposition."""

    key: Key
    data: Array
    parameter: bool
    derived: bool


@dataclass(frozen=True, eq=False)
class PlanStep:
    """One node: its rule, or else the plan of its body."""

    node: Node
    rule: Rule | None
    training: Rule | None
    body: ExecutionPlan | None
    symbolic: bool
    dead: tuple[Value, ...]
    """The values that no later step reads."""

    def run(self, tensors: Sequence[Tensor], at: Situation) -> Sequence[Tensor]:
        if self.body is not None:
            return self.body.run(tensors, at)
        op = self.node.op.bind(at.batch) if self.symbolic else self.node.op
        rule = self.training if at.training and self.training is not None else self.rule
        assert rule is not None
        results = rule(op, *self.operands(tensors))
        results = (results,) if isinstance(results, Tensor) else results
        return [settled(t, v) for t, v in zip(results, self.node.results, strict=True)]

    def operands(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        values, op = self.node.inputs, self.node.op
        carried = [t.dtype for t, v in zip(tensors, values, strict=True) if is_carried(t, v)]
        if carried and carries(op, self.node.types[0].dtype):
            stored = [v.type.dtype in STORED for v in values]
            return [t.to(carried[0]) if s else t for t, s in zip(tensors, stored, strict=True)]
        exact = [declared(t, v) for t, v in zip(tensors, values, strict=True)]
        if isinstance(op, NATIVE):
            return exact
        return [t.to(WIDER.get(v.type.dtype, t.dtype)) for t, v in zip(exact, values, strict=True)]


def is_carried(tensor: Tensor, value: Value) -> bool:
    """Whether these are integers held in floats."""
    return tensor.is_floating_point() and not value.type.is_float


def carries(op: Op, dtype: str) -> bool:
    """Whether an operator may get floats that hold integers: what it puts beside them must be such numbers too."""
    if isinstance(op, ops.Pad):
        limits = np.iinfo(dtype)
        return limits.min <= op.value <= limits.max and float(op.value).is_integer()
    if isinstance(op, ops.MaxPool):  # a dilated window may lie in the padding
        return not any(op.pads) or max(op.dilations, default=1) == 1
    return Trait.MOVE in op.traits or isinstance(op, CARRIERS)


class Situation(NamedTuple):
    """What a run knows beside its inputs."""

    constants: Mapping[Value, Tensor]
    batch: int
    training: bool
    imposed: Mapping[Value, Tensor] = MappingProxyType({})
    """Values that replace the computed ones; gradients pass as if they had been computed."""


class StraightThrough(torch.autograd.Function):
    """The second tensor, with the gradient of the first."""

    @staticmethod
    def forward(ctx: Any, computed: Tensor, imposed: Tensor) -> Tensor:
        return imposed.to(computed.dtype, copy=True)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def declared(tensor: Tensor, value: Value) -> Tensor:
    """The tensor in the dtype of its type, if that is no float."""
    return tensor if value.type.is_float else tensor.to(getattr(torch, value.type.dtype))


def settled(tensor: Tensor, value: Value) -> Tensor:
    """A result; integers in floats stay so."""
    return tensor if tensor.is_floating_point() else declared(tensor, value)


class ExecutionPlan:
    """The steps of a graph, or of a body, of which ``fixed`` are the inputs that stand for constants.

    ``stuck`` names what PyTorch has no way for; with such nodes it cannot run.
    """

    def __init__(self, graph: Graph, fixed: frozenset[Value] = frozenset()) -> None:
        from graphopt.exporters.torch import rules  # noqa: F401

        self.graph, self.fixed = graph, fixed
        self.stuck: list[str] = []
        last_use = {value: node for node in graph.nodes for value in node.inputs}
        self.steps = [self.step(node, last_use) for node in graph.nodes if not isinstance(node.op, Input | Constant)]

    def __deepcopy__(self, memo: dict[int, Any]) -> ExecutionPlan:
        return self

    def step(self, node: Node, last_use: Mapping[Value, Node]) -> PlanStep:
        kind, rule, body = type(node.op), TORCH_RULES.get(type(node.op)), None
        where = self.graph.names[node]
        if any(t.dtype == "uint64" for t in (*node.types, *(v.type for v in node.inputs))):
            self.stuck.append(f"{where} ({node.op.name} of uint64)")
        elif rule is None:
            body = self.body(node)
            self.stuck += [f"{where} ({node.op.name})"] if body is None else [f"{where}/{s}" for s in body.stuck]
        training = TRAINING_RULES.get(kind)
        if not all(self.is_fixed(node.inputs[i]) for i in STATISTICS.get(kind, ())):
            training = None
        dead = {v for v in node.inputs if last_use[v] is node and not isinstance(v.op, Constant)}
        symbolic = body is None and node.op.bind(1) is not node.op
        return PlanStep(node, rule, training, body, symbolic, tuple(dead.difference(self.graph.outputs)))

    def is_fixed(self, value: Value) -> bool:
        return isinstance(value.op, Constant) or value in self.fixed

    def body(self, node: Node) -> ExecutionPlan | None:
        """The plan of a fused node, or of the parts of an operator without a rule."""
        graph = node.op.body if isinstance(node.op, ops.Fused) else decomposed(node)
        if graph is None:
            return None
        pairs = zip(node.inputs, graph.inputs, strict=True)
        return ExecutionPlan(graph, frozenset(inner for outer, inner in pairs if self.is_fixed(outer)))

    def run(self, inputs: Sequence[Tensor], at: Situation) -> list[Tensor]:
        values = dict(zip(self.graph.inputs, inputs, strict=True))

        def read(value: Value) -> Tensor:
            return at.constants[value] if isinstance(value.op, Constant) else values[value]

        for step in self.steps:
            results = step.run([read(v) for v in step.node.inputs], at)
            for value, tensor in zip(step.node.results, results, strict=True):
                known = at.imposed.get(value)
                values[value] = tensor if known is None else StraightThrough.apply(tensor, known)  # type: ignore[no-untyped-call]
            for value in step.dead:
                del values[value]
        return [read(v) for v in self.graph.outputs]

    def statistics(self) -> set[Value]:
        """The values that some operator reads as an operand that is measured."""
        found: set[Value] = set()
        for step in self.steps:
            operands = step.node.inputs
            found |= {operands[i] for i in STATISTICS.get(type(step.node.op), ())}
            if step.body is not None:
                inner = step.body.statistics()
                found |= {v for v, b in zip(operands, step.body.graph.inputs, strict=True) if b in inner}
        return found

    @cached_property
    def slots(self) -> dict[Value, Slot]:
        """What every constant becomes, those of bodies too."""
        return dict(self.every_slot())

    def every_slot(self, behind: Key = (), derived: bool = False) -> Iterator[tuple[Value, Slot]]:
        statistics = self.statistics()
        for node in self.graph.nodes:
            if isinstance(node.op, Constant):
                value, data = node.results[0], node.op.value
                trained = not derived and value not in statistics and is_weight(data)
                yield value, Slot((*behind, self.graph.names[node]), data, trained, derived)
        for step in self.steps:
            if step.body is not None:
                inside = derived or not isinstance(step.node.op, ops.Fused)
                yield from step.body.every_slot((*behind, self.graph.names[step.node]), inside)


def is_weight(data: Array) -> bool:
    """Whether a constant can be trained: finite floats, and not a lone number, which is part of a formula."""
    return data.dtype.kind == "f" and data.ndim > 0 and bool(np.isfinite(data).all())


def decomposed(node: Node) -> Graph | None:
    """The parts of an operator, as a body with an input for each operand.

    The operands are not constants there, or a decomposition would compute ahead with what the module can change; only
    if it must know them, those of integers are.
    """
    for known in (False, True):
        inputs = tuple(arg(f"x{i}", v.type.dtype, v.type.shape) for i, v in enumerate(node.inputs))
        operands = [
            constant(v.constant, like=v) if known and v.constant is not None and not v.type.is_float else inner
            for v, inner in zip(node.inputs, inputs, strict=True)
        ]
        if (parts := node.op.decompose(*operands)) is not None:
            return Graph(inputs, parts)
    return None
