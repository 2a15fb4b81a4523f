"""Matrix products of float32 with constant weights, of more rows than a tile has: linear layers, and single pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from tvm import tirx

from graphopt.ir import Array, Op
from graphopt.ops import Conv, Linear
from graphopt.rewrite import Decline
from graphopt.targets.kernels.ahead import FIRST_CACHE, Ahead
from graphopt.targets.kernels.base import Frame, Kernel, Scratch, Task, kernel_rule
from graphopt.targets.kernels.float_tiles import FloatTiles
from graphopt.targets.kernels.geometry import as_row
from graphopt.targets.kernels.product_form import ProductForm
from graphopt.targets.kernels.tiled import Channels, pack_weights
from graphopt.targets.kernels.tiled_product import Lead, Operands, Tile
from graphopt.targets.schedule import Segment, channel_segments, choose_product_tile
from graphopt.targets.tir import Expr, Locals, Point, Tensor
from graphopt.targets.weights import expect_whole


@kernel_rule(Linear, isa="llvm")
def linear_by_tiles(task: Task[Linear]) -> Kernel:
    """A product [..., k] by [n, k], transposed, where the rows of all leading axes lie as those of one matrix."""
    x, w, b = task.inputs
    weight, bias = w.constant, b.constant
    if weight is None or bias is None or x.type.dtype != "float32" or x.type.rank < 2:
        raise Decline("it takes rows of float32, and constant weights")
    *batch, rows, depth = x.type.static_shape
    form = ProductForm(tuple(batch), rows, depth, len(weight), merged=len(batch))
    strided = task.strided(x)
    if form.left(strided, strided) is None or not task.allows(form.result):
        raise Decline("its rows do not lie as those of one matrix")
    return product_of_rows(task, "linear", form, weight, bias)


def product_of_pixels(task: Task[Conv], weight: Array, bias: Array) -> Kernel:
    """A convolution of single pixels, which are the rows: of all samples where they lie as those of one matrix."""
    if task.op.group > 1 or task.region.tail is not None:
        raise Decline("it has groups, or a pooling ends it")
    if weight.nbytes < FIRST_CACHE:
        raise Decline("its pixels stand in a row as they are, and its weights in the first cache")
    n, c, *size = task.inputs[0].type.static_shape
    forms = [PixelForm((n,), math.prod(size), c, len(weight), merged=merged) for merged in (1, 0)]
    x = task.strided(task.inputs[0])
    form = next((form for form in forms if form.left(x, x) is not None and task.allows(form.result)), None)
    if form is None:
        raise Decline("its pixels do not lie as the rows of a matrix")
    return product_of_rows(task, "conv_1x1", form, weight, bias)


def product_of_rows(task: Task[Op], name: str, form: ProductForm, weight: Array, bias: Array) -> Kernel:
    """The kernel of rows by weights [columns, depth], if there are more rows than in a tile."""
    _, w, b = task.inputs
    expect_whole(w)
    tile = choose_product_tile(task.target, form.rows, form.columns)
    if form.rows <= tile.pixels:
        raise Decline(f"{form.rows} rows are one tile, which reads no weight twice")
    segments = channel_segments(form.columns, task.target.lanes, tile.vectors)
    order = pack_weights(weight.reshape(*weight.shape[:2], 1, 1), Channels(1, form.depth, form.columns), segments)
    product = LinearProduct(form, segments, tile)
    return Kernel(name, product.emit, {"bias": bias, "weight": order}, replaced=(w, b), tile=tile)


class PixelForm(ProductForm):
    """Of tensors [n, c, *spatial], whose pixels are rows."""

    def result(self, y: Tensor) -> Tensor | None:
        rows = as_pixels(y)
        return rows and super().result(rows)

    def left(self, a: Tensor, b: Tensor) -> Tensor | None:
        rows = as_pixels(a)
        return rows and super().left(rows, b)


def as_pixels(tensor: Tensor) -> Tensor | None:
    """A tensor [n, c, *spatial] as [n, pixels, c]; None if the strides do not allow it."""
    row = as_row(tensor)
    if row is None:
        return None
    (n, c, _, pixels), (sample, channel, _, pixel) = row.shape, row.strides
    return replace(row, shape=(n, pixels, c), strides=(sample, pixel, channel))


@dataclass(frozen=True)
class LinearProduct(FloatTiles):
    """Sums begin with the bias; weights are packed by blocks of columns, one block behind the other."""

    scratch: ClassVar[dict[str, Scratch]] = {}

    def operands(self, frame: Frame) -> Operands:
        x = frame.tensors[frame.task.inputs[0]]
        left = self.form.left(x, x)
        assert left is not None
        return Operands(left, frame.packed["weight"], {}, frame.packed)

    def start(self, operands: Operands, column: Expr, lanes: int) -> Expr:
        return operands.packed["bias"].load(Point((column,), 0, lanes))

    def pack_columns(self, operands: Operands, lead: Lead, column: Expr, segment: Segment) -> None:
        """They are packed at compile time."""

    def column(self, operands: Operands, tile: Tile, k: Expr, first: int) -> Expr:
        element = tile.column * self.form.depth + k * tile.segment.width + first
        return operands.right.load(Point((element,), 0, tile.segment.lanes))

    def accumulate(self, acc: Locals, operands: Operands, tile: Tile) -> None:
        form, width = self.form, tile.segment.width
        begin, tiles = (tile.column + width) * form.depth, self.strip // self.tile.pixels
        near = 4 * form.depth * form.columns < FIRST_CACHE or form.columns <= self.width
        following = None if near else lambda number: operands.right.at(begin + number)
        ahead = Ahead(width, tile.segment.lanes, tiles, following)
        place = tirx.floordiv(tile.at, self.tile.pixels)
        ahead.each_row(place, form.depth, lambda k: self.add_products(acc, operands, tile, k))
