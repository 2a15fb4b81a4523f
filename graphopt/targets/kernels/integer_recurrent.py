"""Integer recurrent sequences: products as in ``recurrent``, then scalar arithmetic for each channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
from tvm import tirx

from graphopt.errors import Unsupported
from graphopt.ir import Array, Op, Value, arg
from graphopt.ops import (
    GruSequenceInteger,
    IntegerSequence,
    LstmSequenceInteger,
    Requantize,
    RnnSequenceInteger,
    overflowing,
)
from graphopt.ops.integer_recurrent import COPY_BITS, ENTRY_BITS, GATE_BITS, STATE_BITS
from graphopt.rewrite import Decline
from graphopt.targets.forms import form_of
from graphopt.targets.instructions import Instruction, products
from graphopt.targets.instructions.portable import CLIP_INT8, INTERPOLATE
from graphopt.targets.kernels.base import Frame, Kernel, Scratch, Task, kernel_rule
from graphopt.targets.kernels.recurrent import ACCUMULATORS, Emitter, GateBlock, State, pack
from graphopt.targets.kernels.scaling import shifted_up
from graphopt.targets.lookup import RuleChoice
from graphopt.targets.requantize import RequantizeUpper
from graphopt.targets.scalars import clamp
from graphopt.targets.schedule import Segment, channel_segments
from graphopt.targets.tir import Expr, Locals, Point, Tensor, at_most, cast, loop

SATURATED = Requantize(low=-(1 << 15), high=(1 << 15) - 1, to="int16")
ZERO = tirx.const(0, "int32")

IntegerT = TypeVar("IntegerT", bound=IntegerSequence, covariant=True)

Gates = Callable[[int], Expr]
"""From a gate to the accumulator of one channel."""


@kernel_rule(LstmSequenceInteger, GruSequenceInteger, RnnSequenceInteger)
def integer_sequence_kernel(task: Task[IntegerSequence]) -> Kernel:
    """The kernel of an integer sequence with constant weights and biases.

    Raises ``Unsupported`` for others, and if an accumulator may overflow.
    """
    return integer_kernel(task, task.op, task.inputs)


def recurrent_weights(task: Task[Op], op: IntegerSequence, operands: Sequence[Value]) -> tuple[Array, Array]:
    """The weights [gates * hidden, hidden] and the biases [gates * hidden] of the products with the state.

    Raises ``Unsupported`` if they are not constant, and if an accumulator may overflow.
    """
    rv = operands[1]
    if task.region.epilogue or task.region.tail is not None:
        raise Unsupported(f"{op.name} with operators fused behind it", advice="its result is its state")
    _, _, biases, _ = op.split(operands)
    weights = rv.constant
    late = [b.constant for b in biases if b.constant is not None]
    if weights is None or len(late) < len(biases):
        raise Unsupported(f"{op.name} whose weights or bias are computed at run time", where=task.region.node.name)
    hidden = weights.shape[1]
    bias = np.concatenate([np.zeros(len(weights) - hidden * len(late)), *late])
    if (row := overflowing(weights, bias, "int8")) is not None:
        what = f"the accumulator of row {row} may overflow"
        raise Unsupported(what, where=task.region.node.name, advice="keep this layer in float32")
    return weights, bias.astype(np.int64)


@dataclass(frozen=True)
class RowProducts:
    """The products of 8 bits with the weights of all gates, by a routine: of states or inputs of ``batch`` samples.

    ``name`` is in those of its constants and its scratch, but for the sums, which states and inputs have one after the
    other. With ``scaling`` they are requantized by the routine, to int16, and kept apart.
    """

    name: str
    rows: int
    depth: int
    batch: int
    scaling: Array | None = None

    @property
    def routine(self) -> Instruction:
        return products.SUM_ROW if self.scaling is None else products.SCALE_ROW

    def scaled(self, weights: Array, bias: Array, form: Value | None) -> RowProducts:
        """With the requantisation by the routine, if it has this form, and if it can be exact there."""
        if form is None or not isinstance(form.node.op, RequantizeUpper):
            return self
        numbers = np.stack([every_row(v, self.rows) for v in form.node.inputs[1:]], axis=1).astype(np.int64)
        most = np.abs(weights.astype(np.int64)).sum(axis=1) * 128 + np.abs(bias)
        bounds = np.stack([-most, most], axis=1)
        try:
            return replace(self, scaling=shifted_up(numbers, bounds, products.FACTOR_BITS, "int16"))
        except Decline:
            return self

    @property
    def blocks(self) -> int:
        return -(-self.depth // products.BLOCK)

    @property
    def groups(self) -> int:
        return -(-self.rows // self.routine.lanes)

    @property
    def results(self) -> str:
        """The scratch of the sums."""
        return "sums" if self.scaling is None else f"{self.name}_scaled"

    @property
    def scratch(self) -> Mapping[str, Scratch]:
        """What is multiplied, filled up to blocks; one sample of it expanded; the sums of all rows."""
        return {
            f"{self.name}_bytes": Scratch("int8", self.batch * self.blocks * products.BLOCK),
            f"{self.name}_window": Scratch("int32", 2 * self.blocks),
            self.results: Scratch("int32" if self.scaling is None else "int16", self.groups * self.routine.lanes),
        }

    def bytes(self, frame: Frame) -> Tensor:
        return frame.scratch[f"{self.name}_bytes"]

    def sums(self, frame: Frame) -> Tensor:
        return frame.scratch[self.results]

    def stream(self, weights: Array, bias: Array) -> Array:
        scaling = np.zeros((self.rows, 0), np.int32) if self.scaling is None else self.scaling
        return products.stream(weights, bias, scaling, self.routine.lanes)

    def place(self, n: Expr, c: Expr) -> Point:
        return Point((n * (self.blocks * products.BLOCK) + c,))

    def clear(self, frame: Frame) -> None:
        with loop("i", 0, self.bytes(frame).shape[0]) as i:
            self.bytes(frame).store(Point((i,)), tirx.const(0, "int8"))

    def run(self, frame: Frame, n: Expr) -> None:
        """The sums of all rows, of the sample n."""
        window = frame.scratch[f"{self.name}_window"].at(0)
        products.EXPAND_WORDS.run(window, self.bytes(frame).at(*self.place(n, 0).index), self.blocks)
        weights, sums = frame.packed[self.name].at(0), self.sums(frame).at(0)
        self.routine.run(window, weights, sums, self.blocks, self.groups)


class StepGates(Protocol):
    """What computes the gates of a step from its inputs, into scratch."""

    @property
    def scratch(self) -> Mapping[str, Scratch]: ...

    @property
    def packed(self) -> Mapping[str, Array]: ...

    def tensor(self, frame: Frame) -> Tensor:
        """The gates [t, n, gates * hidden] of whichever step is computed."""

    def clear(self, frame: Frame) -> None: ...

    def run(self, frame: Frame, t: Expr, n: Expr) -> None: ...


def integer_kernel(
    task: Task[Op],
    op: IntegerSequence,
    operands: Sequence[Value],
    by: RowProducts | None = None,
    inputs: StepGates | None = None,
    absorbed: tuple[Value, ...] = (),
    last: bool = False,
) -> Kernel:
    """The kernel of an integer sequence of these operands.

    Its products with the state are written out here, or go ``by`` a routine. Its gates are an operand, or are computed
    of its ``inputs`` step by step. With ``last``, the result keeps one hidden state.
    """
    weights, bias = recurrent_weights(task, op, operands)
    segments = channel_segments(weights.shape[1], task.target.lanes, max(1, ACCUMULATORS // op.gates))
    scales = op.split(operands)[0]
    form: RuleChoice[Value] = form_of(SATURATED, task.target, arg("acc", "int32", (1, len(weights))), *scales)
    by = None if by is None else by.scaled(weights, bias, form.result)
    packed = {"recurrent": pack(weights, op.gates, segments) if by is None else by.stream(weights, bias)}
    if form.result is not None and (by is None or by.scaling is None):
        packed |= {f"scale{i}": every_row(v, len(weights)) for i, v in enumerate(form.result.node.inputs[1:])}
    scratch = {} if by is None else dict(by.scratch)
    if inputs is not None:
        packed, scratch = {**packed, **inputs.packed}, {**scratch, **inputs.scratch}

    def emit(frame: Frame) -> None:
        frame.tell(SATURATED, form)
        EMITTERS[type(op)](op, frame, segments, operands, form, by, inputs, last).emit()

    replaced = (operands[1], *absorbed) if form.result is None else (operands[1], *absorbed, *scales)
    return Kernel(op.name, emit, packed, replaced, scratch=scratch)


def every_row(value: Value, rows: int) -> Array:
    """A constant of the rows of a product, one number or as many."""
    assert value.constant is not None
    return np.broadcast_to(value.constant, (rows,))


def kept(name: str, value: Expr) -> Expr:
    """An int32 expression, computed once, at this place."""
    variable = Locals(name, 1, "int32")
    variable[0] = value
    return variable[0]


def rounded(x: Expr, shift: int) -> Expr:
    """x / 2^shift, halves up."""
    return (x + (1 << (shift - 1))) >> shift


def saturated(x: Expr) -> Expr:
    """The nearest int16, as int32."""
    return cast(clamp(x, -(1 << 15), (1 << 15) - 1), "int32")


class IntegerEmitter(Emitter[IntegerT]):
    """``channel`` writes what one channel does with its accumulators; the last row is the copy that is multiplied.

    Accumulators are requantized in the ``form`` of the target, if it has one, by constants that were packed for it.
    With ``by``, a routine sums the products of all gates before the channels of a step.
    """

    def __init__(
        self,
        op: IntegerT,
        frame: Frame,
        segments: Sequence[Segment],
        operands: Sequence[Value],
        form: RuleChoice[Value],
        by: RowProducts | None,
        inputs: StepGates | None,
        last: bool,
    ) -> None:
        gates = frame.tensors[operands[0]] if inputs is None else inputs.tensor(frame)
        super().__init__(op, frame, segments, operands, gates)
        self.frame, self.by, self.inputs, self.last = frame, by, inputs, last
        self.dtype = "int32"
        scales, tables, _, _ = op.split(operands)
        self.requantize: Op = SATURATED if form.result is None else form.result.op
        packed = [tensor for name, tensor in frame.packed.items() if name.startswith("scale")]
        by_routine = by is not None and by.scaling is not None
        self.scales = [] if by_routine else packed or [frame.tensors[v] for v in scales]
        self.sigmoid_table, self.tanh_table = frame.tensors[tables[0]], frame.tensors[tables[-1]]

    def operands(self, values: Sequence[Value]) -> tuple[Sequence[Value], Sequence[Value]]:
        _, _, biases, states = self.op.split(values)
        return biases, states

    @property
    def copy(self) -> int:
        """The row of the copy."""
        return self.behind + self.op.rows - 1

    def emit(self) -> None:
        for part in (self.by, self.inputs):
            if part is not None:
                part.clear(self.frame)
        super().emit()

    def begin(self, n: Expr, states: Sequence[State]) -> None:
        if states:
            self.write_copy(n, states[0])

    def write_copy(self, n: Expr, state: State) -> None:
        tensor, at = state
        with loop("c", 0, self.hidden) as c:
            narrow = kept("narrow", self.narrowed(cast(tensor.load(Point((*at, c))), "int32")))
            self.out.store(Point((self.copy, n, c)), cast(narrow, "int16"))
            if self.by is not None:
                self.by.bytes(self.frame).store(self.by.place(n, c), cast(narrow, "int8"))

    def step(self, t: Expr, n: Expr, states: Sequence[State]) -> None:
        if self.inputs is not None:
            self.inputs.run(self.frame, t, n)
        self.advance(t, n, states)
        self.write_copy(n, (self.out, (self.row(t), n)))

    def advance(self, t: Expr, n: Expr, states: Sequence[State]) -> None:
        """Write the states after step ``t``, without the copy."""

        def emit(block: GateBlock) -> None:
            acc = self.products(block, range(self.op.gates), n, self.copy if states else None)
            for c, gates in channels(block, acc):
                self.channel(t, n, c, gates, [self.load(s, c) for s in states])

        if self.by is not None:
            self.by.run(self.frame, n)
        self.each_block(emit)

    def channel(self, t: Expr, n: Expr, c: Expr, gates: Gates, states: Sequence[Expr]) -> None:
        raise NotImplementedError

    def products(self, block: GateBlock, gates: Sequence[int], n: Expr, row: Expr | None) -> Callable[[int, int], Expr]:
        """Accumulators of the products with a row of the result; without a row they are the biases."""
        if self.by is not None:
            sums = self.by.sums(self.frame)
            return lambda gate, vector: sums.load(Point((gate * self.hidden + block.channel + vector,)))

        def start(gate: int, vector: int) -> Expr:
            if gate < self.op.gates - len(self.biases):
                return tirx.const(0, "int32" if block.lanes == 1 else f"int32x{block.lanes}")
            return self.biases[0].load(Point((block.channel + vector * block.lanes,), 0, block.lanes))

        return block.products("acc", gates, start, None if row is None else (self.out, (row, n)))

    def load(self, state: State, c: Expr) -> Expr:
        tensor, at = state
        return kept("state", cast(tensor.load(Point((*at, c))), "int32"))

    def store(self, row: Expr, n: Expr, c: Expr, value: Expr) -> None:
        self.out.store(Point((row, n, c)), cast(value, "int16"))

    def x(self, t: Expr, n: Expr, gate: int, c: Expr) -> Expr:
        """The contribution of the layer's inputs to a gate."""
        return self.gates.load(Point((t, n, gate * self.hidden + c)))

    def rescaled(self, acc: Expr, gate: int, c: Expr) -> Expr:
        """A product in the units of gates, saturated."""
        if self.by is not None and self.by.scaling is not None:
            return kept("product", cast(acc, "int32"))
        row = Point((gate * self.hidden + c,))
        acc = self.scalar(self.requantize, acc, *(scale.load(row) for scale in self.scales))
        return kept("product", cast(acc, "int32"))

    def activated(self, table: Tensor, x: Expr, product: Expr) -> Expr:
        """The function of a table at sat(x + product)."""
        return self.interpolated(table, cast(x, "int32") + product)

    def narrowed(self, x: Expr) -> Expr:
        """A hidden state in 8 bits, as int32."""
        narrow = rounded(x, STATE_BITS - COPY_BITS)  # no less than -128
        return CLIP_INT8.call(narrow) if self.frame.task.target.codegen == "c" else at_most(narrow, 127)

    def interpolated(self, table: Tensor, x: Expr) -> Expr:
        """The function of a table at the nearest int16."""
        if self.frame.task.target.codegen == "c":
            return kept("value", INTERPOLATE.call(table.at(0), x))
        place = kept("place", saturated(x) + (1 << 15))
        entry = kept("entry", place >> ENTRY_BITS)
        low = kept("low", cast(table.load(Point((entry,))), "int32"))
        high = cast(table.load(Point((entry + 1,))), "int32")
        part = tirx.bitwise_and(place, tirx.const((1 << ENTRY_BITS) - 1, "int32"))
        return kept("value", low + rounded((high - low) * part, ENTRY_BITS))


