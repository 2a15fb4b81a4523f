"""Transposed convolution of int8 by the routines of products: each phase of its strides is a convolution of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from graphopt.ir import Array
from graphopt.ops import ConvTransposeInteger, stored_form
from graphopt.rewrite import Decline
from graphopt.targets.kernels.base import Frame, Kernel, Scratch, Task, kernel_rule
from graphopt.targets.kernels.conv_transpose import MOST_KINDS, phases_of
from graphopt.targets.kernels.geometry import as_plane, plane_window
from graphopt.targets.kernels.product_kernels import stored_by_pixels
from graphopt.targets.kernels.product_loops import ProductsConv
from graphopt.targets.kernels.product_sets import ProductSet
from graphopt.targets.kernels.products import ARMV6M, ARMV7M, PAIRS, VECTORS
from graphopt.targets.kernels.quantized import zero_point_of
from graphopt.targets.kernels.scaling import bounds_by_channel, limited, parameters_of
from graphopt.targets.schedule import RegisterTile
from graphopt.targets.tir import Tensor
from graphopt.targets.weights import expect_whole


@dataclass(frozen=True)
class Phase:
    """The products of one phase, their constants, and where its results are: the first, and the strides of all."""

    products: ProductsConv
    packed: dict[str, Array]
    first: tuple[int, int]
    strides: tuple[int, int]

    def emit(self, frame: Frame, index: int) -> None:
        packed = {name: frame.packed[f"{name}_{index}"] for name in self.packed}
        self.products.emit(replace(frame, out=self.results(as_plane(frame.out)), packed=packed), frame.out.shape[0])

    def results(self, out: Tensor) -> Tensor:
        """Of a result [n, o, h, w] the elements of the phase."""
        n, o, down, across = out.strides
        offset = out.offset + self.first[0] * down + self.first[1] * across
        shape = (*out.shape[:2], *self.products.plane.out)
        return replace(
            out, shape=shape, strides=(n, o, self.strides[0] * down, self.strides[1] * across), offset=offset
        )


def transposed(task: Task[ConvTransposeInteger], by: ProductSet) -> Kernel:
    """The kernel of a transposed convolution over one or two axes, whose results are scaled to int8."""
    x, w, b = task.inputs
    if w.constant is None or b.constant is None or x.type.dtype != "int8" or x.type.rank > 4:
        raise Decline("it takes int8, constant weights, and one or two axes")
    if stored_form(w) not in by.codes:
        expect_whole(w)
    if task.op.group > 1:
        raise Decline("it has groups")
    if w.constant.min(initial=0) < by.least_weight:
        raise Decline(f"a weight is below {by.least_weight}")
    if task.region.tail is not None or len(task.region.epilogue) != 1:
        raise Decline("its results are not scaled to int8 alone")
    bounds = bounds_by_channel(task, w.constant.shape[1])
    scaling = by.scaled_sums(task, bounds)
    if scaling is None:
        raise Decline("its results are not scaled to int8, or its sums may need too many bits")
    by.check_sums(bounds[scaling[:, 0] != 0])
    phases = phases_by(task, by, b.constant.astype(np.int64), scaling)
    packed = {f"{name}_{i}": data for i, phase in enumerate(phases) for name, data in phase.packed.items()}
    scratch: dict[str, Scratch] = {}
    for phase in phases:
        for name, one in phase.products.scratch.items():
            scratch[name] = max(scratch.get(name, one), one, key=lambda known: known.size)

    def emit(frame: Frame) -> None:
        for i, phase in enumerate(phases):
            phase.emit(frame, i)

    tile = RegisterTile(phases[0].products.windows.pixels, phases[0].products.lanes)
    kernel = Kernel(task.op.name, emit, packed, (w, b), tile, {}, scratch, parameters_of(task))
    return limited(kernel, task) if stored_by_pixels(task, as_plane) else kernel


def phases_by(task: Task[ConvTransposeInteger], by: ProductSet, bias: Array, scaling: Array) -> list[Phase]:
    """All phases: a window without taps has no products."""
    x, w, _ = task.inputs
    assert w.constant is not None
    window = plane_window(task.op.window(w.type))
    size, out = ((1, *v.type.static_shape[2:])[-2:] for v in (x, task.result))
    weight = w.constant.swapaxes(0, 1).reshape(w.constant.shape[1], w.constant.shape[0], *window.kernel)
    zero_point, strides = zero_point_of(task.op), as_plane(task.strided(x)).strides
    direct = stored_by_pixels(task, as_plane)
    form = stored_form(w) if stored_form(w) in by.codes else None
    found = []
    for kind in phases_of(window, size, out):
        if not all(kind.plane.window.kernel):
            raise Decline("some results are reached by no tap")
        places = product(*(range(len(axis.taps)) for axis in kind.axes))
        for at, part in zip(places, kind.each_weight(weight), strict=True):
            windows = by.windows_of(form, kind.plane, part.shape[1], strides, zero_point)[0]
            rows = windows.in_order(part)
            products = by.loops(by, kind.plane, as_plane, windows, 1, *rows.shape, True, direct, None, form)
            starts = bias - zero_point * rows.sum(axis=1, dtype=np.int64)
            first = tuple(axis.first + i for axis, i in zip(kind.axes, at, strict=True))
            packed = {**products.stream(rows, starts, scaling), **windows.packed}
            found.append(Phase(products, packed, (first[0], first[1]), (window.strides[0], window.strides[1])))
    if len(found) > MOST_KINDS:
        raise Decline(f"it has {len(found)} phases, more than {MOST_KINDS}")
    return found


@kernel_rule(ConvTransposeInteger, isa="dsp")
def conv_transpose_by_products(task: Task[ConvTransposeInteger]) -> Kernel:
    """By pairs of products of 16 bits."""
    return transposed(task, PAIRS)


@kernel_rule(ConvTransposeInteger, isa="armv7-m")
def conv_transpose_by_armv7m(task: Task[ConvTransposeInteger]) -> Kernel:
    return transposed(task, ARMV7M)


@kernel_rule(ConvTransposeInteger, isa="armv6-m")
def conv_transpose_by_armv6m(task: Task[ConvTransposeInteger]) -> Kernel:
    return transposed(task, ARMV6M)


@kernel_rule(ConvTransposeInteger, isa="mve")
def conv_transpose_by_vectors(task: Task[ConvTransposeInteger]) -> Kernel:
    """By vectors of products of 8 bits."""
    return transposed(task, VECTORS)
