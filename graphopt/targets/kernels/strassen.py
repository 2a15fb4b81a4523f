"""Strassen's product of float32 with constant weights, in Winograd's form: seven products of halves instead of eight.

Each of the three sizes has two halves: rows are even and odd, columns blocks side by side, the depth what comes first
and last. So rows, weights and the result have four quarters each. Seven products of sums of quarters are added up to
the result. Of the weights some sums are stored, ``WEIGHTS``, as many numbers as there are weights, so that no other
of their sums has more than two terms (Karstadt and Schwartz, 2017, change the basis of all three operands so).

    sums of rows of a strip -> for each pair of blocks of columns: seven products, added up in scratch -> bias, epilogue

The error of a sum is in proportion to the larger number: so the error of a row is in proportion to the larger elements
of its pair, and a NaN or an infinity in a row may reach the results of both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from tvm import tirx

from graphopt.ir import Array
from graphopt.ops import Linear
from graphopt.rewrite import Decline
from graphopt.targets.kernels.base import Frame, Kernel, Scratch, Task, kernel_rule
from graphopt.targets.kernels.interleaved import at_once, finish
from graphopt.targets.kernels.product_form import ProductForm
from graphopt.targets.schedule import RegisterTile, channel_segments, choose_product_tile, even, runs, spread
from graphopt.targets.tir import Expr, Locals, Point, Tensor, loop, prefetch, when
from graphopt.targets.weights import expect_whole

Signs = tuple[int, int, int, int]
"""By which four quarters, upper left and right, lower left and right, are multiplied before they are added."""
WEIGHTS: tuple[Signs, ...] = ((1, 0, 0, 0), (0, 0, 1, 0), (1, -1, 0, 1), (-1, 1, 0, 0))
"""The sums of quarters of the weights that are stored."""


@dataclass(frozen=True)
class Step:
    """A product of a sum of quarters of the rows and one of stored weights.

    It is added to the quarter ``begin`` of the result, which gives the quarter ``end``; without ``begin`` it is added
    to each of ``end``.
    """

    rows: Signs
    weights: Signs
    begin: int | None
    end: tuple[int, ...]


STEPS = (
    Step((1, 0, 0, 0), (1, 0, 0, 0), 1, (1,)),
    Step((0, 1, 0, 0), (0, 1, 0, 0), 1, (0,)),
    Step((-1, 0, 1, 1), (0, 0, 1, 0), 1, (1,)),
    Step((1, 0, -1, 0), (-1, 0, 1, 0), 1, (3,)),
    Step((0, 0, 0, 1), (0, 1, -1, 0), 3, (2,)),
    Step((0, 0, 1, 1), (0, 0, 0, 1), None, (1, 3)),
    Step((1, 1, -1, -1), (0, 0, 1, 1), 1, (1,)),
)
"""Quarter 1 is zero before the first."""
STRIP_BYTES = 3 << 19
"""Of the sums of rows: they come from the caches in a steady stream, and many rows share the sums of weights."""
LINE = 16
"""Numbers in a line of a cache."""
LEAST_ROWS = {4: 96, 8: 96, 16: 48}
"""By lanes: for fewer the sums of weights cost what they save."""
LEAST_DEPTH = 128
"""Below, loops of half of it cost what is saved to begin and to end."""


@kernel_rule(Linear, isa="x86")
def linear_by_strassen(task: Task[Linear]) -> Kernel:
    """A product [..., k] by [n, k], transposed, of many rows, where depth and columns have halves."""
    x, w, b = task.inputs
    weight, bias = w.constant, b.constant
    if weight is None or bias is None or x.type.dtype != "float32" or x.type.rank < 2:
        raise Decline("it takes rows of float32, and constant weights")
    expect_whole(w)
    *batch, rows, depth = x.type.static_shape
    form = ProductForm(tuple(batch), rows, depth, len(weight), merged=len(batch))
    strided = task.strided(x)
    if form.left(strided, strided) is None or not task.allows(form.result):
        raise Decline("its rows do not lie as those of one matrix")
    least = LEAST_ROWS.get(task.target.lanes, 0)
    if form.rows < least:
        raise Decline(f"for {form.rows} rows, fewer than {least}, sums would cost what they save")
    if depth < LEAST_DEPTH:
        raise Decline(f"a depth of {depth} is less than {LEAST_DEPTH}: loops of half of it are too short")
    if rows % 2 and form.rows > rows:
        raise Decline(f"of matrices of {rows} rows a pair would have rows of two")
    tile = choose_product_tile(task.target, -(-form.rows // 2), form.columns // 2)
    product = Strassen(form, tile, task.target.lanes)
    if depth % 2 or form.columns % (2 * product.width):
        raise Decline(f"a depth of {depth}, or {form.columns} columns, have no halves of whole vectors")
    packed = {"bias": bias, "weight": stored(weight, product.width)}
    return Kernel("linear_strassen", product.emit, packed, (w, b), tile, scratch=product.scratch)


def stored(weight: Array, width: int) -> Array:
    """Weights [columns, depth] packed, for each pair of blocks of columns, as [sum, half of the depth, column]."""
    columns, depth = weight.shape
    quarters = weight.reshape(columns // (2 * width), 2, width, 2, depth // 2)
    sums = [signed(signs, lambda q: quarters[:, q % 2, :, q // 2]) for signs in WEIGHTS]
    return np.stack(sums, axis=1).swapaxes(2, 3).ravel()


def signed(signs: Signs, quarter: Callable[[int], Any]) -> Any:
    """The sum of quarters; first those that are added."""
    added, taken = ([quarter(q) for q in range(4) if signs[q] == sign] for sign in (1, -1))
    total = sum(added[1:], start=added[0])
    for value in taken:
        total = total - value
    return total


def alone(signs: Signs) -> bool:
    """Whether a sum is one quarter as it is."""
    return sum(map(abs, signs)) == 1


SUMMED = [step.rows for step in STEPS if not alone(step.rows)]
"""The sums of quarters of rows, which stand in scratch."""


@dataclass(frozen=True)
class Strassen:
    """The loops: strip of pairs of rows, pair of blocks of columns, step, tile of pairs."""

    form: ProductForm
    tile: RegisterTile
    lanes: int

    @property
    def width(self) -> int:
        """Columns of a block."""
        return self.tile.vectors * self.lanes

    @property
    def half(self) -> int:
        """Of the depth."""
        return self.form.depth // 2

    @property
    def pairs(self) -> int:
        """Of rows; the last may have an upper row alone."""
        return -(-self.form.rows // 2)

    @property
    def pitch(self) -> int:
        """From a row in scratch to the next: an odd number of lines, so that not all have the same place in a cache."""
        return LINE * (-(-self.half // LINE) | 1)

    @cached_property
    def strip(self) -> int:
        """Pairs of rows in a strip."""
        return even(self.pairs, max(4 * self.tile.pixels, STRIP_BYTES // (4 * len(SUMMED) * self.half)))

    @property
    def scratch(self) -> dict[str, Scratch]:
        return {
            "rows": Scratch("float32", len(SUMMED) * self.strip * self.pitch),
            "columns": Scratch("float32", self.half * self.width),
            "sums": Scratch("float32", 4 * self.strip * self.width),
        }

    def emit(self, frame: Frame) -> None:
        x = frame.tensors[frame.task.inputs[0]]
        left = self.form.left(x, x)
        assert left is not None
        for start, count, size in runs(self.pairs, self.strip):
            with loop("strip", 0, count) as i:
                strip = Strip(self, frame, left, start + i * size, size)
                strip.sum_rows()
                with loop("block", 0, self.form.columns // (2 * self.width)) as block:
                    strip.clear()
                    for step in STEPS:
                        strip.add_product(step, block)


@dataclass(frozen=True)
class Strip:
    """So many pairs of rows of a product, from one on; ``left`` is [..., rows, depth]."""

    product: Strassen
    frame: Frame
    left: Tensor
    first: Expr
    size: int

    def row(self, pair: Expr, lower: int) -> Expr:
        """A row of a pair."""
        return 2 * (self.first + pair) + lower

    def at(self, row: Expr, column: Expr, lanes: int) -> Point:
        """A place in the rows, or in the result."""
        lead = len(self.product.form.outer)
        return Point((*(0,) * lead, row, column), lead + 1, lanes)

    def quarter(self, q: int, pair: Expr, k: Expr, lanes: int = 1) -> Expr:
        """Elements of a quarter of the rows; what is missing of the last pair is its upper row again."""
        row, rows = self.row(pair, q // 2), self.product.form.rows
        row = tirx.min(row, rows - 1) if q // 2 and rows % 2 else row
        return self.left.load(self.at(row, q % 2 * self.product.half + k, lanes))

    def summed(self, which: int, pair: Expr, k: Expr, lanes: int = 1) -> Point:
        """The place of a sum of quarters in scratch."""
        return Point(((which * self.size + pair) * self.product.pitch + k,), 0, lanes)

    def sum_rows(self) -> None:
        with loop("pair", 0, self.size) as pair:
            for segment in channel_segments(self.product.half, self.product.lanes, 1):
                with loop("i", 0, segment.blocks) as i:
                    k = segment.start + i * segment.lanes
                    quarters = Locals("quarters", 4, "float32", segment.lanes)
                    for q in range(4):
                        quarters[q] = self.quarter(q, pair, k, segment.lanes)
                    for which, signs in enumerate(SUMMED):
                        place = self.summed(which, pair, k, segment.lanes)
                        self.frame.scratch["rows"].store(place, signed(signs, quarters.__getitem__))

    def clear(self) -> None:
        """Set what the first step adds to."""
        lanes, vectors = self.product.lanes, self.product.tile.vectors
        with loop("pair", 0, self.size) as pair:
            for v in range(vectors):
                self.frame.scratch["sums"].store(self.sum(1, pair, v), tirx.const(0.0, f"float32x{lanes}"))

    def sum(self, quarter: Expr, pair: Expr, vector: int) -> Point:
        """The place of a vector of a quarter of the result."""
        product = self.product
        return Point(((quarter * self.size + pair) * product.width + vector * product.lanes,), 0, product.lanes)

    def stored(self, which: int, block: Expr, k: Expr, first: int = 0) -> Point:
        """The place of a vector of stored weights of a pair of blocks, or of a block further."""
        product = self.product
        return Point((((4 * block + which) * product.half + k) * product.width + first,), 0, product.lanes)

    def add_product(self, step: Step, block: Expr) -> None:
        """The product of a step, of all pairs of rows; behind the last step a tile is finished."""
        product, done = Product(self, step, block), 0
        product.add_weights()
        for at, count, pairs in spread(self.size, self.product.tile.pixels):
            with loop("tile", 0, count) as t:
                product.add_tile(at + t * pairs, pairs, done + t)
                if step is STEPS[-1]:
                    self.finish(block, at + t * pairs, pairs)
            done += count

    def finish(self, block: Expr, at: Expr, pairs: int) -> None:
        """Bias and epilogue of the results of so many pairs, from one on, of a pair of blocks."""
        product, frame = self.product, self.frame
        out, epilogue = product.form.result(frame.out), frame.epilogue(product.form.result)
        assert out is not None
        with loop("pair", 0, pairs) as i:
            upper, lower = (self.results(block, at + i, row) for row in range(2))
            if product.form.rows % 2 == 0:
                finish([*upper, *lower], at_once(frame.task), epilogue, out.store)
                return
            finish(upper, at_once(frame.task), epilogue, out.store)
            with when(self.row(at + i, 1) < product.form.rows):
                finish(lower, at_once(frame.task), epilogue, out.store)

    def results(self, block: Expr, pair: Expr, lower: int) -> list[tuple[Expr, Point]]:
        """The sums of a row of a pair, with their places."""
        product, lanes, results = self.product, self.product.lanes, []
        for right in range(2):
            for v in range(product.tile.vectors):
                column = (2 * block + right) * product.width + v * lanes
                total = self.frame.scratch["sums"].load(self.sum(2 * lower + right, pair, v))
                bias = self.frame.packed["bias"].load(Point((column,), 0, lanes))
                results.append((total + bias, self.at(self.row(pair, lower), column, lanes)))
        return results


@dataclass(frozen=True)
class Product:
    """The product of a step, of a strip by a pair of blocks of columns."""

    strip: Strip
    step: Step
    block: Expr

    def stored(self, k: Expr, vector: int, which: int) -> Expr:
        """A vector of stored weights."""
        place = self.strip.stored(which, self.block, k, vector * self.strip.product.lanes)
        return self.strip.frame.packed["weight"].load(place)

    def added(self, k: Expr, vector: int) -> Point:
        product = self.strip.product
        return Point((k * product.width + vector * product.lanes,), 0, product.lanes)

    def add_weights(self) -> None:
        """Bring the weights into scratch, if they are a sum of those that are stored."""
        if alone(self.step.weights):
            return
        with loop("k", 0, self.strip.product.half) as k:
            for v in range(self.strip.product.tile.vectors):
                total = signed(self.step.weights, partial(self.stored, k, v))
                self.strip.frame.scratch["columns"].store(self.added(k, v), total)

    def column(self, k: Expr, vector: int) -> Expr:
        if alone(self.step.weights):
            return self.stored(k, vector, self.step.weights.index(1))
        return self.strip.frame.scratch["columns"].load(self.added(k, vector))

    def element(self, pair: Expr, k: Expr) -> Expr:
        if alone(self.step.rows):
            return self.strip.quarter(self.step.rows.index(1), pair, k)
        place = self.strip.summed(SUMMED.index(self.step.rows), pair, k)
        return self.strip.frame.scratch["rows"].load(place)

    def prefetch(self, at: Expr) -> None:
        """A line of the same weights of the next pair of blocks, which may be behind the last.

        ``at`` counts the elements of the depth, of all tiles: so the lines are spread over them evenly.
        """
        strip, product = self.strip, self.strip.product
        tiles, lines = -(-strip.size // product.tile.pixels), max(1, product.width // LINE)
        between = 1 << max(1, tiles // lines).bit_length() - 1
        (start,) = strip.stored(self.step.weights.index(1), self.block + 1, 0).index
        prefetch(strip.frame.packed["weight"].at(start + LINE * tirx.floordiv(at, between)))

    def add_tile(self, at: Expr, pairs: int, tile: Expr) -> None:
        product, sums = self.strip.product, self.strip.frame.scratch["sums"]
        vectors, lanes = product.tile.vectors, product.lanes
        acc = Locals("acc", pairs * vectors, "float32", lanes)
        each = [(r * vectors + v, at + r, v) for r in range(pairs) for v in range(vectors)]
        for i, pair, v in each:
            fresh = self.step.begin is None
            acc[i] = acc.constant(0.0) if fresh else sums.load(self.strip.sum(self.step.begin, pair, v))
        with loop("k", 0, self.strip.product.half) as k:
            if alone(self.step.weights):
                self.prefetch(tile * self.strip.product.half + k)
            weights = [self.column(k, v) for v in range(vectors)]
            for r in range(pairs):
                x = tirx.Broadcast(self.element(at + r, k), lanes)
                for v in range(vectors):
                    acc[r * vectors + v] = acc[r * vectors + v] + x * weights[v]
        for i, pair, v in each:
            for end in self.step.end:
                place = self.strip.sum(end, pair, v)
                sums.store(place, sums.load(place) + acc[i] if self.step.begin is None else acc[i])