def channels(block: GateBlock, acc: Callable[[int, int], Expr]) -> Iterator[tuple[Expr, Gates]]:
    """Each channel of a block, with its accumulators extracted from the vectors."""

    def of(vector: int, lane: int) -> Gates:
        return lambda gate: acc(gate, vector) if block.lanes == 1 else tirx.Shuffle([acc(gate, vector)], [lane])

    for vector in block.vectors:
        for lane in range(block.lanes):
            yield block.channel + vector * block.lanes + lane, of(vector, lane)


class LstmIntegerEmitter(IntegerEmitter[LstmSequenceInteger]):
    def channel(self, t: Expr, n: Expr, c: Expr, gates: Gates, states: Sequence[Expr]) -> None:
        op = self.op
        tables = (self.sigmoid_table, self.sigmoid_table, self.sigmoid_table, self.tanh_table)
        i, o, f, g = (
            self.activated(table, self.x(t, n, gate, c), self.rescaled(gates(gate), gate, c))
            for gate, table in enumerate(tables)
        )
        new = (i * g) >> (STATE_BITS - op.cell)
        cell = kept("cell", saturated(rounded(f * states[1] + new if states else new, STATE_BITS)))
        self.store(self.behind, n, c, cell)
        squashed = self.interpolated(self.tanh_table, cell * (1 << (GATE_BITS - op.cell)))
        self.store(self.row(t), n, c, rounded(o * squashed, STATE_BITS))


