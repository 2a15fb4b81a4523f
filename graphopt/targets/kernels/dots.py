"""Products of a few rows with columns whose elements stand side by side: vectors along the depth, summed at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from tvm import tirx

from graphopt.targets.kernels.base import Frame, Scratch
from graphopt.targets.kernels.packing import BLOCK, transposed
from graphopt.targets.kernels.product_form import ProductForm
from graphopt.targets.schedule import RegisterTile, powers_of_two, runs
from graphopt.targets.tir import Expr, Locals, Point, Tensor, loop


@dataclass(frozen=True)
class DotProducts:
    """The loops: batch, four columns, tile of rows, depth. Rows are first copied side by side into scratch."""

    form: ProductForm
    lanes: int
    tile: RegisterTile
    """Rows by four vectors, one for each column."""

    @property
    def scratch(self) -> dict[str, Scratch]:
        return {"rows": Scratch("float32", self.form.rows * self.form.depth)}

    def emit(self, frame: Frame) -> None:
        a, b = (frame.tensors[v] for v in frame.task.inputs)
        left, right, out = self.form.left(a, b), self.form.right(a, b), self.form.result(frame.out)
        assert left is not None and out is not None
        rows, epilogue = frame.scratch["rows"], frame.epilogue(self.form.result)
        with ExitStack() as loops:
            lead = tuple(loops.enter_context(loop(f"i{axis}", 0, size)) for axis, size in enumerate(self.form.outer))
            with loop("row", 0, self.form.rows) as row, loop("k", 0, self.form.depth) as k:
                rows.store(Point((row * self.form.depth + k,)), left.load(Point((*lead, row, k))))
            for column, columns in each_run(self.form.columns, BLOCK):
                for row, count in each_run(self.form.rows, self.tile.pixels):
                    sums = self.sums(rows, right, (*lead, row, column), count, columns)
                    for r in range(count):
                        for start, size in powers_of_two(columns):
                            lanes = list(range(start, start + size))
                            part = sums[r] if size == BLOCK else tirx.Shuffle([sums[r]], lanes)
                            point = Point((*lead, row + r, column + start), len(lead) + 1, size)
                            out.store(point, epilogue(part, point))

    def sums(self, rows: Tensor, right: Tensor, at: tuple[Expr, ...], count: int, columns: int) -> Locals:
        """Of so many rows, the sums of so many columns, of four lanes; those beyond count nothing."""
        (*lead, row, column), depth, lanes = at, self.form.depth, self.lanes
        acc = Locals("acc", count * BLOCK, "float32", lanes)
        for i in range(count * BLOCK):
            acc[i] = acc.constant(0.0)
        with loop("k", 0, depth // lanes) as k:
            for c in range(columns):
                y = right.load(Point((*lead, k * lanes, column + c), len(lead), lanes))
                for r in range(count):
                    x = rows.load(Point(((row + r) * depth + k * lanes,), 0, lanes))
                    acc[r * BLOCK + c] = acc[r * BLOCK + c] + x * y
        sums = Locals("sums", count, "float32", BLOCK)
        for r in range(count):
            sums[r] = sum_of_lanes([acc[r * BLOCK + c] for c in range(BLOCK)], lanes)
        with loop("k", depth // lanes * lanes, depth) as k:
            for start, size in powers_of_two(columns):
                y = right.load(Point((*lead, k, column + start), len(lead) + 1, size))
                for r in range(count):
                    x = rows.load(Point(((row + r) * depth + k,)))
                    product = (tirx.Broadcast(x, size) if size > 1 else x) * y
                    sums[r] = sums[r] + widened(product, start, size)
        return sums


def each_run(total: int, size: int) -> Iterator[tuple[Expr, int]]:
    """A loop over full parts, then what is left: the first element and the size of each."""
    for first, count, part in runs(total, size):
        with loop("part", 0, count) as i:
            yield first + i * part, part


def sum_of_lanes(vectors: Sequence[Expr], lanes: int) -> Expr:
    """The sums of the lanes of four vectors, as one vector of four."""
    total = Locals("total", 1, "float32", lanes)
    first, *others = transposed(vectors, "float32", lanes)
    total[0] = sum(others, start=first)
    parts = [list(range(start, start + BLOCK)) for start in range(0, lanes, BLOCK)]
    blocks = [tirx.Shuffle([total[0]], part) for part in parts] if len(parts) > 1 else [total[0]]
    return sum(blocks[1:], start=blocks[0])


def widened(part: Expr, start: int, size: int) -> Expr:
    """A vector of four lanes with a part of it from ``start`` on, and zeros beside."""
    if size == BLOCK:
        return part
    zeros = tirx.const(0.0, f"float32x{BLOCK}")
    return tirx.Shuffle([part, zeros], [i - start if start <= i < start + size else size for i in range(BLOCK)])
