"""Matrix product of two operands of 8 bits that are computed at run time, by PMADDWD.

Rows of the first are widened to 16 bits in scratch, as many as stay near; of the second, a block of columns at a time,
two rows interleaved: in a lane, the two elements of a column that a pair of the first is multiplied with.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from tvm import tirx

from graphopt.ops import MatMulInteger
from graphopt.rewrite import Decline
from graphopt.targets.instructions.x86 import MULTIPLY_ADD_PAIRS, pair_in_lanes
from graphopt.targets.kernels.base import Frame, Kernel, Scratch, Task, kernel_rule
from graphopt.targets.kernels.x86_depthwise import pairs_of
from graphopt.targets.schedule import (
    RegisterTile,
    Segment,
    channel_segments,
    choose_tile,
    padded_segments,
    powers_of_two,
    runs,
)
from graphopt.targets.tir import Expr, Locals, Point, Tensor, cast, loop

MOST_ROWS = 96
"""Of the first operand in scratch: so many use a block of columns before it is packed anew."""


@kernel_rule(MatMulInteger, isa="x86")
def matmul_by_pairs(task: Task[MatMulInteger]) -> Kernel:
    """A batch of products [m, k] by [k, n], which may be broadcast."""
    a, b = (task.strided(v) for v in task.inputs)
    if a.dtype not in ("int8", "uint8") or {a.strides[-1], b.strides[-1], task.out.strides[-1]} != {1}:
        raise Decline("it takes elements of 8 bits, those of a row side by side")
    *batch, m, n = task.result.type.static_shape
    tile = choose_tile(task.target, m, n)
    kernel = MatMulPairs(
        tuple(batch), m, a.shape[-1], n, padded_segments(n, task.target.lanes, tile.vectors), tile, task.target.lanes
    )
    return Kernel("matmul", lambda frame: kernel.emit(frame, task.op), {}, tile=tile, scratch=kernel.scratch)


@dataclass(frozen=True)
class MatMulPairs:
    """The loops: batch, strip of rows, block of columns, tile of rows, pairs in depth."""

    batch: tuple[int, ...]
    m: int
    k: int
    n: int
    segments: list[Segment]
    tile: RegisterTile
    lanes: int

    @property
    def pairs(self) -> int:
        return -(-self.k // 2)

    @property
    def rows(self) -> int:
        """Rows in a strip: whole tiles."""
        return min(self.m, max(1, MOST_ROWS // self.tile.pixels) * self.tile.pixels)

    @property
    def scratch(self) -> dict[str, Scratch]:
        width = max(segment.width for segment in self.segments)
        return {
            "rows": Scratch("int16", self.rows * 2 * self.pairs),
            "columns": Scratch("int16", self.pairs * 2 * width),
        }

    def emit(self, frame: Frame, op: MatMulInteger) -> None:
        a, b = (frame.tensors[v] for v in frame.task.inputs)
        a, b = (t.broadcast((*self.batch, *t.shape[-2:])) for t in (a, b))
        with ExitStack() as loops:
            lead = tuple(loops.enter_context(loop(f"i{axis}", 0, size)) for axis, size in enumerate(self.batch))
            for start, count, size in runs(self.m, self.rows):
                with loop("strip", 0, count) as i:
                    first = start + i * size
                    self.widen(frame.scratch["rows"], a, (*lead, first), size, op.a_zero_point)
                    for segment in self.segments:
                        with loop("block", 0, segment.blocks) as block:
                            column = segment.start + block * segment.width
                            self.interleave(frame.scratch["columns"], b, (lead, column), segment, op.b_zero_point)
                            for at, tiles, rows in runs(size, self.tile.pixels):
                                with loop("tile", 0, tiles) as t:
                                    self.emit_tile(frame, segment, (lead, first, column), at + t * rows, rows)

    def widen(self, rows: Tensor, a: Tensor, at: tuple[Expr, ...], count: int, zero_point: int) -> None:
        """So many rows of the first operand."""
        *lead, first = at
        with loop("row", 0, count) as row:
            for part in channel_segments(self.k, 2 * self.lanes, 1):
                with loop("i", 0, part.blocks) as i:
                    place = part.start + i * part.lanes
                    elements = a.load(Point((*lead, first + row, place), len(self.batch) + 1, part.lanes))
                    rows.store(Point((row * (2 * self.pairs) + place,), 0, part.lanes), centred(elements, zero_point))

    def interleave(
        self, columns: Tensor, b: Tensor, at: tuple[tuple[Expr, ...], Expr], segment: Segment, zero_point: int
    ) -> None:
        """A block of columns of the second operand; the last row may be one of zeros, of which lanes are left free."""
        lead, column = at

        def store(pair: Expr, start: int, lanes: int, whole: bool) -> None:
            places = [Point((*lead, 2 * pair + i, column + start), len(self.batch) + 1, lanes) for i in range(2)]
            upper = centred(b.load(places[0]), zero_point)
            lower = centred(b.load(places[1]), zero_point) if whole else tirx.const(0, str(upper.ty))
            target = (pair * segment.width + start) * 2
            columns.store(Point((target,), 0, 2 * lanes), pairs_of([upper, lower], lanes))

        for start, lanes in powers_of_two(self.width(segment)):
            with loop("pair", 0, self.k // 2) as pair:
                store(pair, start, lanes, True)
            if self.k % 2:
                store(self.pairs - 1, start, lanes, False)

    def width(self, segment: Segment) -> int:
        """The columns of a block that there are."""
        return min(segment.width, self.n - segment.start)

    def emit_tile(
        self, frame: Frame, segment: Segment, at: tuple[tuple[Expr, ...], Expr, Expr], first: Expr, count: int
    ) -> None:
        """Sums of so many rows of the strip, from ``first`` on, by a block of columns."""
        lead, row, column = at
        lanes, vectors = segment.lanes, segment.vectors
        acc, epilogue = Locals("acc", count * vectors, "int32", lanes), frame.epilogue()
        for i in range(count * vectors):
            acc[i] = acc.constant(0)
        with loop("pair", 0, self.pairs) as pair:
            starts = [(pair * vectors + v) * 2 * lanes for v in range(vectors)]
            columns = [frame.scratch["columns"].load(Point((start,), 0, 2 * lanes)) for start in starts]
            for r in range(count):
                place = (first + r) * (2 * self.pairs) + 2 * pair
                both = pair_in_lanes(frame.scratch["rows"].load(Point((place,), 0, 2)), lanes)
                for v in range(vectors):
                    i = r * vectors + v
                    acc[i] = acc[i] + MULTIPLY_ADD_PAIRS.call(lanes, both, columns[v])
        for r in range(count):
            for v in range(vectors):
                for start, size in powers_of_two(min(lanes, self.width(segment) - v * lanes)):
                    sums = acc[r * vectors + v]
                    part = sums if size == lanes else tirx.Shuffle([sums], list(range(start, start + size)))
                    index = (*lead, row + first + r, column + v * lanes + start)
                    point = Point(index, len(self.batch) + 1, size)
                    frame.out.store(point, epilogue(part, point))


def centred(x: Expr, zero_point: int) -> Expr:
    """Elements widened to 16 bits, without their zero point."""
    wide = cast(x, "int16")
    return wide - tirx.const(zero_point, str(wide.ty)) if zero_point else wide