class GruIntegerEmitter(IntegerEmitter[GruSequenceInteger]):
    """Two sweeps, as in floats; one sweep if ``linear_before_reset``."""

    def advance(self, t: Expr, n: Expr, states: Sequence[State]) -> None:
        if self.op.linear_before_reset:
            super().advance(t, n, states)
            return

        def early(block: GateBlock) -> None:
            acc = self.products(block, (0, 1), n, self.copy if states else None)
            for c, gates in channels(block, acc):
                z, reset = (self.early(t, n, c, gates, gate) for gate in (0, 1))
                self.store(self.row(t), n, c, z)
                kept_back = (
                    self.narrowed(rounded(reset * self.load(states[0], c), STATE_BITS))
                    if states
                    else tirx.const(0, "int32")
                )
                self.store(self.behind, n, c, kept_back)

        def late(block: GateBlock) -> None:
            acc = self.products(block, (2,), n, self.behind if states else None)
            for c, gates in channels(block, acc):
                g = self.activated(self.tanh_table, self.x(t, n, 2, c), self.rescaled(gates(2), 2, c))
                z = self.load((self.out, (self.row(t), n)), c)
                self.finish(t, n, c, z, g, [self.load(s, c) for s in states])

        self.each_block(early)
        self.each_block(late)

    def channel(self, t: Expr, n: Expr, c: Expr, gates: Gates, states: Sequence[Expr]) -> None:
        z, reset = (self.early(t, n, c, gates, gate) for gate in (0, 1))
        inner = rounded(reset * self.rescaled(gates(2), 2, c), STATE_BITS)
        self.finish(t, n, c, z, self.activated(self.tanh_table, self.x(t, n, 2, c), inner), states)

    def early(self, t: Expr, n: Expr, c: Expr, gates: Gates, gate: int) -> Expr:
        """One of the gates z and r."""
        return self.activated(self.sigmoid_table, self.x(t, n, gate, c), self.rescaled(gates(gate), gate, c))

    def finish(self, t: Expr, n: Expr, c: Expr, z: Expr, g: Expr, states: Sequence[Expr]) -> None:
        h = states[0] if states else ZERO
        self.store(self.row(t), n, c, g + rounded(z * (h - g), STATE_BITS))


class RnnIntegerEmitter(IntegerEmitter[RnnSequenceInteger]):
    def channel(self, t: Expr, n: Expr, c: Expr, gates: Gates, states: Sequence[Expr]) -> None:
        self.store(
            self.row(t), n, c, self.activated(self.tanh_table, self.x(t, n, 0, c), self.rescaled(gates(0), 0, c))
        )


EMITTERS: dict[type[IntegerSequence], type[IntegerEmitter[IntegerSequence]]] = {
    LstmSequenceInteger: LstmIntegerEmitter,
    GruSequenceInteger: GruIntegerEmitter,
    RnnSequenceInteger: RnnIntegerEmitter,
}
