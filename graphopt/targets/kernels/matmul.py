"""Matrix product of two float32 operands that are computed at run time.

A block of columns of the right operand is packed into scratch, where enough rows use it; few rows read it in place. If
there are very few rows, and the elements of a column stand side by side, each result is a dot product along them.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphopt.ops import MatMul
from graphopt.rewrite import Decline
from graphopt.targets.kernels.base import Kernel, Scratch, Task, kernel_rule
from graphopt.targets.kernels.dots import DotProducts
from graphopt.targets.kernels.float_tiles import FloatTiles
from graphopt.targets.kernels.packing import BLOCK, PackedColumns
from graphopt.targets.kernels.product_form import ProductForm, form_of
from graphopt.targets.kernels.tiled_product import Lead, Operands, Tile
from graphopt.targets.schedule import (
    RegisterTile,
    Segment,
    balanced,
    channel_segments,
    choose_product_tile,
    padded_segments,
)
from graphopt.targets.target import Target
from graphopt.targets.tir import Expr, Point

IN_PLACE_ROWS = 32
"""So few rows read the right operand in place: to pack it would cost more than it gives."""
DOT_ROWS = 8
"""So few rows are products along the depth, where it is side by side."""


@kernel_rule(MatMul, isa="llvm", strided=True)
def matmul_by_tiles(task: Task[MatMul]) -> Kernel:
    """A batch of products [m, k] by [k, n], of any strides."""
    if task.result.type.dtype != "float32":
        raise Decline("it takes float32")
    form = form_of(task)
    *_, down, along = form.right(*map(task.strided, task.inputs)).strides
    if form.rows <= DOT_ROWS and down == 1 and (along != 1 or form.columns == 1):
        tile = RegisterTile(balanced(form.rows, min(form.rows, task.target.registers // BLOCK - 1)), BLOCK)
        dots = DotProducts(form, task.target.lanes, tile)
        return Kernel("matmul_dots", dots.emit, {}, tile=tile, scratch=dots.scratch)
    product = tiled(form, task.target, packs=along != 1 or form.rows > IN_PLACE_ROWS)
    return Kernel("matmul", product.emit, {}, tile=product.tile, scratch=product.scratch)


def tiled(form: ProductForm, target: Target, packs: bool) -> FloatProduct:
    tile = choose_product_tile(target, form.rows, form.columns)
    cut = padded_segments if packs else channel_segments
    return FloatProduct(form, cut(form.columns, target.lanes, tile.vectors), tile, packs)


@dataclass(frozen=True)
class FloatProduct(FloatTiles):
    """The columns of a block are packed, or read in place."""

    packs: bool

    @property
    def scratch(self) -> dict[str, Scratch]:
        return {"columns": Scratch("float32", self.form.depth * self.width)} if self.packs else {}

    def pack_columns(self, operands: Operands, lead: Lead, column: Expr, segment: Segment) -> None:
        if self.packs:
            columns = PackedColumns(self.form.depth, self.form.columns)
            columns.write(operands.scratch["columns"], operands.right, lead, column, segment)

    def column(self, operands: Operands, tile: Tile, k: Expr, first: int) -> Expr:
        lanes = tile.segment.lanes
        if self.packs:
            return operands.scratch["columns"].load(Point((k * tile.segment.width + first,), 0, lanes))
        return operands.right.load(Point((*tile.lead, k, tile.column + first), len(tile.lead) + 1, lanes))
