"""Integer convolution and matrix product by routines that sum many products of 8 bits at once, pixel by pixel.

A routine sums all channels of two pixels, or of one. Where the sums are scaled to int8 at once, it stores them; else it
leaves sums in scratch, which the epilogue reads. What the instruction sets have each for itself is a ``ProductSet``:
the routines, how windows reach them, and how weights are packed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from graphopt.ir import Array, Op
from graphopt.ops import ConvInteger, LinearInteger, Window
from graphopt.rewrite import Decline
from graphopt.targets.instructions import mve_products, products
from graphopt.targets.instructions.base import Instruction
from graphopt.targets.kernels.base import Frame, Kernel, Scratch, Task, View, kernel_rule
from graphopt.targets.kernels.depthwise import depthwise_by_pairs
from graphopt.targets.kernels.geometry import Plane, as_plane, as_row, as_rows, plane_of
from graphopt.targets.kernels.mve_depthwise import depthwise_by_vectors
from graphopt.targets.kernels.mve_windows import ColumnWindows
from graphopt.targets.kernels.quantized import bits_of, grouped_factors, prove_no_overflow, zero_point_of
from graphopt.targets.kernels.scaling import bounds_by_channel, parameters_of, scaling_of, shifted_up
from graphopt.targets.kernels.tail import Tail
from graphopt.targets.kernels.windows import ExpandedWindows, Position, Windows
from graphopt.targets.schedule import RegisterTile
from graphopt.targets.tir import Expr, Point, Tensor, loop

POINTWISE = Window.of((1, 1), (), ())


@dataclass(frozen=True)
class ProductSet:
    """The products of an instruction set.

    ``routines`` are found by whether they take one pixel, and whether they scale. If they are ``exact``, they are called
    for a depth and channels, and write so many; else for blocks and groups of channels, always of as many pixels. Sums
    are shifted up by ``bits``. Where each channel is convolved by itself, ``depthwise`` gives the kernel.
    """

    routines: Mapping[tuple[bool, bool], Instruction]
    windows: Callable[[Plane, int, int], Windows]
    stream: Callable[[Array, Array, Array, int], Array]
    depthwise: Callable[[Task[ConvInteger], Plane, Array, Array], Kernel]
    exact: bool
    bits: int = 0
    least_weight: int = -128

    def check_sums(self, bounds: Array) -> None:
        """Raise ``Decline`` unless all sums, of these least and greatest ones, stay exact when they are shifted up."""
        if bounds.size and max(-bounds.min(), bounds.max()) >= 1 << 31 - self.bits:
            raise Decline(f"its sums may need more than {32 - self.bits} bits")

    def scaled_sums(self, task: Task[Op], bounds: Array) -> Array | None:
        """The scaling of the sums as routines have them, shifted up; None where they do not scale."""
        scaling = scaling_of(task, len(bounds))
        try:
            return None if scaling is None else shifted_up(scaling, bounds, self.bits)
        except Decline:
            return None


PAIRS = ProductSet(
    {
        (False, True): products.MULTIPLY_PAIRS,
        (False, False): products.SUM_PAIRS,
        (True, True): products.MULTIPLY_ROW,
        (True, False): products.SUM_ROW,
    },
    ExpandedWindows,
    products.stream,
    depthwise_by_pairs,
    exact=False,
    bits=products.FACTOR_BITS,
    least_weight=products.LEAST_WEIGHT,
)
VECTORS = ProductSet(
    {
        (False, True): mve_products.MULTIPLY_WINDOWS,
        (False, False): mve_products.SUM_WINDOWS,
        (True, True): mve_products.MULTIPLY_WINDOW,
        (True, False): mve_products.SUM_WINDOW,
    },
    ColumnWindows,
    mve_products.stream,
    depthwise_by_vectors,
    exact=True,
)


@kernel_rule(ConvInteger, isa="dsp")
def conv_by_pairs(task: Task[ConvInteger]) -> Kernel:
    """A convolution, as ``conv_by_products``."""
    return conv_by_products(task, PAIRS)


@kernel_rule(ConvInteger, isa="mve")
def conv_by_vectors(task: Task[ConvInteger]) -> Kernel:
    """A convolution, as ``conv_by_products``."""
    return conv_by_products(task, VECTORS)


@kernel_rule(LinearInteger, isa="dsp")
def linear_by_pairs(task: Task[LinearInteger]) -> Kernel:
    """A matrix product, as ``linear_by_products``."""
    return linear_by_products(task, PAIRS)


@kernel_rule(LinearInteger, isa="mve")
def linear_by_vectors(task: Task[LinearInteger]) -> Kernel:
    """A matrix product, as ``linear_by_products``."""
    return linear_by_products(task, VECTORS)


def conv_by_products(task: Task[ConvInteger], by: ProductSet) -> Kernel:
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
    if plane.window == POINTWISE and task.region.tail is None:
        if as_row(task.strided(x)) is not None and task.allows(as_row):
            pixels = plane.out[0] * plane.out[1]
            return products_kernel(task, "conv_1x1", n, Plane((1, pixels), (1, pixels), POINTWISE), weight, as_row, by)
    return products_kernel(task, "conv_{}x{}".format(*plane.window.kernel), n, plane, weight, as_plane, by)


def linear_by_products(task: Task[LinearInteger], by: ProductSet) -> Kernel:
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
    if bits_of(task.op, weight) != 8 or grouped_factors(task.op, weight) is not None:
        raise Decline("its weights are packed in fewer bits")
    if weight.min(initial=0) < by.least_weight:
        raise Decline(f"a weight is below {by.least_weight}")
    return weight


def products_kernel(
    task: Task[Op], name: str, batch: int, plane: Plane, weight: Array, view: View, by: ProductSet
) -> Kernel:
    """The kernel of a convolution over a plane; ``view`` views its tensors as [n, c, h, w], weight is [o, c, kh, kw]."""
    x, w, b = task.inputs
    bounds = bounds_by_channel(task, len(weight))
    scaling = by.scaled_sums(task, bounds) if stored_by_pixels(task, view) else None
    by.check_sums(bounds if scaling is None else bounds[scaling[:, 0] != 0])
    assert b.constant is not None
    zero_point, seen = zero_point_of(task.op), view(task.strided(x))
    assert seen is not None
    windows = by.windows(plane, weight.shape[1], zero_point)
    rows = windows.ordered(weight)
    kernel = ProductsConv(by, plane, view, windows, len(rows), rows.shape[1], scaling is not None)
    bias = b.constant.astype(np.int64) - zero_point * rows.sum(axis=1, dtype=np.int64)
    numbers = np.zeros((len(rows), 0), np.int32) if scaling is None else scaling
    packed = {"weight": by.stream(rows, bias, numbers, kernel.lanes), **windows.packed(seen)}
    scratch = {**windows.scratch(seen), **kernel.results}
    last = (len(rows) - 1) % kernel.lanes + 1 if kernel.scales else len(rows)
    reads = windows.reads(task, view, last) if x in task.covered else {}
    replaced = (w, b) if scaling is None else (w, b, *parameters_of(task))
    tile = RegisterTile(windows.pixels, kernel.lanes)
    return Kernel(name, lambda f: kernel.emit(f, batch), packed, replaced, tile, reads, scratch)


def stored_by_pixels(task: Task[Op], view: View) -> bool:
    """Whether all channels of a pixel of the result stand together."""
    if task.region.tail is not None:
        return False
    seen = view(Tensor(None, task.region.head.type.dtype, task.out.shape, task.out.strides))
    return seen is not None and (seen.strides[1] == 1 or seen.shape[1] == 1)


@dataclass(frozen=True)
class ProductsConv:
    """The loops of one convolution: batch, pixels, and channels within the routine."""

    by: ProductSet
    plane: Plane
    view: View
    windows: Windows
    channels: int
    depth: int
    scales: bool

    @property
    def lanes(self) -> int:
        """Channels of a group."""
        return self.routine(self.windows.pixels).lanes

    @property
    def padded(self) -> int:
        """The channels of all groups."""
        return -(-self.channels // self.lanes) * self.lanes

    @property
    def results(self) -> Mapping[str, Scratch]:
        """Scratch for sums; or for what routines write that has no place in the result."""
        pixels = self.windows.pixels
        if not self.scales:
            return {"results": Scratch("int32", pixels * self.padded)}
        spare = self.plane.out[0] * self.plane.out[1] % pixels
        return {} if self.by.exact else {"results": Scratch("int8", 2 * self.lanes + spare * self.padded)}

    def routine(self, pixels: int) -> Instruction:
        return self.by.routines[pixels == 1, self.scales]

    def emit(self, frame: Frame, batch: int) -> None:
        x = self.view(frame.tensors[frame.task.inputs[0]])
        assert x is not None
        tail = Tail(frame, self.view)
        tail.prefill()
        with loop("n", 0, batch) as n:

            def compute(positions: list[Position], pointers: list[Expr]) -> None:
                if self.scales:
                    self.store_scaled(frame, pointers, tail.out, n, positions)
                else:
                    self.store_sums(frame, pointers, tail, n, positions)

            self.windows.each(frame, x, n, compute)

    def store_sums(self, frame: Frame, windows: list[Expr], tail: Tail, n: Expr, positions: list[Position]) -> None:
        sums = frame.scratch["results"]
        pixels = len(positions) if self.by.exact else self.windows.pixels
        self.run(frame, windows, [sums.at(slot * self.padded) for slot in range(pixels)], 0, self.channels)
        epilogue = frame.epilogue(self.view)
        for slot, position in enumerate(positions):
            with loop("o", 0, self.channels) as o:
                point = Point((n, o, *position))
                tail.store(point, epilogue(sums.load(Point((slot * self.padded + o,))), point))

    def store_scaled(
        self, frame: Frame, windows: list[Expr], out: Tensor, n: Expr, positions: list[Position]
    ) -> None:
        places = [out.at(n, 0, *position) for position in positions]
        if self.by.exact:
            self.run(frame, windows, places, 0, self.channels)
        else:
            self.store_groups(frame, windows, out, n, positions, places)

    def store_groups(
        self, frame: Frame, windows: list[Expr], out: Tensor, n: Expr, positions: list[Position], places: list[Expr]
    ) -> None:
        """Full groups of channels go into the result, the last channels and the second of one pixel beside it."""
        lanes, spare, pixels = self.lanes, frame.scratch["results"], self.windows.pixels
        places = [*places, *[spare.at(2 * lanes)] * (pixels - len(places))]
        whole = self.channels // lanes * lanes
        if whole:
            self.run(frame, windows, places, 0, whole)
        if whole < self.channels:
            beside = [spare.at(lanes * slot) for slot in range(pixels)]
            self.run(frame, windows, beside, whole, self.channels)
            for slot, position in enumerate(positions):
                for o in range(self.channels - whole):
                    out.store(Point((n, whole + o, *position)), spare.load(Point((lanes * slot + o,))))

    def run(self, frame: Frame, windows: list[Expr], results: list[Expr], first: int, last: int) -> None:
        """The channels from ``first``, where a group begins, up to ``last``."""
        routine, packed = self.routine(len(results)), frame.packed["weight"]
        weights = packed.at(first // self.lanes * (packed.shape[0] * self.lanes // self.padded))
        channels = last - first
        size = (self.depth, channels) if self.by.exact else (-(-self.depth // routine.depth), -(-channels // self.lanes))
        routine.run(*windows, weights, *results, *size)
