"""Integer convolution and matrix product by routines that sum many products of 8 bits at once, pixel by pixel.

A routine sums all channels of two pixels, or of one. Where the sums are requantised to int8 first of all, it does that
too, and stores the results, or leaves them in scratch for the rest of the epilogue; else it leaves the sums there. What
the instruction sets have each for itself is a ``ProductSet``: the routines, how windows reach them, and how weights are
packed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from graphopt.ir import Array, Op
from graphopt.ops import ConvInteger, LinearInteger, StoredForm, Window, stored_form
from graphopt.rewrite import Decline
from graphopt.targets.instructions import mve_products, products, thumb_products
from graphopt.targets.instructions.addition import ADD_SCALED
from graphopt.targets.instructions.armv6m_products import BY_CHANNEL
from graphopt.targets.instructions.armv7m_products import BY_ELEMENT
from graphopt.targets.instructions.base import Instruction
from graphopt.targets.instructions.dsp_codes import BEYOND, UNPACK, coded
from graphopt.targets.kernels.addition import Addition, addition_of
from graphopt.targets.kernels.base import (
    Frame,
    Kernel,
    Scratch,
    ScratchForm,
    Task,
    View,
    fitting,
    kernel_rule,
    kernel_variant,
)
from graphopt.targets.kernels.depthwise import depthwise_by_pairs
from graphopt.targets.kernels.geometry import Plane, as_plane, as_row, as_rows, plane_of
from graphopt.targets.kernels.mve_depthwise import depthwise_by_vectors
from graphopt.targets.kernels.mve_windows import ColumnWindows
from graphopt.targets.kernels.narrow import narrow_by_pairs
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
from graphopt.targets.schedule import RegisterTile, runs
from graphopt.targets.tir import Expr, Point, Tensor, loop
from graphopt.targets.weights import expect_whole, storage_of

GATHERED = 0.4
"""About the instructions of a multiplication more where the windows of a first layer are gathered."""
POINTWISE = Window.of((1, 1), (), ())


@dataclass(frozen=True)
class ProductSet:
    """The products of an instruction set.

    ``routines`` are found by whether they take one pixel, and whether they scale; ``loops`` call them. Sums are shifted
    up by ``bits``. ``windows`` gives their forms, at first the fastest. Where each channel is convolved by itself,
    ``depthwise`` gives the kernel; where windows have few channels, ``planar``, and where pixels alone do, ``narrow``,
    if that does not decline. ``codes`` unpack weights that are stored in fewer bits.
    """

    routines: Mapping[tuple[bool, bool], Instruction]
    loops: Callable[..., ProductsConv]
    windows: Callable[[Plane, int, tuple[int, ...], int], Sequence[Windows]]
    stream: Callable[[Array, Array, Array, int], Array]
    depthwise: Callable[[Task[ConvInteger], Plane, Array, Array], Kernel]
    planar: Callable[[Task[ConvInteger], str, Plane, Array], Kernel] | None = None
    narrow: Callable[[Task[Op], str, Plane, Array, View], Kernel] | None = None
    bits: int = 0
    least_weight: int = -128
    codes: Mapping[StoredForm, Instruction] = field(default_factory=dict)

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
    weight = weights_of(task, by)
    weight = weight.reshape(*weight.shape[:2], *plane.window.kernel)
    name = "conv_{}x{}".format(*plane.window.kernel)
    whole = storage_of(w).whole
    if by.planar is not None and whole:
        with suppress(Decline):
            planar = by.planar(task, name, plane, weight)
            return planar if task.op.group > 1 else in_less_room(task, planar, name, plane, weight, by)
    if task.op.group > 1:
        if n > 1:
            raise Decline("it has groups, and several samples")
        groups = partial(as_groups, groups=task.op.group)
        return products_kernel(task, name, task.op.group, plane, weight, groups, by)
    pointwise = plane.window == POINTWISE and task.region.tail is None
    if pointwise and as_row(task.strided(x)) is not None and task.allows(as_row):
        pixels = plane.out[0] * plane.out[1]
        row = Plane((1, pixels), (1, pixels), POINTWISE)
        if by.narrow is not None and whole:
            with suppress(Decline):
                return by.narrow(task, name, row, weight[:, :, 0, 0], as_row)
        return products_kernel(task, name, n, row, weight, as_row, by)
    return products_kernel(task, name, n, plane, weight, as_plane, by)


def in_less_room(task: Task[Op], planar: Kernel, name: str, plane: Plane, weight: Array, by: ProductSet) -> Kernel:
    """A kernel of few channels, or, where its scratch does not fit the room of a task, one that gathers windows."""
    try:
        gathering = products_kernel(task, name, task.inputs[0].type.static_shape[0], plane, weight, as_plane, by)
    except Decline:
        return planar
    least, slower = planar.forms[-1].nbytes, int(GATHERED * plane.out[0] * plane.out[1] * weight.size)
    fewer = [ScratchForm(one.nbytes, one.slower + slower) for one in gathering.forms if one.nbytes < least]
    chosen = gathering if fewer and task.room is not None and task.room < least else planar
    return replace(chosen, forms=(*planar.forms, *fewer))


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
    if stored_form(w) not in by.codes:
        expect_whole(w)
    if weight.min(initial=0) < by.least_weight:
        raise Decline(f"a weight is below {by.least_weight}")
    return weight


def as_groups(tensor: Tensor, groups: int) -> Tensor | None:
    """A sample as [groups, c / groups, h, w]."""
    plane = as_plane(tensor)
    if plane is None:
        return None
    (_, channels, *size), (_, step, *steps) = plane.shape, plane.strides
    each = channels // groups
    return replace(plane, shape=(groups, each, *size), strides=(each * step, step, *steps))


def products_kernel(
    task: Task[Op], name: str, batch: int, plane: Plane, weight: Array, view: View, by: ProductSet
) -> Kernel:
    """The kernel of a convolution over a plane; ``view`` gives tensors as [n, c, h, w], weight is [o, c, kh, kw].

    Where the convolution has groups, these are in the place of samples, and the weights are those of all.
    """
    x, w, b = task.inputs
    groups = task.op.group if isinstance(task.op, ConvInteger) else 1
    bounds = bounds_by_channel(task, len(weight))
    scaling = by.scaled_sums(task, bounds)
    by.check_sums(bounds if scaling is None else bounds[scaling[:, 0] != 0])
    assert b.constant is not None
    zero_point, seen = zero_point_of(task.op), view(task.strided(x))
    assert seen is not None
    forms = by.windows(plane, weight.shape[1], seen.strides, zero_point)
    rows = forms[0].in_order(weight)
    scales = scaling is not None
    direct = scales and stored_by_pixels(task, view)
    addition = addition_of(task, view) if scales and limits_of(task) is None else None
    form = stored_form(w) if stored_form(w) in by.codes else None
    sizes = groups, len(rows) // groups, rows.shape[1]
    kernel, offered = fitting(
        task, [by.loops(by, plane, view, one, *sizes, scales, direct, addition, form) for one in forms]
    )
    windows = kernel.windows
    bias = b.constant.astype(np.int64) - zero_point * rows.sum(axis=1, dtype=np.int64)
    numbers = np.zeros((len(rows), 0), np.int32) if scaling is None else scaling
    parts = zip(*(np.split(data, groups) for data in (rows, bias, numbers)), strict=True)
    streams = [kernel.stream(*part) for part in parts]
    weights = {of: np.concatenate([stream[of] for stream in streams]) for of in streams[0]}
    packed = {**weights, **windows.packed, **kernel.packed}
    reads = windows.reads(task, view, kernel.most, kernel.last) if x in task.covered else {}
    over = windows.over(task) if x in task.covered else {}
    absorbed = () if scaling is None else parameters_of(task)
    tile = RegisterTile(windows.pixels, kernel.lanes)
    emit = partial(kernel.emit, batch=batch)
    made = Kernel(name, emit, packed, (w, b), tile, reads, kernel.scratch, absorbed, over, offered)
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
    groups: int
    channels: int
    depth: int
    scales: bool
    direct: bool
    addition: Addition | None
    coded: StoredForm | None = None
    """The form of weights that are unpacked on the way."""

    def stream(self, rows: Array, bias: Array, scaling: Array) -> dict[str, Array]:
        """The constants of a group of channels that are convolved with each other."""
        return {"weight": self.by.stream(rows, bias, scaling, self.lanes)}

    @property
    def unpacked(self) -> Mapping[str, Scratch]:
        """Scratch for weights that are unpacked on the way."""
        return {}

    def weights(self, frame: Frame, n: Expr) -> tuple[Tensor, Expr]:
        """The stream, and where the part of a sample, or of a group in its place, begins."""
        packed = frame.packed["weight"]
        return packed, n * (packed.shape[0] // self.groups) if self.groups > 1 else 0

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
        return {} if self.addition is None else {"numbers": self.addition.numbers}

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

    @property
    def scratch(self) -> Mapping[str, Scratch]:
        return {**self.windows.scratch, **self.results, **self.unpacked}

    @property
    def effort(self) -> float:
        return self.windows.effort

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
                    self.write_scratch(frame, n, tile)
                    self.store_rest(frame, tail, n, tile)

            self.windows.each(frame, x, n, self.most, compute)

    @abstractmethod
    def store_scaled(self, frame: Frame, out: Tensor, n: Expr, tile: Tile) -> None:
        """The results of a tile, where they belong."""

    @abstractmethod
    def write_scratch(self, frame: Frame, n: Expr, tile: Tile) -> None:
        """The results of a tile into scratch, pixel by pixel."""

    def store_rest(self, frame: Frame, tail: Tail, n: Expr, tile: Tile) -> None:
        """What follows of the epilogue, on results in scratch."""
        if self.addition is not None:
            self.add(frame, self.addition, tail.out, n, tile)
            return
        epilogue, results = frame.epilogue(self.view, int(self.scales)), frame.scratch["results"]
        limits = limits_of(frame.task) if self.scales else None
        for slot in range(tile.pixels):
            with loop("o", 0, self.channels) as o:
                point = Point((n, o, *tile.at(slot)))
                value = results.load(Point((slot * self.row + o,)))
                tail.store(point, epilogue(value if limits is None else clamp(value, *limits), point))

    def add(self, frame: Frame, addition: Addition, out: Tensor, n: Expr, tile: Tile) -> None:
        """Add an operand to the results in scratch: to those of all pixels where these stand together."""
        other, results = self.view(frame.tensors[addition.other]), frame.scratch["results"]
        assert other is not None
        together = tile.pixels if self.row == self.channels and self.one_run else 1
        for slot in range(0, tile.pixels, together):
            first = tile.at(slot)
            operands = results.at(slot * self.row), other.at(n, 0, *first), out.at(n, 0, *first)
            ADD_SCALED.run(*operands, frame.packed["numbers"].at(0), together * self.channels)

    @property
    def one_run(self) -> bool:
        """Whether the pixels of a tile are of one row."""
        return True


class GroupProducts(ProductsConv):
    """By routines that write whole groups of channels, always of as many pixels."""

    @property
    def most(self) -> int:
        return self.windows.pixels

    @property
    def one_run(self) -> bool:
        return self.plane.out[0] == 1 or self.plane.out[1] % self.most == 0

    @property
    def results(self) -> Mapping[str, Scratch]:
        if not self.direct:
            return super().results
        return {"results": Scratch("int8", 2 * self.lanes)} if self.channels % self.lanes else {}

    def write_scratch(self, frame: Frame, n: Expr, tile: Tile) -> None:
        scratch = frame.scratch["results"]
        places = [partial(beside, scratch, slot * self.row) for slot in range(self.most)]
        self.run(frame, n, tile, places, 0, self.channels)

    def store_scaled(self, frame: Frame, out: Tensor, n: Expr, tile: Tile) -> None:
        """Full groups of channels go into the result, the last channels beside it.

        The second of one pixel is the first once more.
        """
        lanes, spare = self.lanes, frame.scratch.get("results")
        whole = self.channels // lanes * lanes
        if whole:
            places = [partial(at_channel, out, n, tile.at(slot)) for slot in range(tile.pixels)]
            self.run(frame, n, tile, [*places, *places[-1:] * (self.most - tile.pixels)], 0, whole)
        if spare and whole < self.channels:
            last = [partial(beside, spare, lanes * slot - whole) for slot in range(self.most)]
            self.run(frame, n, tile, last, whole, self.channels)
            for slot in range(tile.pixels):
                for o in range(self.channels - whole):
                    out.store(Point((n, whole + o, *tile.at(slot))), spare.load(Point((lanes * slot + o,))))

    def run(self, frame: Frame, n: Expr, tile: Tile, results: Sequence[Place], first: int, last: int) -> None:
        """The channels from ``first``, where a group begins, up to ``last``."""
        routine, count = self.routine(self.most), -(-(last - first) // self.lanes)
        weights, begin = self.weights(frame, n)  # in elements, or in rows of codes
        if self.coded is None:
            at = begin + first // self.lanes * (weights.shape[0] // self.groups * self.lanes // self.padded)
            routine.run(tile.window, weights.at(at), *(place(first) for place in results), self.blocks, count)
            return
        for start, parts, size in runs(count, self.at_once):
            with loop("part", 0, parts) as i:
                group = start + i * size
                stream = self.unpack(frame, begin + first // self.lanes + group, size)
                places = (place(first + group * self.lanes) for place in results)
                routine.run(tile.window, stream, *places, self.blocks, size)

    @property
    def blocks(self) -> int:
        """Of a window."""
        return -(-self.depth // products.BLOCK)

    @property
    def at_once(self) -> int:
        """Groups of channels whose weights are unpacked together."""
        return min(self.padded // self.lanes, max(1, UNPACKED_WORDS // (self.lanes * (self.blocks + 4))))

    @property
    def unpacked(self) -> Mapping[str, Scratch]:
        if self.coded is None:
            return {}
        return {"stream": Scratch("int32", self.at_once * self.lanes * (self.blocks + 4) + BEYOND)}

    def stream(self, rows: Array, bias: Array, scaling: Array) -> dict[str, Array]:
        if self.coded is None:
            return super().stream(rows, bias, scaling)
        codes, numbers = coded(rows, bias, scaling, self.lanes, self.coded)
        return {"weight": codes, "sums": numbers}

    def unpack(self, frame: Frame, group: Expr, count: int) -> Expr:
        """The stream of so many groups from one on, in scratch."""
        assert self.coded is not None
        codes, numbers = (frame.packed[name].at(group, 0) for name in ("weight", "sums"))
        target, words = frame.scratch["stream"].at(0), self.lanes * self.blocks
        others = 3 * self.lanes if self.scales else 0
        self.by.codes[self.coded].run(target, codes, numbers, words, self.lanes, others, count)
        return target


UNPACKED_WORDS = 256
"""Of weights in scratch, unless one group of channels has more."""
Place = Callable[[int | Expr], Expr]
"""A pointer to the result of a channel."""


def beside(scratch: Tensor, start: int, channel: Expr) -> Expr:
    return scratch.at(start + channel)


def at_channel(out: Tensor, n: Expr, at: tuple[Expr, Expr], channel: Expr) -> Expr:
    return out.at(n, channel, *at)


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
    def results(self) -> Mapping[str, Scratch]:
        return {} if self.direct else super().results

    def store_scaled(self, frame: Frame, out: Tensor, n: Expr, tile: Tile) -> None:
        self.run(frame, n, tile, out.at(n, 0, *tile.at(0)), out.strides[3])

    def write_scratch(self, frame: Frame, n: Expr, tile: Tile) -> None:
        self.run(frame, n, tile, frame.scratch["results"].at(0), self.row)

    def run(self, frame: Frame, n: Expr, tile: Tile, result: Expr, step: int) -> None:
        """All channels of a tile, to results that are ``step`` elements apart."""
        steps = (tile.step, step, tile.pixels) if tile.pixels > 1 else ()
        weights, begin = self.weights(frame, n)
        self.routine(tile.pixels).run(tile.window, weights.at(begin), result, *steps, self.depth, self.channels)


def by_pairs(form: products.Form) -> ProductSet:
    """The products of cores that multiply two pairs of 16 bits at once."""
    return ProductSet(
        form.routines,
        GroupProducts,
        partial(expanded_windows, form=form),
        form.stream,
        depthwise_by_pairs,
        planar_by_pairs,
        narrow_by_pairs,
        form.bits,
        form.least_weight,
        UNPACK if form is products.PACKED else {},
    )


PAIRS = by_pairs(products.PACKED)
WIDE_PAIRS = by_pairs(products.WIDE)
GATHERED_PAIRS = replace(PAIRS, windows=partial(gathered_windows, form=products.PACKED), planar=None, narrow=None)
"""For any windows the same few routines, which are few bytes: they are gathered into lines first."""
VECTORS = ProductSet(
    {
        (False, True): mve_products.MULTIPLY_WINDOWS,
        (False, False): mve_products.SUM_WINDOWS,
        (True, True): mve_products.MULTIPLY_WINDOW,
        (True, False): mve_products.SUM_WINDOW,
    },
    WholeProducts,
    lambda *given: [ColumnWindows(*given)],
    mve_products.stream,
    depthwise_by_vectors,
)


def by_elements(routines: thumb_products.Routines, by_element: bool) -> ProductSet:
    """The products of cores that multiply one element at a time."""
    return ProductSet(
        routines,
        WholeProducts,
        lambda plane, channels, strides, zero: [ColumnWindows(plane, channels, strides, zero, block=1)],
        partial(thumb_products.stream, by_element=by_element),
        depthwise_by_elements,
    )


ARMV7M = by_elements(BY_ELEMENT, by_element=True)
ARMV6M = by_elements(BY_CHANNEL, by_element=False)


@kernel_rule(ConvInteger, isa="dsp", strided=True)
def conv_by_products(task: Task[ConvInteger]) -> Kernel:
    """By pairs of products of 16 bits."""
    return convolved(task, PAIRS)


@kernel_variant(conv_by_products, "wide weights")
def conv_wide_by_products(task: Task[ConvInteger]) -> Kernel:
    """With weights of 16 bits, which need no unpacking."""
    expect_products(task)
    expect_whole(task.inputs[1])
    return convolved(task, WIDE_PAIRS)


@kernel_variant(conv_by_products, "gathered windows")
def conv_gathered_by_products(task: Task[ConvInteger]) -> Kernel:
    """By fewer bytes of code."""
    expect_products(task)
    return convolved(task, GATHERED_PAIRS)


def expect_products(task: Task[ConvInteger]) -> None:
    """Raise ``Decline`` where each channel is convolved by itself."""
    if task.inputs[1].type.shape[1] == 1:
        raise Decline("it has no products to sum over channels")


@kernel_rule(ConvInteger, isa="mve", strided=True)
def conv_by_vectors(task: Task[ConvInteger]) -> Kernel:
    """By vectors of products of 8 bits."""
    return convolved(task, VECTORS)


@kernel_rule(ConvInteger, isa="armv7-m", strided=True)
def conv_by_armv7m(task: Task[ConvInteger]) -> Kernel:
    return convolved(task, ARMV7M)


@kernel_rule(ConvInteger, isa="armv6-m", strided=True)
def conv_by_armv6m(task: Task[ConvInteger]) -> Kernel:
    return convolved(task, ARMV6M)


@kernel_rule(LinearInteger, isa="dsp", strided=True)
def linear_by_products(task: Task[LinearInteger]) -> Kernel:
    """By pairs of products of 16 bits."""
    return multiplied(task, PAIRS)


@kernel_variant(linear_by_products, "wide weights")
def linear_wide_by_products(task: Task[LinearInteger]) -> Kernel:
    """With weights of 16 bits, which need no unpacking."""
    expect_whole(task.inputs[1])
    return multiplied(task, WIDE_PAIRS)


@kernel_rule(LinearInteger, isa="mve", strided=True)
def linear_by_vectors(task: Task[LinearInteger]) -> Kernel:
    """By vectors of products of 8 bits."""
    return multiplied(task, VECTORS)


@kernel_rule(LinearInteger, isa="armv7-m", strided=True)
def linear_by_armv7m(task: Task[LinearInteger]) -> Kernel:
    return multiplied(task, ARMV7M)


@kernel_rule(LinearInteger, isa="armv6-m", strided=True)
def linear_by_armv6m(task: Task[LinearInteger]) -> Kernel:
    return multiplied(task, ARMV6M)
