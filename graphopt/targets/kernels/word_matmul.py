"""Matrix product of two operands of 8 bits that are computed at run time, by words of four elements.

Elements stay in bytes, so zero points cannot be taken from them: of the products' sums are taken

    sum (a - p) (b - q) = sum a b - p sum b - q sum a + depth p q

The sums of b are those of a column of the block that is packed, times p; those of a are of a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from tvm import tirx

from graphopt.ops import MatMulInteger
from graphopt.rewrite import Decline
from graphopt.targets.instructions.vectors import word_in_lanes
from graphopt.targets.kernels.base import Kernel, Scratch, Task
from graphopt.targets.kernels.packing import BLOCK, turned_columns
from graphopt.targets.kernels.product_form import form_of
from graphopt.targets.kernels.tiled_product import Lead, Operands, Tile, TiledProduct
from graphopt.targets.kernels.word_depthwise import interleaved
from graphopt.targets.kernels.words import Words, of_sign, sign_offset
from graphopt.targets.schedule import Segment, channel_segments, choose_product_tile, padded_segments, powers_of_two
from graphopt.targets.target import Target
from graphopt.targets.tir import Expr, Locals, Point, Tensor, loop

MOST_ROWS = 192
"""Of the left operand in scratch: so many use a block of columns before it is packed anew."""
MOST_DEPTH = (1 << 31) // (4 * 255 * 128)
"""Of a product: all four sums together fit int32."""


def matmul_by_words(task: Task[MatMulInteger], words: Words) -> Kernel:
    """A batch of products [m, k] by [k, n], of any strides."""
    dtypes = [x.type.dtype for x in task.inputs]
    if any(dtype not in ("int8", "uint8") for dtype in dtypes):
        raise Decline("it takes elements of 8 bits")
    form = form_of(task)
    if form.depth > MOST_DEPTH:
        raise Decline(f"sums over {form.depth} products may need more than 32 bits")
    zeros = [task.op.a_zero_point, task.op.b_zero_point]
    if form.transposed:
        dtypes, zeros = dtypes[::-1], zeros[::-1]
    tile = choose_product_tile(task.target, form.rows, form.columns)
    segments = padded_segments(form.columns, task.target.lanes, tile.vectors)
    left, right = (
        zero + sign_offset(dtype, to)
        for zero, dtype, to in zip(zeros, dtypes, (words.dtype, words.weights), strict=True)
    )
    if any(
        not np.iinfo(to).min <= zero <= np.iinfo(to).max for zero, to in ((left, words.dtype), (right, words.weights))
    ):
        raise Decline("a zero point is no element")
    product = WordProduct(form, segments, tile, task.target, words, left, right)
    return Kernel("matmul", product.emit, {}, tile=tile, scratch=product.scratch)


@dataclass(frozen=True)
class WordProduct(TiledProduct):
    """Four elements of a row are one word, which is broadcast; zero points are those of elements in scratch."""

    target: Target
    words: Words
    left_zero: int
    right_zero: int

    dtype: ClassVar[str] = "int32"

    @property
    def depth(self) -> int:
        """Words; the last one ends in zeros."""
        return -(-self.form.depth // self.words.size)

    @property
    def row(self) -> int:
        """Elements of a row in scratch, which ends in zeros: whole vectors of the narrowest."""
        block = BLOCK * self.words.size
        return -(-self.form.depth // block) * block

    @property
    def scratch(self) -> dict[str, Scratch]:
        return {
            "rows": Scratch(self.words.dtype, self.strip * self.row),
            "columns": Scratch(self.words.weights, self.depth * self.words.size * self.width),
            "of_rows": Scratch("int32", self.strip),
            "of_columns": Scratch("int32", self.width),
        }

    @property
    def most_rows(self) -> int:
        return MOST_ROWS

    def pack_rows(self, operands: Operands, lead: Lead, first: Expr, count: int) -> None:
        left, rows, depth = operands.left, operands.scratch["rows"], self.form.depth
        lanes = self.words.size * self.target.lanes if left.strides[-1] == 1 else 1
        with loop("row", 0, count) as row:
            for part in channel_segments(depth, lanes, 1):
                with loop("i", 0, part.blocks) as i:
                    place = part.start + i * part.lanes
                    elements = left.load(Point((*lead, first + row, place), len(lead) + 1, part.lanes))
                    rows.store(Point((row * self.row + place,), 0, part.lanes), of_sign(elements, self.words.dtype))
            for start, size in powers_of_two(self.row - depth):
                rows.store(Point((row * self.row + depth + start,), 0, size), zeros(self.words.dtype, size))
            if self.right_zero:
                self.sum_row(rows, operands.scratch["of_rows"], row)

    def sum_row(self, rows: Tensor, sums: Tensor, row: Expr) -> None:
        """What the right zero point takes from all sums of a row."""
        size = BLOCK * self.words.size
        acc = Locals("sum", 1, "int32", BLOCK)
        acc[0] = acc.constant(0)
        with loop("i", 0, self.row // size) as i:
            elements = rows.load(Point((row * self.row + i * size,), 0, size))
            ones = tirx.const(1, f"{self.words.weights}x{size}")
            acc[0] = self.words.add(self.target, BLOCK, acc[0], elements, ones)
        lanes = [tirx.Shuffle([acc[0]], [lane]) for lane in range(BLOCK)]
        sums.store(Point((row,)), sum(lanes[1:], start=lanes[0]) * self.right_zero)

    def pack_columns(self, operands: Operands, lead: Lead, column: Expr, segment: Segment) -> None:
        """Lanes beyond the last column are left as they are."""
        first, whole = 0, self.form.depth // self.words.size
        if operands.right.strides[-2] == 1 != operands.right.strides[-1]:
            self.transpose(operands, lead, column, segment)
            first = self.form.depth // (self.words.size * BLOCK) * BLOCK
        for start, lanes in powers_of_two(self.there(segment)):
            with loop("word", first, whole) as word:
                self.interleave(operands, (*lead, word, column), segment, start, lanes)
            if whole < self.depth:
                self.interleave(operands, (*lead, whole, column), segment, start, lanes)
        if self.left_zero:
            self.sum_columns(operands, segment)

    def interleave(self, operands: Operands, at: tuple[Expr, ...], segment: Segment, start: int, lanes: int) -> None:
        """A word of so many columns: four rows, lane by lane; beyond the last row are zeros."""
        *lead, word, column = at
        size = self.words.size
        there = self.form.depth - size * word if isinstance(word, int) else size

        def elements(k: Expr) -> Expr:
            place = Point((*lead, size * word + k, column + start), len(lead) + 1, lanes)
            return of_sign(operands.right.load(place), self.words.weights)

        rows = [elements(k) if k < there else zeros(self.words.weights, lanes) for k in range(size)]
        target = Point(((word * segment.width + start) * size,), 0, size * lanes)
        operands.scratch["columns"].store(target, interleaved(rows, lanes))

    def transpose(self, operands: Operands, lead: Lead, column: Expr, segment: Segment) -> None:
        """Four words of each column at a time, which stand side by side; those that are left are interleaved."""
        lanes, size, depth = segment.lanes, self.words.size, self.words.size * BLOCK

        def words_of(first: Expr, vector: int) -> Callable[[int], Expr]:
            def words(c: int) -> Expr:
                if vector * lanes + c >= self.there(segment):
                    return zeros("int32", BLOCK)
                place = Point((*lead, first, column + vector * lanes + c), len(lead), depth)
                return tirx.reinterpret(f"int32x{BLOCK}", of_sign(operands.right.load(place), self.words.weights))

            return words

        for vector in range(segment.vectors):
            with loop("k", 0, self.form.depth // depth) as block:
                for i, row in enumerate(turned_columns(words_of(block * depth, vector), "int32", lanes)):
                    target = Point((((block * BLOCK + i) * segment.width + vector * lanes) * size,), 0, size * lanes)
                    elements = tirx.reinterpret(f"{self.words.weights}x{size * lanes}", row)
                    operands.scratch["columns"].store(target, elements)

    def sum_columns(self, operands: Operands, segment: Segment) -> None:
        """What the left zero point takes from all sums of a column, less what both take together."""
        lanes, size = segment.lanes, self.words.size
        acc = Locals("sum", segment.vectors, "int32", lanes)
        for v in range(segment.vectors):
            acc[v] = acc.constant(0)
        with loop("word", 0, self.depth) as word:
            for v, columns in enumerate(self.columns_at(operands, segment, word)):
                acc[v] = self.words.add(
                    self.target, lanes, acc[v], tirx.const(1, f"{self.words.dtype}x{size * lanes}"), columns
                )
        both = acc.constant(self.form.depth * self.left_zero * self.right_zero)
        for v in range(segment.vectors):
            taken = acc[v] * acc.constant(self.left_zero) - both
            operands.scratch["of_columns"].store(Point((v * lanes,), 0, lanes), taken)

    def columns_at(self, operands: Operands, segment: Segment, word: Expr) -> list[Expr]:
        """The vectors of a word of a block of columns."""
        lanes, vectors = self.words.size * segment.lanes, segment.vectors
        starts = [(word * vectors + v) * lanes for v in range(vectors)]
        return [operands.scratch["columns"].load(Point((start,), 0, lanes)) for start in starts]

    def accumulate(self, acc: Locals, operands: Operands, tile: Tile) -> None:
        lanes, vectors, scratch = tile.segment.lanes, tile.segment.vectors, operands.scratch
        with loop("word", 0, self.depth) as word:
            columns = self.columns_at(operands, tile.segment, word)
            for r in range(tile.rows):
                place = (tile.at + r) * self.row + self.words.size * word
                everywhere = word_in_lanes(scratch["rows"].load(Point((place,), 0, self.words.size)), lanes)
                for v in range(vectors):
                    i = r * vectors + v
                    acc[i] = self.words.add(self.target, lanes, acc[i], everywhere, columns[v])
        for r in range(tile.rows):
            for v in range(vectors):
                i = r * vectors + v
                if self.left_zero:
                    acc[i] = acc[i] - scratch["of_columns"].load(Point((v * lanes,), 0, lanes))
                if self.right_zero:
                    acc[i] = acc[i] - tirx.Broadcast(scratch["of_rows"].load(Point((tile.at + r,))), lanes)


def zeros(dtype: str, lanes: int) -> Expr:
    return tirx.const(0, dtype if lanes == 1 else f"{dtype}x{lanes}")
