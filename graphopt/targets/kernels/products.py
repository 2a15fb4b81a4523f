"""Integer convolution and matrix product by routines that sum many products of 8 bits at once, pixel by pixel.

A routine sums all channels of two pixels, or of one. Where the sums are requantised to int8 first of all, it does that
too, and stores the results, or leaves them in scratch for the rest of the epilogue; else it leaves the sums there. What
the instruction sets have each for itself is a ``ProductSet``: the routines, how windows reach them, and how weights are
packed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from graphopt.ir import Array, Op
from graphopt.ops import ConvInteger, LinearInteger, Window
from graphopt.rewrite import Decline
from graphopt.targets.instructions import mve_products, products, thumb_products
from graphopt.targets.instructions.armv6m_products import BY_CHANNEL
from graphopt.targets.instructions.armv7m_products import BY_ELEMENT
from graphopt.targets.instructions.base import Instruction
from graphopt.targets.instructions.mve_addition import ADD_SCALED
from graphopt.targets.kernels.base import Frame, Kernel, Scratch, Task, View, kernel_rule, kernel_variant
from graphopt.targets.kernels.depthwise import depthwise_by_pairs
from graphopt.targets.kernels.geometry import Plane, as_plane, as_row, as_rows, plane_of
from graphopt.targets.kernels.mve_addition import Addition, addition_of
from graphopt.targets.kernels.mve_depthwise import depthwise_by_vectors
from graphopt.targets.kernels.mve_windows import ColumnWindows
from graphopt.targets.kernels.order import result_of
from graphopt.targets.kernels.planar import planar_by_pairs
from graphopt.targets.kernels.quantized import prove_no_overflow, zero_point_of
from graphopt.targets.kernels.row_windows import expanded_windows, gathered_windows
from graphopt.targets.kernels.scaling import (
    bounds_by_channel,
    limited,
    limits_of,
    narrowing_of,
    parameters_of,
    shifted_up,
)
from graphopt.targets.kernels.tail import Tail
from graphopt.targets.kernels.thumb_depthwise import depthwise_by_elements
from graphopt.targets.kernels.windows import Tile, Windows
from graphopt.targets.scalars import clamp
from graphopt.targets.schedule import RegisterTile
from graphopt.targets.tir import Expr, Point, Tensor, loop
from graphopt.targets.weights import expect_whole

POINTWISE = Window.of((1, 1), (), ())


@dataclass(frozen=True)
class ProductSet:
    """The products of an instruction set.

    ``routines`` are found by whether they take one pixel, and whether they scale; ``loops`` call them. Sums are shifted
    up by ``bits``. Where each channel is convolved by itself, ``depthwise`` gives the kernel; where windows have few
    channels, ``planar``, if that does not decline.
    """

    routines: Mapping[tuple[bool, bool], Instruction]
    loops: Callable[..., ProductsConv]
    windows: Callable[[Plane, int, tuple[int, ...], int], Windows]
    stream: Callable[[Array, Array, Array, int], Array]
    depthwise: Callable[[Task[ConvInteger], Plane, Array, Array], Kernel]
    planar: Callable[[Task[ConvInteger], str, Plane, Array], Kernel] | None = None
    bits: int = 0
    least_weight: int = -128

    def check_sums(self, bounds: Array) -> None:
        """Raise ``Decline`` unless all sums, of these least and greatest ones, stay exact when they are shifted up."""
        if bounds.size and max(-bounds.min(), bounds.max()) >= 1 << 31 - self.bits:
            raise Decline(f"its sums may need more than {32 - self.bits} bits")

    def scaled_sums(self, task: Task[Op], bounds: Array) -> Array | None:
        """The scaling of the sums as routines have them, shifted up; None where they do not scale."""
        scaling = narrowing_of(task, len(bounds))
        try:
            return None if scaling is None else shifted_up(scaling, bounds, self.bits)
        except Decline:
            return None


def convolved(task: Task[ConvInteger], by: ProductSet) -> Kernel:
    """Convolution over one or two axes, of all channels or of each by itself."""
    x, w, b = task.inputs
    if w.constant is None or b.constant is None or x.type.rank > 4:
        raise Decline("it takes constant weights, and one or two axes")
    (n, channels, *size), (_, _, *out) = x.type.static_shape, task.result.type.static_shape
    plane = plane_of(tuple(size), tuple(out), task.op.window(w.type))
    if task.op.group == channels == len(w.constant) and task.region.tail is None:
        prove_no_overflow(task.op, w.constant, b.constant, x.type.dtype, task.region.node.name)
        return by.depthwise(task, plane, w.constant.reshape(channels, 1, *plane.window.kernel), b.constant)
    if task.op.group > 1:
        raise Decline("it has groups")
    weight = weights_of(task, by)
    weight = weight.reshape(*weight.shape[:2], *plane.window.kernel)
    name = "conv_{}x{}".format(*plane.window.kernel)
    if by.planar is not None:
        with suppress(Decline):
            return by.planar(task, name, plane, weight)
    pointwise = plane.window == POINTWISE and task.region.tail is None
    if pointwise and as_row(task.strided(x)) is not None and task.allows(as_row):
        pixels = plane.out[0] * plane.out[1]
        return products_kernel(task, name, n, Plane((1, pixels), (1, pixels), POINTWISE), weight, as_row, by)
    return products_kernel(task, name, n, plane, weight, as_plane, by)


def multiplied(task: Task[LinearInteger], by: ProductSet) -> Kernel:
    """A matrix product is a pointwise convolution over a row."""
    weight = weights_of(task, by)
    rows = as_rows(task.strided(task.inputs[0]))
    if rows is None or not task.allows(as_rows):
        raise Decline("its rows are not in one line of memory")
    plane = Plane((1, rows.shape[3]), (1, rows.shape[3]), POINTWISE)
    return products_kernel(task, "linear", 1, plane, weight[:, :, None, None], as_rows, by)


def weights_of(task: Task[ConvInteger | LinearInteger], by: ProductSet) -> Array:
    """The weights of a product that the routines compute exactly."""
    x, w, b = task.inputs
    weight = w.constant
    if weight is None or b.constant is None or x.type.dtype != "int8":
        raise Decline("it takes int8, and constant weights")
    expect_whole(w)
    if weight.min(initial=0) < by.least_weight:
        raise Decline(f"a weight is below {by.least_weight}")
    return weight


def products_kernel(
    task: Task[Op], name: str, batch: int, plane: Plane, weight: Array, view: View, by: ProductSet
) -> Kernel:
    """The kernel of a convolution over a plane; ``view`` gives tensors as [n, c, h, w], weight is [o, c, kh, kw]."""
    x, w, b = task.inputs
    bounds = bounds_by_channel(task, len(weight))
    scaling = by.scaled_sums(task, bounds)
    by.check_sums(bounds if scaling is None else bounds[scaling[:, 0] != 0])
    assert b.constant is not None
    zero_point, seen = zero_point_of(task.op), view(task.strided(x))
    assert seen is not None
    windows = by.windows(plane, weight.shape[1], seen.strides, zero_point)
    rows = windows.in_order(weight)
    scales = scaling is not None
    direct = scales and stored_by_pixels(task, view)
    addition = addition_of(task, view) if scales and limits_of(task) is None else None
    kernel = by.loops(by, plane, view, windows, len(rows), rows.shape[1], scales, direct, addition)
    bias = b.constant.astype(np.int64) - zero_point * rows.sum(axis=1, dtype=np.int64)
    numbers = np.zeros((len(rows), 0), np.int32) if scaling is None else scaling
    packed = {"weight": by.stream(rows, bias, numbers, kernel.lanes), **windows.packed, **kernel.packed}
    scratch = {**windows.scratch, **kernel.results}
    reads = windows.reads(task, view, kernel.most, kernel.last) if x in task.covered else {}
    over = windows.over(task) if x in task.covered else {}
    absorbed = () if scaling is None else parameters_of(task)
    tile = RegisterTile(windows.pixels, kernel.lanes)
    made = Kernel(name, lambda f: kernel.emit(f, batch), packed, (w, b), tile, reads, scratch, absorbed, over)
    return limited(made, task) if direct else made


def stored_by_pixels(task: Task[Op], view: View) -> bool:
    """Whether requantised sums are the result, and all channels of a pixel stand together in it."""
    if task.region.tail is not None or len(task.region.epilogue) != 1:
        return False
    seen = view(result_of(task))
    return seen is not None and (seen.strides[1] == 1 or seen.shape[1] == 1)


@dataclass(frozen=True)
class ProductsConv(ABC):
    """The loops of one convolution: batch, pixels, and channels within the routine.

    If ``scales``, a routine gives int8, the sums after their requantisation. If these are the result, ``direct``, it
    writes them there, else into scratch, and the epilogue follows: an ``addition``, or anything.
    """

    by: ProductSet
    plane: Plane
    view: View
    windows: Windows
    channels: int
    depth: int
    scales: bool
    direct: bool
    addition: Addition | None

    @property
    def lanes(self) -> int:
        """Channels of a group."""
        return self.routine(self.windows.pixels).lanes

    @property
    def padded(self) -> int:
        """The channels of all groups."""
        return -(-self.channels // self.lanes) * self.lanes

    @property
    def packed(self) -> Mapping[str, Array]:
        return {}

    @property
    @abstractmethod
    def most(self) -> int:
        """Pixels at once."""

    @property
    def last(self) -> int | None:
        """As ``Windows.reads`` takes it."""
        return None

    @property
    def row(self) -> int:
        """Elements from a pixel to the next in scratch."""
        return self.padded

    @property
    def results(self) -> Mapping[str, Scratch]:
        """Scratch for what routines write that has no place in the result."""
        return {"results": Scratch("int8" if self.scales else "int32", self.most * self.row)}

    def routine(self, pixels: int) -> Instruction:
        return self.by.routines[pixels == 1, self.scales]

    def emit(self, frame: Frame, batch: int) -> None:
        x = self.view(frame.tensors[frame.task.inputs[0]])
        assert x is not None
        tail = Tail(frame, self.view)
        tail.prefill()
        with loop("n", 0, batch) as n:

            def compute(tile: Tile) -> None:
                if self.direct:
                    self.store_scaled(frame, tail.out, n, tile)
                else:
                    self.write_scratch(frame, tile)
                    self.store_rest(frame, tail, n, tile)

            self.windows.each(frame, x, n, self.most, compute)

    @abstractmethod
    def store_scaled(self, frame: Frame, out: Tensor, n: Expr, tile: Tile) -> None:
        """The results of a tile, where they belong."""

    @abstractmethod
    def write_scratch(self, frame: Frame, tile: Tile) -> None:
        """The results of a tile into scratch, pixel by pixel."""

    def store_rest(self, frame: Frame, tail: Tail, n: Expr, tile: Tile) -> None:
        """What follows of the epilogue, on results in scratch."""
        epilogue, results = frame.epilogue(self.view, int(self.scales)), frame.scratch["results"]
        limits = limits_of(frame.task) if self.scales else None
        for slot in range(tile.pixels):
            with loop("o", 0, self.channels) as o:
                point = Point((n, o, *tile.at(slot)))
                value = results.load(Point((slot * self.row + o,)))
                tail.store(point, epilogue(value if limits is None else clamp(value, *limits), point))


class GroupProducts(ProductsConv):
    """By routines that write whole groups of channels, always of as many pixels."""

    @property
    def most(self) -> int:
        return self.windows.pixels

    @property
    def results(self) -> Mapping[str, Scratch]:
        if not self.direct:
            return super().results
        spare = self.plane.out[0] * self.plane.out[1] % self.most
        if self.channels % self.lanes == spare == 0:
            return {}
        return {"results": Scratch("int8", 2 * self.lanes + spare * self.padded)}

    def write_scratch(self, frame: Frame, tile: Tile) -> None:
        places = [frame.scratch["results"].at(slot * self.row) for slot in range(self.most)]
        self.run(frame, tile, places, 0, self.channels)

    def store_scaled(self, frame: Frame, out: Tensor, n: Expr, tile: Tile) -> None:
        """Full groups of channels go into the result, the last channels and the second of one pixel beside it."""
        lanes, spare = self.lanes, frame.scratch.get("results")
        whole = self.channels // lanes * lanes
        if whole:
            places = [out.at(n, 0, *tile.at(slot)) for slot in range(tile.pixels)]
            beside = [spare.at(2 * lanes)] * (self.most - tile.pixels) if spare else []
            self.run(frame, tile, [*places, *beside], 0, whole)
        if spare and whole < self.channels:
            self.run(frame, tile, [spare.at(lanes * slot) for slot in range(self.most)], whole, self.channels)
            for slot in range(tile.pixels):
                for o in range(self.channels - whole):
                    out.store(Point((n, whole + o, *tile.at(slot))), spare.load(Point((lanes * slot + o,))))

    def run(self, frame: Frame, tile: Tile, results: list[Expr], first: int, last: int) -> None:
        """The channels from ``first``, where a group begins, up to ``last``."""
        routine, packed = self.routine(self.most), frame.packed["weight"]
        weights = packed.at(first // self.lanes * (packed.shape[0] * self.lanes // self.padded))
        sizes = -(-self.depth // routine.depth), -(-(last - first) // self.lanes)
        routine.run(tile.window, weights, *results, *sizes)


ADDED_AT_ONCE = 512
"""Elements, where another tensor is added to them."""


class WholeProducts(ProductsConv):
    """By routines that write all channels, of any even number of pixels or of one."""

    @property
    def most(self) -> int:
        if self.direct:
            return self.plane.out[1]
        pairs = ADDED_AT_ONCE // (2 * self.channels) if self.addition is not None else 0
        return min(self.plane.out[1], max(self.windows.pixels, 2 * pairs))

    @property
    def last(self) -> int | None:
        return (self.channels - 1) % self.lanes + 1 if self.direct else None

    @property
    def row(self) -> int:
        return self.channels

    @property
    def packed(self) -> Mapping[str, Array]:
        return {} if self.addition is None else {"numbers": self.addition.numbers}

    @property
    def results(self) -> Mapping[str, Scratch]:
        return {} if self.direct else super().results

    def store_scaled(self, frame: Frame, out: Tensor, n: Expr, tile: Tile) -> None:
        self.run(frame, tile, out.at(n, 0, *tile.at(0)), out.strides[3])

    def write_scratch(self, frame: Frame, tile: Tile) -> None:
        self.run(frame, tile, frame.scratch["results"].at(0), self.row)

    def store_rest(self, frame: Frame, tail: Tail, n: Expr, tile: Tile) -> None:
        if self.addition is None:
            super().store_rest(frame, tail, n, tile)
            return
        other, first = self.view(frame.tensors[self.addition.other]), tile.at(0)
        assert other is not None
        operands = frame.scratch["results"].at(0), other.at(n, 0, *first), tail.out.at(n, 0, *first)
        ADD_SCALED.run(*operands, frame.packed["numbers"].at(0), tile.pixels * self.channels)

    def run(self, frame: Frame, tile: Tile, result: Expr, step: int) -> None:
        """All channels of a tile, to results that are ``step`` elements apart."""
        steps = (tile.step, step, tile.pixels) if tile.pixels > 1 else ()
        weights = frame.packed["weight"].at(0)
        self.routine(tile.pixels).run(tile.window, weights, result, *steps, self.depth, self.channels)


def by_pairs(form: products.Form) -> ProductSet:
    """The products of cores that multiply two pairs of 16 bits at once."""
    return ProductSet(
        form.routines,
        GroupProducts,
        partial(expanded_windows, form=form),
        form.stream,
        depthwise_by_pairs,
        planar_by_pairs,
        form.bits,
        form.least_weight,
    )


PAIRS = by_pairs(products.PACKED)
WIDE_PAIRS = by_pairs(products.WIDE)
GATHERED_PAIRS = replace(PAIRS, windows=partial(gathered_windows, form=products.PACKED), planar=None)
"""For any windows the same few routines, which are few bytes: they are gathered into lines first."""
VECTORS = ProductSet(
    {
        (False, True): mve_products.MULTIPLY_WINDOWS,
        (False, False): mve_products.SUM_WINDOWS,
        (True, True): mve_products.MULTIPLY_WINDOW,
        (True, False): mve_products.SUM_WINDOW,
    },
    WholeProducts,
    ColumnWindows,
    mve_products.stream,
    depthwise_by_vectors,
)


def by_elements(routines: thumb_products.Routines, by_element: bool) -> ProductSet:
    """The products of cores that multiply one element at a time."""
    return ProductSet(
        routines,
        WholeProducts,
        partial(ColumnWindows, block=1),
        partial(thumb_products.stream, by_element=by_element),
        depthwise_by_elements,
    )


ARMV7M = by_elements(BY_ELEMENT, by_element=True)
ARMV6M = by_elements(BY_CHANNEL, by_element=False)


@kernel_rule(ConvInteger, isa="dsp")
def conv_by_products(task: Task[ConvInteger]) -> Kernel:
    """By pairs of products of 16 bits."""
    return convolved(task, PAIRS)


@kernel_variant(conv_by_products, "wide weights")
def conv_wide_by_products(task: Task[ConvInteger]) -> Kernel:
    """With weights of 16 bits, which need no unpacking."""
    if task.op.group > 1:
        raise Decline("it has groups")
    return convolved(task, WIDE_PAIRS)


@kernel_variant(conv_by_products, "gathered windows")
def conv_gathered_by_products(task: Task[ConvInteger]) -> Kernel:
    """By fewer bytes of code."""
    if task.op.group > 1:
        raise Decline("it has groups")
    return convolved(task, GATHERED_PAIRS)


@kernel_rule(ConvInteger, isa="mve")
def conv_by_vectors(task: Task[ConvInteger]) -> Kernel:
    """By vectors of products of 8 bits."""
    return convolved(task, VECTORS)


@kernel_rule(ConvInteger, isa="armv7-m")
def conv_by_armv7m(task: Task[ConvInteger]) -> Kernel:
    return convolved(task, ARMV7M)


@kernel_rule(ConvInteger, isa="armv6-m")
def conv_by_armv6m(task: Task[ConvInteger]) -> Kernel:
    return convolved(task, ARMV6M)


@kernel_rule(LinearInteger, isa="dsp")
def linear_by_products(task: Task[LinearInteger]) -> Kernel:
    """By pairs of products of 16 bits."""
    return multiplied(task, PAIRS)


@kernel_variant(linear_by_products, "wide weights")
def linear_wide_by_products(task: Task[LinearInteger]) -> Kernel:
    """With weights of 16 bits, which need no unpacking."""
    return multiplied(task, WIDE_PAIRS)


@kernel_rule(LinearInteger, isa="mve")
def linear_by_vectors(task: Task[LinearInteger]) -> Kernel:
    """By vectors of products of 8 bits."""
    return multiplied(task, VECTORS)


@kernel_rule(LinearInteger, isa="armv7-m")
def linear_by_armv7m(task: Task[LinearInteger]) -> Kernel:
    return multiplied(task, ARMV7M)


@kernel_rule(LinearInteger, isa="armv6-m")
def linear_by_armv6m(task: Task[LinearInteger]) -> Kernel:
    return multiplied(task, ARMV6M)
