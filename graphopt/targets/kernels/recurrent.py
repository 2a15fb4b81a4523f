"""Recurrent sequences, step by step: each step multiplies the last hidden state by the packed weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
from tvm import tirx

from graphopt.errors import Unsupported
from graphopt.ir import Array, Value
from graphopt.ops import GruSequence, IntegerSequence, LstmSequence, RecurrentSequence, Relu, RnnSequence, Sigmoid, Tanh
from graphopt.targets.kernels.base import Frame, Kernel, Task, kernel_rule
from graphopt.targets.scalars import constant
from graphopt.targets.schedule import Segment, channel_segments
from graphopt.targets.tir import Expr, Locals, Point, Tensor, cast, loop

ACCUMULATORS = 8
"""The vectors that a block holds in registers: enough to hide the latency of a multiply-add."""

SequenceT = TypeVar("SequenceT", bound=RecurrentSequence | IntegerSequence, covariant=True)

State = tuple[Tensor, tuple[Expr, ...]]
"""A tensor that contains a state, and the index of the state in it without the last axis."""


@kernel_rule(LstmSequence, GruSequence, RnnSequence)
def sequence_kernel(task: Task[RecurrentSequence]) -> Kernel:
    """The kernel of a sequence; recurrent weights that are computed at run time are read unpacked."""
    if task.region.epilogue or task.region.tail is not None:
        raise Unsupported(f"{task.op.name} with operators fused behind it", advice="its result is its state")
    rv = task.inputs[1]
    weights, plain = rv.constant, rv.type.dtype != "float32"
    hidden = rv.type.static_shape[1]
    lanes = 1 if plain or weights is None else task.target.lanes
    segments = channel_segments(hidden, lanes, max(1, ACCUMULATORS // task.op.gates))

    def emit(frame: Frame) -> None:
        gates = frame.tensors[task.inputs[0]]
        EMITTERS[type(task.op)](task.op, frame, segments, task.inputs, gates).emit()

    if weights is None:
        return Kernel(task.op.name, emit, {})
    return Kernel(task.op.name, emit, {"recurrent": pack(weights, task.op.gates, segments)}, replaced=(rv,))


def pack(weights: Array, gates: int, segments: Sequence[Segment]) -> Array:
    """Weights [gate * channel, k] packed, for each block of channels, as [k, gate, channel of the block]."""
    cube = weights.reshape(gates, -1, weights.shape[1])
    parts = []
    for segment in segments:
        for block in range(segment.blocks):
            first = segment.start + block * segment.width
            parts.append(cube[:, first : first + segment.width].transpose(2, 0, 1).ravel())
    return np.concatenate(parts)


class Emitter(Generic[SequenceT]):
    """The loops of one sequence: step, batch, block of channels; ``step`` writes the body of the first two."""

    def __init__(
        self, op: SequenceT, frame: Frame, segments: Sequence[Segment], values: Sequence[Value], gates: Tensor
    ) -> None:
        """``values`` are the operands of the sequence, of which ``gates`` holds the first."""
        self.op = op
        self.out, self.segments, self.dtype = frame.out, segments, frame.out.dtype
        self.scalar = frame.scalar
        self.gates = gates
        self.packed = frame.packed.get("recurrent")
        self.recurrent = None if self.packed else frame.tensors[values[1]]
        biases, initial = self.operands(values)
        self.biases, self.initial = [frame.tensors[v] for v in biases], [frame.tensors[v] for v in initial]
        self.steps, self.n = self.gates.shape[:2]
        self.hidden = self.out.shape[2]
        self.last, self.block = False, GateBlock
        self.turns = frame.task.target.codegen == "llvm" and self.packed is not None and self.dtype == "float32"
        self.back: Expr = 0  # 1 in a step that walks through its weights from the last to the first

    def sigmoid(self, x: Expr) -> Expr:
        return self.scalar(Sigmoid(), x)

    def tanh(self, x: Expr) -> Expr:
        return self.scalar(Tanh(), x)

    def operands(self, values: Sequence[Value]) -> tuple[Sequence[Value], Sequence[Value]]:
        """The biases among the operands, and the initial states."""
        return values[2 : 2 + self.op.biases], values[2 + self.op.biases :]

    def emit(self) -> None:
        first = self.steps - 1 if self.op.reverse else 0
        with loop("n", 0, self.n) as n:
            initial = [(s, (n,)) for s in self.initial]
            self.begin(n, initial)
            self.step(first, n, initial)
        if self.steps > 1:
            with loop("s", 1, self.steps) as s, loop("n", 0, self.n) as n:
                t, before = (first - s, first - s + 1) if self.op.reverse else (s, s - 1)
                self.back = tirx.bitwise_and(s * self.n + n, 1) if self.turns else 0
                rows = (self.row(before), self.behind)[: self.op.states]
                self.step(t, n, [(self.out, (row, n)) for row in rows])

    def row(self, t: Expr) -> Expr:
        """Where the result has the hidden state after a step."""
        return 0 if self.last else t

    @property
    def behind(self) -> int:
        """The first row after the hidden states."""
        return 1 if self.last else self.steps

    def begin(self, n: Expr, states: Sequence[State]) -> None:
        """Write the code that the first step needs before it."""

    def step(self, t: Expr, n: Expr, states: Sequence[State]) -> None:
        """Write the states after step ``t``; ``states`` are those before it, none if they are zero."""
        raise NotImplementedError

    def walk(self, count: int, i: Expr) -> Expr:
        """The i-th of so many places, from the last on in every other step of a sequence.

        The weights come from the second cache, as fast as that can give them. So a step begins with those that the
        step before has read last, which the first cache still holds.
        """
        return self.back * (count - 1) + (1 - 2 * self.back) * i

    def each_block(self, emit: Callable[[GateBlock], None]) -> None:
        for segment in self.segments:
            with loop("block", 0, segment.blocks) as block:
                at = self.walk(segment.blocks, block)
                emit(self.block(self, segment, segment.start + at * segment.width))


class GateBlock:
    """A block of channels of a step."""

    def __init__(self, emitter: Emitter[RecurrentSequence | IntegerSequence], segment: Segment, channel: Expr) -> None:
        self.emitter, self.segment, self.channel = emitter, segment, channel
        self.vectors, self.lanes = range(segment.vectors), segment.lanes

    def at(self, t: Expr, n: Expr, vector: int, gate: int = 0) -> Point:
        """A vector of a tensor [t, n, gates * hidden]."""
        return Point((t, n, gate * self.emitter.hidden + self.channel + vector * self.lanes), 2, self.lanes)

    def load(self, state: State, vector: int) -> Expr:
        """A vector of a state."""
        tensor, at = state
        return tensor.load(Point((*at, self.channel + vector * self.lanes), len(at), self.lanes))

    def weight(self, gate: int, k: Expr, vector: int) -> Expr:
        emitter = self.emitter
        if emitter.packed is None:
            assert emitter.recurrent is not None
            return cast(
                emitter.recurrent.load(Point((gate * emitter.hidden + self.channel + vector, k))), emitter.dtype
            )
        start = self.channel * (emitter.op.gates * emitter.hidden)
        tap = (k * emitter.op.gates + gate) * self.segment.width
        return cast(emitter.packed.load(Point((start + tap + vector * self.lanes,), 0, self.lanes)), emitter.dtype)

    def products(
        self, name: str, gates: Sequence[int], start: Callable[[int, int], Expr], state: State | None
    ) -> Callable[[int, int], Expr]:
        """Accumulators for some gates: ``start(gate, vector)`` plus the product of the weights and a state, if any."""
        acc = Locals(name, len(gates) * len(self.vectors), self.emitter.dtype, self.lanes)
        place = {(g, v): i * len(self.vectors) + v for i, g in enumerate(gates) for v in self.vectors}
        for (g, v), i in place.items():
            acc[i] = start(g, v)
        if state is not None:
            tensor, at = state
            with loop("k", 0, self.emitter.hidden) as turn:
                k = self.emitter.walk(self.emitter.hidden, turn)
                h = cast(tensor.load(Point((*at, k))), self.emitter.dtype)
                h = tirx.Broadcast(h, self.lanes) if self.lanes > 1 else h
                for (g, v), i in place.items():
                    acc[i] = acc[i] + h * self.weight(g, k, v)
        return lambda g, v: acc[place[g, v]]


class LstmEmitter(Emitter[LstmSequence]):
    """All gates of a block at once; the cell state is in the row after the hidden states."""

    def step(self, t: Expr, n: Expr, states: Sequence[State]) -> None:
        hidden, cell = states or (None, None)

        def emit(block: GateBlock) -> None:
            acc = block.products("acc", range(4), lambda g, v: self.gates.load(block.at(t, n, v, g)), hidden)
            for v in block.vectors:
                c = self.sigmoid(acc(0, v)) * self.tanh(acc(3, v))
                if cell is not None:
                    c = self.sigmoid(acc(2, v)) * block.load(cell, v) + c
                after = block.at(self.steps, n, v)
                self.out.store(after, c)
                self.out.store(block.at(t, n, v), self.sigmoid(acc(1, v)) * self.tanh(self.out.load(after)))

        self.each_block(emit)


class GruEmitter(Emitter[GruSequence]):
    """All gates of a block at once if ``linear_before_reset``.

    Otherwise two sweeps: the first stores z at the place of the new state, and r * h in the row after the states.
    """

    def step(self, t: Expr, n: Expr, states: Sequence[State]) -> None:
        (h,) = states or (None,)
        (bias,) = self.biases

        def gate(block: GateBlock) -> Callable[[int, int], Expr]:
            return lambda g, v: self.gates.load(block.at(t, n, v, g))

        def inner_bias(block: GateBlock) -> Callable[[int, int], Expr]:
            return lambda g, v: bias.load(Point((block.channel + v * block.lanes,), 0, block.lanes))

        def finish(block: GateBlock, v: int, z: Expr, candidate: Expr) -> None:
            y = (constant(1.0, z) - z) * candidate
            self.out.store(block.at(t, n, v), y if h is None else y + z * block.load(h, v))

        def whole(block: GateBlock) -> None:
            def start(g: int, v: int) -> Expr:
                return inner_bias(block)(g, v) if g == 2 else gate(block)(g, v)

            acc = block.products("acc", range(3), start, h)
            for v in block.vectors:
                late = gate(block)(2, v) + self.sigmoid(acc(1, v)) * acc(2, v)
                finish(block, v, self.sigmoid(acc(0, v)), self.tanh(late))

        def first(block: GateBlock) -> None:
            acc = block.products("acc", (0, 1), gate(block), h)
            for v in block.vectors:
                self.out.store(block.at(t, n, v), self.sigmoid(acc(0, v)))
                if h is None:
                    self.out.store(block.at(self.steps, n, v), constant(0.0, acc(1, v)))
                else:
                    self.out.store(block.at(self.steps, n, v), self.sigmoid(acc(1, v)) * block.load(h, v))

        def second(block: GateBlock) -> None:
            reset = None if h is None else (self.out, (self.steps, n))
            inner = block.products("inner", (2,), inner_bias(block), reset)
            for v in block.vectors:
                z = self.out.load(block.at(t, n, v))
                finish(block, v, z, self.tanh(gate(block)(2, v) + inner(2, v)))

        for sweep in (whole,) if self.op.linear_before_reset else (first, second):
            self.each_block(sweep)


class RnnEmitter(Emitter[RnnSequence]):
    def step(self, t: Expr, n: Expr, states: Sequence[State]) -> None:
        (h,) = states or (None,)

        def emit(block: GateBlock) -> None:
            acc = block.products("acc", (0,), lambda g, v: self.gates.load(block.at(t, n, v)), h)
            for v in block.vectors:
                y = acc(0, v)
                self.out.store(
                    block.at(t, n, v), self.tanh(y) if self.op.activation == "tanh" else self.scalar(Relu(), y)
                )

        self.each_block(emit)


EMITTERS: dict[type[RecurrentSequence], type[Emitter[RecurrentSequence]]] = {
    LstmSequence: LstmEmitter,
    GruSequence: GruEmitter,
    RnnSequence: RnnEmitter,
}
