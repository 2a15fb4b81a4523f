"""Integer convolution and matrix product by routines that sum many products of 8 bits at once, pixel by pixel.

The windows of two pixels are expanded into scratch, and a routine sums all channels of both. Where the sums are scaled
to int8 at once, it stores them; else it leaves sums in scratch, which the epilogue reads. A plane of one pixel goes by
the routine of a row of channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import tirx

from graphopt.ir import Array, Op
from graphopt.ops import ConvInteger, LinearInteger, Window
from graphopt.rewrite import Decline
from graphopt.targets.instructions import products
from graphopt.targets.instructions.base import Instruction
from graphopt.targets.kernels.base import Frame, Kernel, Scratch, Task, View, kernel_rule
from graphopt.targets.kernels.depthwise import depthwise_by_pairs
from graphopt.targets.kernels.geometry import Plane, as_plane, as_row, as_rows, plane_of
from graphopt.targets.kernels.order import pixel_reads
from graphopt.targets.kernels.quantized import bits_of, grouped_factors, prove_no_overflow, zero_point_of
from graphopt.targets.kernels.scaling import bounds_by_channel, parameters_of, scaling_of, shifted_up
from graphopt.targets.kernels.tail import Tail
from graphopt.targets.kernels.windows import Windows
from graphopt.targets.schedule import RegisterTile
from graphopt.targets.tir import Expr, Point, Tensor, loop

POINTWISE = Window.of((1, 1), (), ())


@kernel_rule(ConvInteger, isa="dsp")
def conv_by_products(task: Task[ConvInteger]) -> Kernel:
    """Convolution over one or two axes, of all channels or of each by itself."""
    x, w, b = task.inputs
    weight = w.constant
    if weight is None or b.constant is None or x.type.rank > 4:
        raise Decline("it takes constant weights, and one or two axes")
    (n, channels, *size), (_, _, *out) = x.type.static_shape, task.result.type.static_shape
    plane = plane_of(tuple(size), tuple(out), task.op.window(w.type))
    if task.op.group == channels == len(weight) and task.region.tail is None:
        prove_no_overflow(task.op, weight, b.constant, x.type.dtype, task.region.node.name)
        return depthwise_by_pairs(task, plane, weight.reshape(channels, 1, *plane.window.kernel), b.constant)
    if task.op.group > 1:
        raise Decline("it has groups")
    weight = weights_of(task).reshape(*weight.shape[:2], *plane.window.kernel)
    in_row = as_row(task.strided(x)) is not None and task.allows(as_row)
    if plane.window == POINTWISE and task.region.tail is None and in_row:
        pixels = plane.out[0] * plane.out[1]
        return products_kernel(task, "conv_1x1", n, Plane((1, pixels), (1, pixels), POINTWISE), weight, as_row)
    return products_kernel(task, "conv_{}x{}".format(*plane.window.kernel), n, plane, weight, as_plane)


@kernel_rule(LinearInteger, isa="dsp")
def linear_by_products(task: Task[LinearInteger]) -> Kernel:
    """A matrix product is a pointwise convolution over a row."""
    weight = weights_of(task)
    rows = as_rows(task.strided(task.inputs[0]))
    if rows is None or not task.allows(as_rows):
        raise Decline("its rows are not in one line of memory")
    pixels = rows.shape[3]
    return products_kernel(
        task, "linear", 1, Plane((1, pixels), (1, pixels), POINTWISE), weight[:, :, None, None], as_rows
    )


def weights_of(task: Task[ConvInteger | LinearInteger]) -> Array:
    """The weights of a product that the routines compute exactly."""
    x, w, b = task.inputs
    weight = w.constant
    if weight is None or b.constant is None or x.type.dtype != "int8":
        raise Decline("it takes int8, and constant weights")
    if bits_of(task.op, weight) != 8 or grouped_factors(task.op, weight) is not None:
        raise Decline("its weights are packed in fewer bits")
    if weight.min(initial=0) < products.LEAST_WEIGHT:
        raise Decline(f"a weight is below {products.LEAST_WEIGHT}")
    return weight


def check_sums(bounds: Array) -> None:
    """Raise ``Decline`` unless all sums, of these least and greatest ones, stay exact when they are shifted up."""
    if bounds.size and max(-bounds.min(), bounds.max()) > products.MOST_SUM:
        raise Decline(f"its sums may need more than {32 - products.FACTOR_BITS} bits")


def scaled_sums(task: Task[Op], bounds: Array) -> Array | None:
    """The scaling of the sums as routines have them, shifted up; None where they do not scale."""
    scaling = scaling_of(task, len(bounds))
    try:
        return None if scaling is None else shifted_up(scaling, bounds, products.FACTOR_BITS)
    except Decline:
        return None


def products_kernel(task: Task[Op], name: str, batch: int, plane: Plane, weight: Array, view: View) -> Kernel:
    """The kernel of a convolution over a plane, its tensors viewed as [n, c, h, w]; weight is [o, c, kh, kw]."""
    x, w, b = task.inputs
    bounds = bounds_by_channel(task, len(weight))
    scaling = scaled_sums(task, bounds) if stored_by_pixels(task, view) else None
    check_sums(bounds if scaling is None else bounds[scaling[:, 0] != 0])
    one = plane.out == (1, 1)
    routine = ROUTINES[one, scaling is not None]
    assert b.constant is not None
    seen, zero_point = view(task.strided(x)), zero_point_of(task.op)
    assert seen is not None
    windows = Windows(plane, weight.shape[1], seen.strides, zero_point, 1 if one else products.PIXELS)
    rows = windows.in_order(weight)
    bias = b.constant.astype(np.int64) - zero_point * rows.sum(axis=1, dtype=np.int64)
    packed = products.stream(
        rows, bias, np.zeros((len(rows), 0), np.int32) if scaling is None else scaling, routine.lanes
    )
    padded = -(-len(rows) // routine.lanes) * routine.lanes
    results = Scratch("int32", windows.pixels * padded)
    if scaling is not None:
        spare = plane.out[0] * plane.out[1] % windows.pixels
        results = Scratch("int8", 2 * routine.lanes + spare * padded)
    kernel = ProductsConv(plane, view, routine, windows, len(rows), rows.shape[1])
    scratch = {**windows.scratch, "results": results}
    reads = pixel_reads(task, plane, view, windows.pixels) if x in task.covered else {}
    tile = RegisterTile(windows.pixels, routine.lanes)
    absorbed = () if scaling is None else parameters_of(task)
    return Kernel(name, lambda f: kernel.emit(f, batch), {"weight": packed}, (w, b), tile, reads, scratch, absorbed)


ROUTINES: dict[tuple[bool, bool], Instruction] = {
    (False, True): products.MULTIPLY_PAIRS,
    (False, False): products.SUM_PAIRS,
    (True, True): products.MULTIPLY_ROW,
    (True, False): products.SUM_ROW,
}
"""By whether the plane is one pixel, and whether the routine scales."""


def stored_by_pixels(task: Task[Op], view: View) -> bool:
    """Whether all channels of a pixel of the result stand together."""
    if task.region.tail is not None:
        return False
    seen = view(Tensor(None, task.region.head.type.dtype, task.out.shape, task.out.strides))
    return seen is not None and (seen.strides[1] == 1 or seen.shape[1] == 1)


@dataclass(frozen=True)
class ProductsConv:
    """The loops of one convolution: batch, pixels, and groups of channels within the routine."""

    plane: Plane
    view: View
    routine: Instruction
    windows: Windows
    channels: int
    depth: int

    @property
    def blocks(self) -> int:
        return -(-self.depth // products.BLOCK)

    @property
    def scales(self) -> bool:
        return self.routine.operands.get("first", self.routine.operands.get("y")) == "int8*"

    def emit(self, frame: Frame, batch: int) -> None:
        x = self.view(frame.tensors[frame.task.inputs[0]])
        assert x is not None
        tail = Tail(frame, self.view)
        tail.prefill()
        pixels, at_once = self.plane.out[0] * self.plane.out[1], self.windows.pixels
        self.windows.prepare(frame)
        with loop("n", 0, batch) as n:
            with loop("tile", 0, pixels // at_once) as tile:
                with loop("slot", 0, at_once) as slot:
                    self.windows.write(frame, x, n, tile * at_once + slot, slot)
                self.compute(frame, tail, n, tile * at_once, at_once)
            if pixels % at_once:
                self.windows.write(frame, x, n, pixels - 1, 0)
                self.compute(frame, tail, n, pixels - 1, 1)

    def compute(self, frame: Frame, tail: Tail, n: Expr, pixel: Expr, count: int) -> None:
        """All channels of ``count`` pixels whose windows are written."""
        if self.scales:
            self.store_scaled(frame, tail.out, n, pixel, count)
        else:
            self.store_sums(frame, tail, n, pixel, count)

    def store_sums(self, frame: Frame, tail: Tail, n: Expr, pixel: Expr, count: int) -> None:
        groups = -(-self.channels // self.routine.lanes)
        sums, row = frame.scratch["results"], groups * self.routine.lanes
        self.run(frame, 0, [sums.at(slot * row) for slot in range(self.windows.pixels)], groups)
        epilogue = frame.epilogue(self.view)
        for slot in range(count):
            position = self.position(pixel + slot)
            with loop("o", 0, self.channels) as o:
                point = Point((n, o, *position))
                tail.store(point, epilogue(sums.load(Point((slot * row + o,))), point))

    def store_scaled(self, frame: Frame, out: Tensor, n: Expr, pixel: Expr, count: int) -> None:
        """Full groups of channels go into the result, the last channels and the second of one pixel beside it."""
        lanes, spare = self.routine.lanes, frame.scratch["results"]
        groups, left = divmod(self.channels, lanes)
        places = [out.at(n, 0, *self.position(pixel + slot)) for slot in range(count)]
        places += [spare.at(2 * lanes)] * (self.windows.pixels - count)
        if groups:
            self.run(frame, 0, places, groups)
        if left:
            self.run(frame, groups, [spare.at(lanes * slot) for slot in range(self.windows.pixels)], 1)
            for slot in range(count):
                for o in range(left):
                    point = Point((n, groups * lanes + o, *self.position(pixel + slot)))
                    out.store(point, spare.load(Point((lanes * slot + o,))))

    def run(self, frame: Frame, group: int, results: list[Expr], groups: int) -> None:
        """Groups of channels from ``group`` on."""
        words = self.routine.lanes * (self.blocks + (4 if self.scales else 1))
        weights = frame.packed["weight"].at(group * words)
        self.routine.run(frame.scratch["window"].at(0), weights, *results, self.blocks, groups)

    def position(self, pixel: Expr) -> tuple[Expr, Expr]:
        width = self.plane.out[1]
        return tirx.floordiv(pixel, width), tirx.floormod(pixel, width)
