"""Products of a few rows with columns whose elements stand side by side: vectors along the depth, summed at the end."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from tvm import tirx

from graphopt.targets.kernels.base import Frame, Scratch
from graphopt.targets.kernels.packing import BLOCK, transposed
from graphopt.targets.kernels.product_form import ProductForm
from graphopt.targets.schedule import powers_of_two, runs
from graphopt.targets.tir import Expr, Locals, Point, Tensor, loop


@dataclass(frozen=True)
class DotProducts:
    """The loops: batch, four columns at a time, depth. Rows are first copied side by side into scratch."""

    form: ProductForm
    lanes: int

    @property
    def scratch(self) -> dict[str, Scratch]:
        return {"rows": Scratch("float32", self.form.rows * self.form.depth)}

    @property
    def vectors(self) -> int:
        """Of the depth; what is left is less than one."""
        return self.form.depth // self.lanes

    def emit(self, frame: Frame) -> None:
        operands = [frame.tensors[v] for v in frame.task.inputs]
        left, right = self.form.left(*operands[:2]), self.form.right(*operands[:2])
        out = self.form.result(frame.out)
        assert left is not None and out is not None
        rows, epilogue = frame.scratch["rows"], frame.epilogue(self.form.result)
        with ExitStack() as loops:
            lead = tuple(loops.enter_context(loop(f"i{axis}", 0, size)) for axis, size in enumerate(self.form.outer))
            with loop("row", 0, self.form.rows) as row, loop("k", 0, self.form.depth) as k:
                rows.store(Point((row * self.form.depth + k,)), left.load(Point((*lead, row, k))))
            for first, count, columns in runs(self.form.columns, BLOCK):
                with loop("columns", 0, count) as i:
                    column = first + i * columns
                    sums = self.sums(rows, right, (lead, column), columns)
                    for row in range(self.form.rows):
                        for start, size in powers_of_two(columns):
                            part = (
                                sums[row]
                                if size == BLOCK
                                else tirx.Shuffle([sums[row]], list(range(start, start + size)))
                            )
                            point = Point((*lead, row, column + start), len(lead) + 1, size)
                            out.store(point, epilogue(part, point))

    def sums(self, rows: Tensor, right: Tensor, at: tuple[tuple[Expr, ...], Expr], columns: int) -> Locals:
        """For each row, the sums of so many columns; of four lanes those beyond count nothing."""
        (lead, column), depth, lanes = at, self.form.depth, self.lanes
        acc = Locals("acc", self.form.rows * BLOCK, "float32", lanes)
        for i in range(self.form.rows * BLOCK):
            acc[i] = acc.constant(0.0)
        with loop("k", 0, self.vectors) as k:
            for c in range(columns):
                y = right.load(Point((*lead, k * lanes, column + c), len(lead), lanes))
                for row in range(self.form.rows):
                    x = rows.load(Point((row * depth + k * lanes,), 0, lanes))
                    acc[row * BLOCK + c] = acc[row * BLOCK + c] + x * y
        sums = Locals("sums", self.form.rows, "float32", BLOCK)
        for row in range(self.form.rows):
            turned = Locals("turned", 1, "float32", lanes)
            first, *others = transposed([acc[row * BLOCK + c] for c in range(BLOCK)], "float32", lanes)
            turned[0] = sum(others, start=first)
            parts = [list(range(start, start + BLOCK)) for start in range(0, lanes, BLOCK)]
            blocks = [tirx.Shuffle([turned[0]], part) for part in parts] if len(parts) > 1 else [turned[0]]
            sums[row] = sum(blocks[1:], start=blocks[0])
        with loop("k", self.vectors * lanes, depth) as k:
            for start, size in powers_of_two(columns):
                y = right.load(Point((*lead, k, column + start), len(lead) + 1, size))
                for row in range(self.form.rows):
                    x = rows.load(Point((row * depth + k,)))
                    product = (tirx.Broadcast(x, size) if size > 1 else x) * y
                    sums[row] = sums[row] + widened(product, start, size)
        return sums


def widened(part: Expr, start: int, size: int) -> Expr:
    """A vector of four lanes with a part of it from ``start`` on, and zeros beside."""
    if size == BLOCK:
        return part
    zero = tirx.const(0.0, "float32")
    return tirx.Shuffle([part, zero], [i - start if start <= i < start + size else size for i in range(BLOCK)])
