"""The cells of integer recurrent layers: what the channels of a block do with the sums of their gates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from tvm import tirx

from graphopt.ir import Array, Op, Value
from graphopt.ops import GruSequenceInteger, IntegerSequence, LstmSequenceInteger, Requantize, RnnSequenceInteger
from graphopt.ops.integer_recurrent import COPY_BITS, ENTRY_BITS, GATE_BITS, STATE_BITS
from graphopt.targets.instructions.portable import CLIP_INT8, INTERPOLATE
from graphopt.targets.kernels.base import Frame, Scratch
from graphopt.targets.kernels.recurrent import Emitter, GateBlock, State, pack
from graphopt.targets.kernels.row_products import RowProducts
from graphopt.targets.lookup import RuleChoice
from graphopt.targets.scalars import clamp, constant
from graphopt.targets.schedule import Segment, channel_segments
from graphopt.targets.tir import Expr, Locals, Point, Tensor, at_most, cast, lanes_of, lanewise, loop

SATURATED = Requantize(low=-(1 << 15), high=(1 << 15) - 1, to="int16")

IntegerT = TypeVar("IntegerT", bound=IntegerSequence, covariant=True)

Gates = Callable[[int], Expr]
"""From a gate to the accumulators of some channels."""


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


def kept(name: str, value: Expr) -> Expr:
    """An expression of int32, computed once, at this place."""
    variable = Locals(name, 1, "int32", lanes_of(value))
    variable[0] = value
    return variable[0]


def rounded(x: Expr, shift: int) -> Expr:
    """x / 2^shift, halves up."""
    return (x + constant(1 << (shift - 1), x)) >> constant(shift, x)


def saturated(x: Expr) -> Expr:
    """The nearest int16, as int32."""
    return clamp(x, -(1 << 15), (1 << 15) - 1)


def place_in_table(x: Expr) -> tuple[Expr, Expr]:
    """The entry of a table before the nearest int16, and how far behind it that is."""
    place = kept("place", saturated(x) + constant(1 << 15, x))
    part = tirx.bitwise_and(place, constant((1 << ENTRY_BITS) - 1, place))
    return kept("entry", place >> constant(ENTRY_BITS, place)), part


def interpolated(table: Tensor, x: Expr) -> Expr:
    """The function of a table at the nearest int16; lanes are looked up one by one."""
    entry, part = place_in_table(x)

    def number(one: Expr) -> Expr:
        return cast(table.load(Point((one,))), "int32")

    low = kept("low", lanewise(number)(entry))
    high = lanewise(lambda one: number(one + 1))(entry)
    return low + rounded((high - low) * part, ENTRY_BITS)


@dataclass(frozen=True)
class Means:
    """How a target multiplies a state by the weights of a block, packs these, and looks up tables."""

    block: type[GateBlock] = GateBlock
    pack: Callable[[Array, int, Sequence[Segment]], Array] = pack
    interpolated: Callable[[Tensor, Expr], Expr] = interpolated


def means_of(codegen: str) -> Means:
    return Means(interpolated=lambda table, x: INTERPOLATE.call(table.at(0), x)) if codegen == "c" else Means()


@dataclass(frozen=True)
class Channels:
    """So many channels side by side, as int32 lanes."""

    first: Expr
    lanes: int

    def at(self, *index: Expr) -> Point:
        """Their place on the last axis of a tensor, behind an index of the others."""
        return Point((*index, self.first), len(index), self.lanes)

    def of_gate(self, gate: int, hidden: int) -> Channels:
        """These of a gate, where all gates are on one axis."""
        return Channels(gate * hidden + self.first, self.lanes)

    @property
    def zero(self) -> Expr:
        return tirx.const(0, "int32" if self.lanes == 1 else f"int32x{self.lanes}")


class IntegerEmitter(Emitter[IntegerT]):
    """``cell`` writes what channels do with their accumulators; the last row is the copy that is multiplied.

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
        means: Means,
        by: RowProducts | None,
        inputs: StepGates | None,
        last: bool,
    ) -> None:
        gates = frame.tensors[operands[0]] if inputs is None else inputs.tensor(frame)
        super().__init__(op, frame, segments, operands, gates)
        self.frame, self.means, self.by, self.inputs, self.last = frame, means, by, inputs, last
        self.dtype, self.block = "int32", means.block
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
        if self.by is not None:
            with loop("n", 0, self.out.shape[1]) as n, loop("c", 0, self.hidden) as c:
                copied = self.by.bytes(self.frame).load(self.by.place(n, c))
                self.store(self.copy, n, Channels(c, 1), copied)

    def begin(self, n: Expr, states: Sequence[State]) -> None:
        if states:
            self.write_copy(n, states[0])

    def write_copy(self, n: Expr, state: State) -> None:
        for part in channel_segments(self.hidden, self.frame.task.target.lanes, 1):
            with loop("c", 0, part.blocks) as block:
                c = Channels(part.start + block * part.lanes, part.lanes)
                self.write_narrow(n, c, self.load(state, c))

    def write_narrow(self, n: Expr, c: Channels, state: Expr) -> None:
        """The copy of a state in 8 bits: for a routine in bytes, from which it is copied into the result at the end."""
        narrow = self.narrowed(state)
        if self.by is None:
            self.store(self.copy, n, c, narrow)
        else:
            self.by.bytes(self.frame).store(self.by.place(n, c.first), cast(narrow, "int8"))

    def write_hidden(self, t: Expr, n: Expr, c: Channels, state: Expr) -> None:
        """The state after a step, and its copy, if all products with the one before were summed by a routine."""
        if self.by is None:
            self.store(self.row(t), n, c, state)
            return
        state = kept("hidden", state)
        self.store(self.row(t), n, c, state)
        self.write_narrow(n, c, state)

    def step(self, t: Expr, n: Expr, states: Sequence[State]) -> None:
        if self.inputs is not None:
            self.inputs.run(self.frame, t, n)
        self.advance(t, n, states)
        if self.by is None:
            self.write_copy(n, (self.out, (self.row(t), n)))

    def advance(self, t: Expr, n: Expr, states: Sequence[State]) -> None:
        """Write the states after step ``t``, without the copy."""

        def emit(block: GateBlock) -> None:
            acc = self.products(block, range(self.op.gates), n, self.copy if states else None)
            for c, gates in channels(block, acc):
                self.cell(t, n, c, gates, [kept("state", self.load(s, c)) for s in states])

        if self.by is not None:
            self.by.run(self.frame, n)
        self.each_block(emit)

    def cell(self, t: Expr, n: Expr, c: Channels, gates: Gates, states: Sequence[Expr]) -> None:
        raise NotImplementedError

    def products(self, block: GateBlock, gates: Sequence[int], n: Expr, row: Expr | None) -> Callable[[int, int], Expr]:
        """Accumulators of the products with a row of the result; without a row they are the biases."""
        if self.by is not None:
            sums = self.by.sums(self.frame)
            return lambda gate, vector: sums.load(Point((gate * self.hidden + block.channel + vector,)))

        def start(gate: int, vector: int) -> Expr:
            c = channels_of(block, vector)
            if gate < self.op.gates - len(self.biases):
                return c.zero
            return self.biases[0].load(c.at())

        return block.products("acc", gates, start, None if row is None else (self.out, (row, n)))

    def load(self, state: State, c: Channels) -> Expr:
        tensor, at = state
        return cast(tensor.load(c.at(*at)), "int32")

    def store(self, row: Expr, n: Expr, c: Channels, value: Expr) -> None:
        self.out.store(c.at(row, n), cast(value, "int16"))

    def x(self, t: Expr, n: Expr, gate: int, c: Channels) -> Expr:
        """The contribution of the layer's inputs to a gate."""
        return cast(self.gates.load(c.of_gate(gate, self.hidden).at(t, n)), "int32")

    def rescaled(self, acc: Expr, gate: int, c: Channels) -> Expr:
        """A product in the units of gates, saturated."""
        if self.by is not None and self.by.scaling is not None:
            return kept("product", cast(acc, "int32"))
        row = c.of_gate(gate, self.hidden).at()
        acc = self.scalar(self.requantize, acc, *(scale.load(row) for scale in self.scales))
        return kept("product", cast(acc, "int32"))

    def activated(self, table: Tensor, x: Expr, product: Expr) -> Expr:
        """The function of a table at sat(x + product)."""
        return self.interpolated(table, x + product)

    def narrowed(self, x: Expr) -> Expr:
        """A hidden state in 8 bits, as int32."""
        narrow = rounded(x, STATE_BITS - COPY_BITS)  # no less than -128
        return CLIP_INT8.call(narrow) if self.frame.task.target.codegen == "c" else at_most(narrow, constant(127, x))

    def interpolated(self, table: Tensor, x: Expr) -> Expr:
        """The function of a table at the nearest int16."""
        return kept("value", self.means.interpolated(table, x))


