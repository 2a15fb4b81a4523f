"""Matrix product of two operands of 8 bits that are computed at run time, by PMADDWD.

Rows of the left one are widened to 16 bits in scratch, as many as stay near; of the right one, a block of columns at a
time: in a lane, the two elements of a column that a pair of the left one is multiplied with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tvm import tirx

from graphopt.ops import MatMulInteger
from graphopt.rewrite import Decline
from graphopt.targets.instructions.vectors import word_in_lanes
from graphopt.targets.instructions.x86 import MULTIPLY_ADD_PAIRS
from graphopt.targets.kernels.base import Kernel, Scratch, Task, kernel_rule
from graphopt.targets.kernels.packing import BLOCK, turned_columns
from graphopt.targets.kernels.product_form import form_of
from graphopt.targets.kernels.tiled_product import Lead, Operands, Tile, TiledProduct
from graphopt.targets.kernels.word_depthwise import interleaved
from graphopt.targets.schedule import Segment, channel_segments, choose_product_tile, padded_segments, powers_of_two
from graphopt.targets.target import Target
from graphopt.targets.tir import Expr, Locals, Point, cast, loop

MOST_ROWS = 96
"""Of the left operand in scratch: so many use a block of columns before it is packed anew."""


@kernel_rule(MatMulInteger, isa="x86", strided=True)
def matmul_by_pairs(task: Task[MatMulInteger]) -> Kernel:
    """A batch of products [m, k] by [k, n], of any strides."""
    if task.inputs[0].type.dtype not in ("int8", "uint8"):
        raise Decline("it takes elements of 8 bits")
    form, lanes = form_of(task), task.target.lanes
    zeros = task.op.a_zero_point, task.op.b_zero_point
    tile = choose_product_tile(task.target, form.rows, form.columns)
    segments = padded_segments(form.columns, lanes, tile.vectors)
    product = PairedProduct(form, segments, tile, task.target, *(reversed(zeros) if form.transposed else zeros))
    return Kernel("matmul", product.emit, {}, tile=tile, scratch=product.scratch)


@dataclass(frozen=True)
class PairedProduct(TiledProduct):
    """Two elements of a row are one word, which is broadcast."""

    target: Target
    left_zero: int
    right_zero: int

    dtype: ClassVar[str] = "int32"

    @property
    def lanes(self) -> int:
        return self.target.lanes

    @property
    def pairs(self) -> int:
        """In the depth; an odd one ends in a pair that begins with its last element and counts no other."""
        return -(-self.form.depth // 2)

    @property
    def scratch(self) -> dict[str, Scratch]:
        sizes = {"rows": self.strip * 2 * self.pairs, "columns": self.pairs * 2 * self.width}
        return {name: Scratch("int16", size) for name, size in sizes.items()}

    @property
    def most_rows(self) -> int:
        return MOST_ROWS

    def pack_rows(self, operands: Operands, lead: Lead, first: Expr, count: int) -> None:
        left, rows = operands.left, operands.scratch["rows"]
        with loop("row", 0, count) as row:
            for part in channel_segments(self.form.depth, 2 * self.lanes if left.strides[-1] == 1 else 1, 1):
                with loop("i", 0, part.blocks) as i:
                    place = part.start + i * part.lanes
                    elements = left.load(Point((*lead, first + row, place), len(lead) + 1, part.lanes))
                    target = Point((row * (2 * self.pairs) + place,), 0, part.lanes)
                    rows.store(target, centred(elements, self.left_zero))

    def pack_columns(self, operands: Operands, lead: Lead, column: Expr, segment: Segment) -> None:
        """Lanes beyond the last column are left as they are."""
        if operands.right.strides[-2] == 1 != operands.right.strides[-1]:
            self.transpose(operands, lead, column, segment)
            first = self.form.depth // (2 * BLOCK) * BLOCK
        else:
            first = 0
        whole = self.form.depth // 2
        for start, lanes in powers_of_two(self.there(segment)):
            with loop("pair", 0, whole - first) as pair:
                self.interleave(operands, lead, (first + pair, column), segment, start, lanes)
            if whole < self.pairs:
                self.interleave(operands, lead, (whole, column), segment, start, lanes)

    def interleave(
        self, operands: Operands, lead: Lead, at: tuple[Expr, Expr], segment: Segment, start: int, lanes: int
    ) -> None:
        """A pair of so many columns: two rows, lane by lane; beyond the last row are zeros."""
        (pair, column), whole = at, not (isinstance(at[0], int) and 2 * at[0] + 1 == self.form.depth)

        def elements(k: Expr) -> Expr:
            place = Point((*lead, k, column + start), len(lead) + 1, lanes)
            return centred(operands.right.load(place), self.right_zero)

        upper = elements(2 * pair)
        lower = elements(2 * pair + 1) if whole else tirx.const(0, str(upper.ty))
        target = Point(((pair * segment.width + start) * 2,), 0, 2 * lanes)
        operands.scratch["columns"].store(target, interleaved([upper, lower], lanes))

    def transpose(self, operands: Operands, lead: Lead, column: Expr, segment: Segment) -> None:
        """Four pairs of each column at a time, which stand side by side; those that are left are interleaved."""
        lanes, depth = segment.lanes, 2 * BLOCK

        def pairs(k: Expr, c: int) -> Expr:
            if c >= self.there(segment):
                return tirx.const(0, f"int32x{BLOCK}")
            elements = operands.right.load(Point((*lead, k, column + c), len(lead), depth))
            return tirx.reinterpret(f"int32x{BLOCK}", centred(elements, self.right_zero))

        for vector in range(segment.vectors):
            first = vector * lanes
            with loop("k", 0, self.form.depth // depth) as block:
                columns = turned_columns(lambda c: pairs(block * depth, first + c), "int32", lanes)  # noqa: B023
                for i, row in enumerate(columns):
                    target = Point((((block * BLOCK + i) * segment.width + first) * 2,), 0, 2 * lanes)
                    operands.scratch["columns"].store(target, tirx.reinterpret(f"int16x{2 * lanes}", row))

    def accumulate(self, acc: Locals, operands: Operands, tile: Tile) -> None:
        lanes, vectors = tile.segment.lanes, tile.segment.vectors
        with loop("pair", 0, self.pairs) as pair:
            starts = [(pair * vectors + v) * 2 * lanes for v in range(vectors)]
            columns = [operands.scratch["columns"].load(Point((start,), 0, 2 * lanes)) for start in starts]
            for r in range(tile.rows):
                place = (tile.at + r) * (2 * self.pairs) + 2 * pair
                both = word_in_lanes(operands.scratch["rows"].load(Point((place,), 0, 2)), lanes)
                for v in range(vectors):
                    i = r * vectors + v
                    acc[i] = acc[i] + MULTIPLY_ADD_PAIRS.call(self.target, lanes, both, columns[v])


def centred(x: Expr, zero_point: int) -> Expr:
    """Elements widened to 16 bits, without their zero point."""
    wide = cast(x, "int16")
    return wide - tirx.const(zero_point, str(wide.ty)) if zero_point else wide
