"""Kernels of integer convolution and matrix product by routines that sum many products of 8 bits at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np

from graphopt.ir import Array, Op, Value
from graphopt.ops import ConvInteger, LinearInteger, Window, stored_form
from graphopt.rewrite import Decline
from graphopt.targets.kernels.addition import addition_of
from graphopt.targets.kernels.base import (
    Kernel,
    ScratchForm,
    Task,
    View,
    fitting,
)
from graphopt.targets.kernels.geometry import Plane, as_plane, as_row, as_rows, plane_of
from graphopt.targets.kernels.order import result_of, tiled_reads
from graphopt.targets.kernels.product_sets import ProductSet
from graphopt.targets.kernels.quantized import prove_no_overflow, zero_point_of
from graphopt.targets.kernels.scaling import (
    bounds_by_channel,
    limited,
    limits_of,
    parameters_of,
)
from graphopt.targets.plan import Overlap
from graphopt.targets.schedule import RegisterTile
from graphopt.targets.tir import Tensor
from graphopt.targets.weights import expect_whole, storage_of

GATHERED = 0.4
"""About the instructions of a multiplication more where the windows of a first layer are gathered."""
POINTWISE = Window.of((1, 1), (), ())


def convolved(task: Task[ConvInteger], by: ProductSet) -> Kernel:
    """Convolution over one or two axes, of all channels or of each by itself; it notes which special form gave way."""
    notes: list[str] = []
    kernel = convolved_by(task, by, notes)
    return replace(kernel, notes=(*kernel.notes, *notes))


@contextmanager
def giving_way(notes: list[str], form: str) -> Iterator[None]:
    """Goes on behind what declines, and notes why."""
    try:
        yield
    except Decline as why:
        notes.append(f"{form} declined: {why}")


def convolved_by(task: Task[ConvInteger], by: ProductSet, notes: list[str]) -> Kernel:
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
        with giving_way(notes, "rows of few channels"):
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
        if by.narrow is not None and whole and x.type.dtype == "int8":
            with giving_way(notes, "channel by channel over runs of pixels"):
                return by.narrow(task, name, row, weight[:, :, 0, 0], as_row)
        return products_kernel(task, name, n, row, weight, as_row, by)
    return products_kernel(task, name, n, plane, weight, as_plane, by)


def in_less_room(task: Task[Op], planar: Kernel, name: str, plane: Plane, weight: Array, by: ProductSet) -> Kernel:
    """A kernel of few channels, or, where its scratch does not fit the room of a task, one that gathers windows."""
    try:
        gathering = products_kernel(task, name, task.inputs[0].type.static_shape[0], plane, weight, as_plane, by)
    except Decline:
        return planar
    return or_in_less_room(task, planar, gathering, int(GATHERED * plane.out[0] * plane.out[1] * weight.size))


def or_in_less_room(task: Task[Op], fast: Kernel, slow: Kernel, slower: int) -> Kernel:
    """A kernel, or, where its scratch does not fit the room of a task, one of about so many more instructions."""
    least = fast.forms[-1].nbytes
    fewer = [ScratchForm(one.nbytes, one.slower + slower) for one in slow.forms if one.nbytes < least]
    chosen = slow if fewer and task.room is not None and task.room < least else fast
    return replace(chosen, forms=(*fast.forms, *fewer))


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
    if weight is None or b.constant is None:
        raise Decline("it takes constant weights")
    by.of(x.type.dtype)
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
    by = by.of(x.type.dtype)
    groups = task.op.group if isinstance(task.op, ConvInteger) else 1
    bounds = bounds_by_channel(task, len(weight))
    scaling = by.scaled_sums(task, bounds)
    by.check_sums(bounds if scaling is None else bounds[scaling[:, 0] != 0])
    assert b.constant is not None
    zero_point, seen = zero_point_of(task.op) + by.offset, view(task.strided(x))
    assert seen is not None
    form = stored_form(w) if stored_form(w) in by.codes else None
    forms = by.windows_of(form, plane, weight.shape[1], seen.strides, zero_point)
    rows = forms[0].in_order(weight)
    scales = scaling is not None
    direct = scales and stored_by_pixels(task, view)
    addition = addition_of(task, view) if scales and limits_of(task) is None else None
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
    reads: Mapping[Value, Overlap] = {}
    if x in task.covered and kernel.returns and kernel.last is not None:
        reads = tiled_reads(task, plane, view, kernel.most, kernel.last)
    elif x in task.covered:
        reads = windows.reads(task, view, kernel.most, kernel.last)
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
