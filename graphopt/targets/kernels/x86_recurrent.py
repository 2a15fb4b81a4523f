"""Integer recurrent sequences on x86: products by PMADDWD, tables by gathers of two entries at once.

The copy of a state has 16 bits: two elements side by side are one word, which is broadcast to all lanes. Weights stay
in bytes, a pair for each lane, and are widened on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from tvm import tirx

from graphopt.ir import Array
from graphopt.ops import GruSequenceInteger, IntegerSequence, LstmSequenceInteger, RnnSequenceInteger
from graphopt.ops.integer_recurrent import ENTRY_BITS
from graphopt.targets.instructions.vectors import word_in_lanes
from graphopt.targets.instructions.x86 import MULTIPLY_ADD_PAIRS
from graphopt.targets.instructions.x86_gather import gather_pairs
from graphopt.targets.kernels.base import Kernel, Task, kernel_rule
from graphopt.targets.kernels.integer_cells import Means, interpolated, place_in_table, rounded
from graphopt.targets.kernels.integer_recurrent import integer_kernel
from graphopt.targets.kernels.recurrent import GateBlock, State
from graphopt.targets.schedule import LEAST_LANES, Segment
from graphopt.targets.tir import Expr, Locals, Point, Tensor, cast, lanes_of, loop


@kernel_rule(LstmSequenceInteger, GruSequenceInteger, RnnSequenceInteger, isa="x86")
def sequence_by_pairs(task: Task[IntegerSequence]) -> Kernel:
    tables = interpolated_by_pairs if "avx2" in task.target.isa else interpolated
    return integer_kernel(task, task.op, task.inputs, means=Means(PairedBlock, pack_pairs, tables))


def pack_pairs(weights: Array, gates: int, segments: Sequence[Segment]) -> Array:
    """Weights [gate * channel, k] packed, for each block of channels, as [pair of k, gate, channel of the block, 2].

    An odd k ends in a weight of 0, and the vectors of a block with lanes that count nothing where they are narrow.
    """
    cube = weights.reshape(gates, -1, weights.shape[1])
    pairs = np.pad(cube, ((0, 0), (0, 0), (0, weights.shape[1] % 2))).reshape(gates, cube.shape[1], -1, 2)
    parts = []
    for segment in segments:
        unused = max(0, LEAST_LANES - segment.lanes)
        for block in range(segment.blocks):
            first = segment.start + block * segment.width
            vectors = pairs[:, first : first + segment.width].reshape(gates, segment.vectors, segment.lanes, -1, 2)
            vectors = np.pad(vectors, ((0, 0), (0, 0), (0, unused), (0, 0), (0, 0)))
            parts.append(vectors.transpose(3, 0, 1, 2, 4).ravel())
    return np.concatenate(parts)


class PairedBlock(GateBlock):
    """Vectors of fewer lanes than the instruction has are its first ones."""

    @property
    def first_weight(self) -> Expr:
        """Where the weights of the block begin; narrow blocks are the last, and one of a kind."""
        segments = self.emitter.segments
        before = segments[: segments.index(self.segment)]
        padded = sum(s.blocks * s.vectors * max(LEAST_LANES, s.lanes) for s in before)
        channel = padded + (self.channel - self.segment.start if self.lanes >= LEAST_LANES else 0)
        return channel * (self.emitter.op.gates * (self.emitter.hidden + self.emitter.hidden % 2))

    def products(
        self, name: str, gates: Sequence[int], start: Callable[[int, int], Expr], state: State | None
    ) -> Callable[[int, int], Expr]:
        if state is None:
            return start
        lanes, vectors, (tensor, at) = max(LEAST_LANES, self.lanes), len(self.vectors), state
        packed = self.emitter.packed
        assert packed is not None
        acc = Locals(name, len(gates) * vectors, "int32", lanes)
        places = {(g, v): i * vectors + v for i, g in enumerate(gates) for v in self.vectors}
        for i in places.values():
            acc[i] = acc.constant(0)

        def add(both: Expr, pair: Expr) -> None:
            for (g, v), i in places.items():
                place = ((pair * self.emitter.op.gates + g) * vectors + v) * (2 * lanes)
                weights = packed.load(Point((self.first_weight + place,), 0, 2 * lanes))
                acc[i] = acc[i] + MULTIPLY_ADD_PAIRS.intrinsic(lanes, both, cast(weights, "int16"))

        whole = self.emitter.hidden // 2
        with loop("pair", 0, whole) as pair:
            add(word_in_lanes(tensor.load(Point((*at, 2 * pair), len(at), 2)), lanes), pair)
        if self.emitter.hidden % 2:
            last = tensor.load(Point((*at, 2 * whole)))
            add(word_in_lanes(tirx.Shuffle([last, tirx.const(0, "int16")], [0, 1]), lanes), whole)

        def total(gate: int, vector: int) -> Expr:
            products = acc[places[gate, vector]]
            few = products if self.lanes == lanes else tirx.Shuffle([products], list(range(self.lanes)))
            return start(gate, vector) + few

        return total


def interpolated_by_pairs(table: Tensor, x: Expr) -> Expr:
    """``interpolated``: low + (high - low) * part / 2^7 is (low * (2^7 - part) + high * part) / 2^7, one PMADDWD."""
    lanes = lanes_of(x)
    if lanes < LEAST_LANES:
        return interpolated(table, x)
    entry, part = place_in_table(x)
    part = (part << tirx.const(16, str(part.ty))) + (tirx.const(1 << ENTRY_BITS, str(part.ty)) - part)
    pairs = (tirx.reinterpret(f"int16x{2 * lanes}", words) for words in (gather_pairs(table.at(0), entry, lanes), part))
    return rounded(MULTIPLY_ADD_PAIRS.intrinsic(lanes, *pairs), ENTRY_BITS)