def channels_of(block: GateBlock, vector: int) -> Channels:
    """Those of a vector of a block."""
    return Channels(block.channel + vector * block.lanes, block.lanes)


def channels(block: GateBlock, acc: Callable[[int, int], Expr]) -> Iterator[tuple[Channels, Gates]]:
    """The channels of a block, vector by vector, with their accumulators."""

    def of(vector: int) -> Gates:
        return lambda gate: acc(gate, vector)

    for vector in block.vectors:
        yield channels_of(block, vector), of(vector)


class LstmIntegerEmitter(IntegerEmitter[LstmSequenceInteger]):
    def cell(self, t: Expr, n: Expr, c: Channels, gates: Gates, states: Sequence[Expr]) -> None:
        op = self.op
        tables = (self.sigmoid_table, self.sigmoid_table, self.sigmoid_table, self.tanh_table)
        i, o, f, g = (
            self.activated(table, self.x(t, n, gate, c), self.rescaled(gates(gate), gate, c))
            for gate, table in enumerate(tables)
        )
        new = (i * g) >> constant(STATE_BITS - op.cell, i)
        cell = kept("cell", saturated(rounded(f * states[1] + new if states else new, STATE_BITS)))
        self.store(self.behind, n, c, cell)
        squashed = self.interpolated(self.tanh_table, cell * constant(1 << (GATE_BITS - op.cell), cell))
        self.write_hidden(t, n, c, rounded(o * squashed, STATE_BITS))


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
                kept_back = c.zero
                if states:
                    kept_back = self.narrowed(rounded(reset * kept("state", self.load(states[0], c)), STATE_BITS))
                self.store(self.behind, n, c, kept_back)

        def late(block: GateBlock) -> None:
            acc = self.products(block, (2,), n, self.behind if states else None)
            for c, gates in channels(block, acc):
                g = self.activated(self.tanh_table, self.x(t, n, 2, c), self.rescaled(gates(2), 2, c))
                z = kept("state", self.load((self.out, (self.row(t), n)), c))
                self.finish(t, n, c, z, g, [kept("state", self.load(s, c)) for s in states])

        self.each_block(early)
        self.each_block(late)

    def cell(self, t: Expr, n: Expr, c: Channels, gates: Gates, states: Sequence[Expr]) -> None:
        z, reset = (self.early(t, n, c, gates, gate) for gate in (0, 1))
        inner = rounded(reset * self.rescaled(gates(2), 2, c), STATE_BITS)
        self.finish(t, n, c, z, self.activated(self.tanh_table, self.x(t, n, 2, c), inner), states)

    def early(self, t: Expr, n: Expr, c: Channels, gates: Gates, gate: int) -> Expr:
        """One of the gates z and r."""
        return self.activated(self.sigmoid_table, self.x(t, n, gate, c), self.rescaled(gates(gate), gate, c))

    def finish(self, t: Expr, n: Expr, c: Channels, z: Expr, g: Expr, states: Sequence[Expr]) -> None:
        h = states[0] if states else c.zero
        self.write_hidden(t, n, c, g + rounded(z * (h - g), STATE_BITS))


class RnnIntegerEmitter(IntegerEmitter[RnnSequenceInteger]):
    def cell(self, t: Expr, n: Expr, c: Channels, gates: Gates, states: Sequence[Expr]) -> None:
        h = self.activated(self.tanh_table, self.x(t, n, 0, c), self.rescaled(gates(0), 0, c))
        self.write_hidden(t, n, c, h)


EMITTERS: dict[type[IntegerSequence], type[IntegerEmitter[IntegerSequence]]] = {
    LstmSequenceInteger: LstmIntegerEmitter,
    GruSequenceInteger: GruIntegerEmitter,
    RnnSequenceInteger: RnnIntegerEmitter,
}
