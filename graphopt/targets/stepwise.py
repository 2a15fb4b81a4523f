"""Recurrent layers step by step: their inputs are multiplied when a step needs them, and states that nobody reads go.

A layer over many steps stands in graphs as one product of all inputs, the sequence, and what is read of its states.
That is fast where memory is wide; a microcontroller would hold the gates of all steps, and all states where the last
one alone is read. So in C both become one operator. It stands in lowered graphs alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from graphopt.ir import Array, Graph, Input, Node, Op, TensorType, Value, constant, rebuild
from graphopt.ops import (
    Fused,
    GruSequenceInteger,
    IntegerSequence,
    LinearInteger,
    Requantize,
    Reshape,
    Slice,
    Transpose,
)
from graphopt.targets.scalars import is_scalar

GATES = Requantize(low=-(1 << 15), high=(1 << 15) - 1, to="int16")


class StepwiseSequence(Op):
    """An integer sequence, of the inputs of its steps in place of its gates.

    Operands: x int8 [steps * n, k]; w int8 [g*h, k], its bias, multiplier and shift [g*h], as ``linear_integer`` and
    ``requantize`` take them; then those of ``sequence`` after the gates. Gives what that gives; with ``last``, of the
    hidden states only those after the last step.
    """

    name: ClassVar[str] = "stepwise_sequence"

    sequence: IntegerSequence
    linear: LinearInteger
    steps: int
    last: bool

    def infer(self, *inputs: TensorType) -> TensorType:
        x, w = inputs[:2]
        gates = TensorType("int16", (self.steps, x.static_shape[0] // self.steps, w.static_shape[0]))
        whole = self.sequence.infer(gates, *inputs[5:])
        return whole if not self.last else whole.with_shape((1 + self.sequence.rows, *whole.shape[1:]))

    def evaluate(self, *inputs: Array) -> Array:
        x, w, bias, multiplier, shift = inputs[:5]
        gates = GATES.evaluate(np.asarray(self.linear.evaluate(x, w, bias)), multiplier, shift)
        shape = self.steps, len(x) // self.steps, len(w)
        whole = self.sequence.evaluate(np.asarray(gates).reshape(shape), *inputs[5:])
        row = 0 if self.sequence.reverse else self.steps - 1
        return np.concatenate([whole[row : row + 1], whole[self.steps :]]) if self.last else whole

    def macs(self, inputs: Sequence[TensorType], results: Sequence[TensorType]) -> int:
        x, w = inputs[:2]
        gates = TensorType("int16", (self.steps, x.static_shape[0] // self.steps, w.static_shape[0]))
        product = x.static_shape[0] * w.static_shape[0] * w.static_shape[1]
        return product + self.sequence.macs((gates, *inputs[5:]), results)


def stepwise(graph: Graph) -> Graph:
    """A bound graph with its integer sequences step by step, where their gates are a product of constant weights."""
    found = {node: last_read(graph, node) for node in graph.nodes if is_of_product(graph, node)}
    axes = {node: axis for read in found.values() for node, axis in (read or {}).items()}

    def change(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node in found:
            made = of_inputs(node, inputs, last=found[node] is not None)
            return (made if found[node] is None else Slice(axis=0, start=0, stop=1)(made),)
        return narrowed(node, inputs, axes[node]) if node in axes else None

    return rebuild(graph, change)


def product_of(gates: Value) -> tuple[LinearInteger, tuple[Value, ...]] | None:
    """The product that gates are, and its operands: x, w, bias, multiplier, shift; None if they are something else."""
    while isinstance(gates.op, Reshape):
        gates = gates.node.inputs[0]
    if not isinstance(gates.op, Fused):
        return None
    body = gates.op.body
    given = dict(zip(body.inputs, gates.node.inputs, strict=True))
    ops = [node for node in body.nodes if node.inputs]
    if len(ops) != 2 or not isinstance(ops[0].op, LinearInteger) or ops[1].op != GATES:
        return None
    if ops[1].inputs[0] is not ops[0].results[0] or any(v not in given for v in (*ops[0].inputs, *ops[1].inputs[1:])):
        return None
    operands = tuple(given[v] for v in (*ops[0].inputs, *ops[1].inputs[1:]))
    x, *constants = operands
    fits = x.type.rank == 2 and x.type.dtype == "int8" and all(v.constant is not None for v in constants)
    return (ops[0].op, operands) if fits else None


def is_of_product(graph: Graph, node: Node) -> bool:
    """Whether a node is a sequence that a kernel has step by step, and its gates a product that nothing else reads."""
    op = node.op
    if not isinstance(op, IntegerSequence) or (isinstance(op, GruSequenceInteger) and not op.linear_before_reset):
        return False
    gates = node.inputs[0]
    if product_of(gates) is None:
        return False
    while isinstance(gates.op, Reshape) and graph.use_count(gates) == 1:
        gates = gates.node.inputs[0]
    return graph.use_count(gates) == 1 and not isinstance(gates.op, Reshape)


def of_inputs(node: Node, inputs: tuple[Value, ...], last: bool) -> Value:
    """The sequence step by step, of rebuilt operands."""
    product = product_of(inputs[0])
    assert product is not None and isinstance(node.op, IntegerSequence)
    linear, (x, w, bias, *scales) = product
    rows = w.type.static_shape[0]
    wide = (constant(np.broadcast_to(np.asarray(v.constant), (rows,)).copy(), like=v) for v in scales)
    steps = node.inputs[0].type.static_shape[0]
    made = StepwiseSequence(sequence=node.op, linear=linear, steps=steps, last=last)
    return made(x, w, bias, *wide, *inputs[1:], name=node.name, origins=node.origins)


def last_read(graph: Graph, node: Node) -> Mapping[Node, int] | None:
    """What reads the state after the last step, by moves and element by element; None if more of the states is read.

    Of each node, the axis of the steps in its operand.
    """
    assert isinstance(node.op, IntegerSequence)
    steps = node.inputs[0].type.static_shape[0]
    value, axis, first, axes = node.results[0], 0, 0, dict[Node, int]()
    while value.type.static_shape[axis] > 1:
        if graph.use_count(value) != 1 or value in graph.outputs:
            return None
        (reader,) = graph.uses[value]
        axes[reader] = axis
        match reader.op:
            case Slice(axis=cut, start=start, step=1) if cut == axis:
                first += start
            case Slice(axis=cut) if cut != axis:
                pass
            case Transpose(perm=perm):
                axis = perm.index(axis)
            case Reshape():
                kept = kept_axis(value.type.static_shape, reader.types[0].static_shape, axis)
                if kept is None:
                    return None
                axis = kept
            case _ if not is_pointwise(reader, value):
                return None
        value = reader.results[0]
    wanted = 0 if node.op.reverse else steps - 1
    return axes if first == wanted else None


def kept_axis(shape: tuple[int, ...], other: tuple[int, ...], axis: int) -> int | None:
    """Where a reshape leaves an axis as it is; None if it joins or cuts it."""
    before, size = math.prod(shape[:axis]), shape[axis]
    return next((i for i in range(len(other)) if math.prod(other[:i]) == before and other[i] == size), None)


def is_pointwise(node: Node, value: Value) -> bool:
    """Whether a node computes element by element of a value, and of numbers."""
    others = [v for v in node.inputs if v is not value]
    ops = [n.op for n in node.op.body.nodes if n.inputs] if isinstance(node.op, Fused) else [node.op]
    return all(is_scalar(type(op)) for op in ops) and all(math.prod(v.type.static_shape) == 1 for v in others)


def narrowed(node: Node, inputs: tuple[Value, ...], axis: int) -> Sequence[Value] | None:
    """A node between sequence and slice, of one step alone."""
    match node.op:
        case Slice(axis=cut) if cut == axis:
            return inputs
        case Reshape(shape=shape):
            kept = kept_axis(node.inputs[0].type.static_shape, node.types[0].static_shape, axis)
            assert kept is not None
            return (Reshape(shape=(*shape[:kept], 1, *shape[kept + 1 :]))(*inputs, name=node.name),)
        case Fused():
            given = [Input(type=v.type)(name=f"x{i}") for i, v in enumerate(inputs)]
            body = Graph(tuple(given), node.op.decompose(*given))
            return (Fused(body=body)(*inputs, name=node.name, origins=node.origins),)
    return None
