"""Transposed convolution by phases: results whose positions differ by multiples of the strides see the same taps.

So each phase is a small dense convolution of the input, with strides of one and the taps in reverse; its results stand
the strides apart. Phases side by side whose windows are alike share one loop.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, product

import numpy as np

from graphopt.ir import Array
from graphopt.ops import ConvTranspose, ConvTransposeInteger, Window
from graphopt.rewrite import Decline
from graphopt.targets.kernels.base import Frame, Kernel, Task, kernel_rule
from graphopt.targets.kernels.channelwise import emit_windows, weighted, window_tile
from graphopt.targets.kernels.geometry import Place, Plane, as_plane, plane_window
from graphopt.targets.kernels.quantized import folded_zero_point, prove_no_overflow, zero_point_of
from graphopt.targets.kernels.tail import Tail
from graphopt.targets.kernels.tiled import Channels, PackedWeights, TiledConv, biased, finishing, pack_weights
from graphopt.targets.schedule import RegisterTile, Segment, channel_segments, choose_tile
from graphopt.targets.target import Target
from graphopt.targets.tir import Expr, Tensor, loop
from graphopt.targets.weights import storage_of

MOST_KINDS = 16
"""Of windows, each of which is code of its own."""


@dataclass(frozen=True)
class AxisPhases:
    """Phases of one axis side by side: the first result of each, and its taps in the order of the input.

    Windows are alike: each has ``dilation``, ``pad`` (below zero if the first begins further in) and ``out`` results.
    """

    first: int
    taps: tuple[tuple[int, ...], ...]
    dilation: int
    pad: int
    out: int


def axis_phases(window: Window, axis: int, out: int) -> list[AxisPhases]:
    """The phases of an axis with ``out`` results."""
    stride, dilation, pad = window.strides[axis], window.dilations[axis], window.pads[axis]
    step = stride // math.gcd(stride, dilation)

    def taps(first: int) -> tuple[int, ...]:
        return tuple(t for t in range(window.kernel[axis]) if (first + pad - t * dilation) % stride == 0)

    def alike(first: int) -> tuple[int, int, int]:
        """Of a phase: its taps, its pad and its results."""
        found, results = taps(first), -(-(out - first) // stride)
        return len(found), -((first + pad - found[-1] * dilation) // stride) if found else 0, results

    return [
        AxisPhases(phases[0], tuple(taps(first)[::-1] for first in phases), step * dilation // stride, begin, count)
        for (_, begin, count), phases in ((key, list(group)) for key, group in groupby(range(min(stride, out)), alike))
    ]


@dataclass(frozen=True)
class Phases:
    """Phases whose windows over ``plane`` are alike, by axis; their results stand ``strides`` apart."""

    axes: tuple[AxisPhases, ...]
    plane: Plane
    strides: tuple[int, ...]

    def each_weight(self, weight: Array) -> Iterator[Array]:
        """Of weights [o, i, *k] those of each phase."""
        for taps in product(*(axis.taps for axis in self.axes)):
            yield weight[np.ix_(range(weight.shape[0]), range(weight.shape[1]), *taps)]

    @property
    def padded(self) -> bool:
        """Whether some window is not whole."""
        return any(self.plane.interior(axis) != (0, out) for axis, out in enumerate(self.plane.out))

    def place(self, phase: Place, at: Place) -> Place:
        """Where the result has a place of a phase."""
        parts = zip(self.axes, phase, at, self.strides, strict=True)
        return tuple(axis.first + i + position * stride for axis, i, position, stride in parts)


def phases_of(window: Window, size: tuple[int, ...], out: tuple[int, ...]) -> list[Phases]:
    """All phases of a transposed convolution, by kinds of windows."""
    by_axis = [axis_phases(window, axis, count) for axis, count in enumerate(out)]
    found = []
    for axes in product(*by_axis):
        kernel = tuple(len(axis.taps[0]) for axis in axes)
        pads = (*(axis.pad for axis in axes), *(0,) * len(axes))
        dense = Window(kernel, (1,) * len(axes), pads, tuple(axis.dilation for axis in axes))
        found.append(Phases(axes, Plane(size, tuple(axis.out for axis in axes), dense), window.strides))
    return found


@kernel_rule(ConvTranspose, ConvTransposeInteger, isa="llvm", strided=True)
@kernel_rule(ConvTranspose, ConvTransposeInteger, isa="c", strided=True)
def conv_transpose_kernel(task: Task[ConvTranspose | ConvTransposeInteger]) -> Kernel:
    """By phases, with constant weights; where it declines, each result is gathered."""
    x, w, b = task.inputs
    if w.constant is None or b.constant is None:
        raise Decline("its weights are computed at run time")
    window = plane_window(task.op.window(w.type))
    inputs, outputs = x.type.static_shape[1], task.result.type.static_shape[1]
    size, out = ((1, *v.type.static_shape[2:])[-window.rank :] for v in (x, task.result))
    kinds = phases_of(window, size, out)
    if len(kinds) > MOST_KINDS:
        raise Decline(f"at strides {window.strides} its windows are of {len(kinds)} kinds, more than {MOST_KINDS}")
    channels = Channels(task.op.group, inputs // task.op.group, outputs // task.op.group)
    # [c, o / group, *k] as [o, c / group, *k]
    grouped = w.constant.reshape(channels.group, channels.group_in, channels.group_out, *window.kernel)
    weight = np.ascontiguousarray(grouped.swapaxes(1, 2)).reshape(outputs, channels.group_in, *window.kernel)
    parts = [Part.of(task, phases, channels, weight, b.constant) for phases in kinds]
    weights = np.concatenate([part.weight for part in parts])
    if not weights.size:
        raise Decline("no tap reaches its result")
    storage = storage_of(w)
    if storage.by_channel:
        raise Decline("its weights have factors of groups")
    biases = np.concatenate([part.bias for part in parts])
    packed = {"bias": biases if biases.size else b.constant, **storage.pack(weights)}

    def emit(frame: Frame) -> None:
        at_weight = at_bias = 0
        for part in parts:
            start = PackedWeights(frame.packed, storage, task.result.type.dtype, task.target.codegen, start=at_weight)
            part.emit(frame, start, frame.packed["bias"], at_bias)
            at_weight, at_bias = at_weight + len(part.weight), at_bias + len(part.bias)

    return Kernel(task.op.name, emit, packed, replaced=(w, b), tile=parts[0].tile)


def is_depthwise(target: Target, channels: Channels, plane: Plane) -> bool:
    """Whether vectors are of channels of one pixel, each with its own weights."""
    return target.lanes > 1 and channels.group_in == channels.group_out == 1 and plane.rank == 2


@dataclass(frozen=True)
class Part:
    """Phases whose windows are alike, and their packed weights.

    With a zero point each has a bias of its own, into which it is folded where windows are whole.
    """

    phases: Phases
    channels: Channels
    tile: RegisterTile
    segments: list[Segment]
    weight: Array
    bias: Array
    zero_point: int

    @classmethod
    def of(
        cls,
        task: Task[ConvTranspose | ConvTransposeInteger],
        phases: Phases,
        channels: Channels,
        weight: Array,
        bias: Array,
    ) -> Part:
        """The phases of weights [o, i, *k]; raises ``Unsupported`` if sums of integers may overflow."""
        depthwise = is_depthwise(task.target, channels, phases.plane)
        first, last = phases.plane.interior(phases.plane.rank - 1)
        integers = "int" in task.result.type.dtype
        tile = choose_tile(task.target, max(1, last - first), channels.group_out, integers)
        segments = channel_segments(channels.group_out, task.target.lanes, tile.vectors)
        weights, biases, zero_point = [], [], 0
        for part in phases.each_weight(weight):
            prove_no_overflow(task.op, part, bias, task.inputs[0].type.dtype, task.region.node.name)
            folded, zero_point = folded_zero_point(task.op, part, bias, phases.padded)
            packed = part[:, 0].transpose(1, 2, 0).ravel() if depthwise else pack_weights(part, channels, segments)
            weights.append(packed)
            biases.append(folded if zero_point_of(task.op) else bias[:0])
        tile = window_tile(task, phases.plane) if depthwise else tile
        return cls(phases, channels, tile, segments, np.concatenate(weights), np.concatenate(biases), zero_point)

    def emit(self, frame: Frame, weights: PackedWeights, bias: Tensor, first_bias: int) -> None:
        """The loops over phases, and of each its convolution; it is given where its weights and its bias begin."""
        x = as_plane(frame.tensors[frame.task.inputs[0]])
        counts = [len(axis.taps) for axis in self.phases.axes]
        with ExitStack() as loops:
            phase = tuple(loops.enter_context(loop("phase", 0, count)) for count in counts)
            index: Expr = 0
            for i, count in zip(phase, counts, strict=True):
                index = index * count + i
            each = math.prod(counts)
            weights = replace(weights, start=weights.start + index * (len(self.weight) // each))
            start = biased(bias, first_bias + index * (len(self.bias) // each))
            place, plane = partial(self.phases.place, phase), self.phases.plane
            if is_depthwise(frame.task.target, self.channels, plane):
                columns, channels = plane.window.kernel[1], self.channels.group
                emit_windows(frame, plane, weighted(weights, columns, channels, start, self.zero_point), place)
                return
            store = finishing(frame, as_plane, Tail(frame, as_plane), place)
            pixels = self.tile.pixels
            tiled = TiledConv(x, self.channels, plane, pixels, weights, start, store, self.zero_point)
            tiled.emit(x.shape[0], self.segments)
