"""Direct convolution of floats over strips of the input in scratch, with their padding: no tile is of a single pixel.

At the borders of its input a convolution goes pixel by pixel, with fewer taps. That costs narrow planes most. A copy of
the input costs little where many channels are computed of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from graphopt.ops import Conv, Window
from graphopt.rewrite import Decline
from graphopt.targets.kernels.base import Frame, Kernel, Task, kernel_rule
from graphopt.targets.kernels.geometry import Plane, as_plane, plane_of
from graphopt.targets.kernels.linear import product_of_pixels
from graphopt.targets.kernels.strips import MOST_INTERLEAVED, PaddedStrips
from graphopt.targets.kernels.tail import Tail
from graphopt.targets.kernels.tiled import Channels, PackedWeights, TiledConv, biased, finishing, pack_weights
from graphopt.targets.schedule import RegisterTile, Segment, channel_segments, choose_tile, runs, spread
from graphopt.targets.target import Target
from graphopt.targets.tir import loop
from graphopt.targets.weights import Storage, storage_of

STRIP_BYTES = 1 << 18
"""Of a strip: it stays in the second cache, and weights are read from far only a few times."""
LATENCY = 8
"""Multiply-adds of vectors that are under way at once: a tile takes no less than these for each of its taps."""
COPY = 3
"""What a vector costs to copy, in multiply-adds."""
LEAST_GAIN = 0.03
"""For which a copy is made."""
MOST_POINTERS = 8
"""Pixels of a tile across rows, each of which has a pointer of its own."""


@kernel_rule(Conv, isa="llvm", strided=True)
def conv_of_strips(task: Task[Conv]) -> Kernel:
    """Convolution over one or two axes, where a copy of its input saves more than it costs; of pixels a product."""
    x, w, b = task.inputs
    if w.constant is None or b.constant is None or x.type.rank > 4 or x.type.dtype != "float32":
        raise Decline("it takes float32 over one or two axes, and constant weights")
    (n, c, *size), (_, o, *out) = x.type.static_shape, task.result.type.static_shape
    channels = Channels(task.op.group, c // task.op.group, o // task.op.group)
    if channels.group_in == channels.group_out == 1:
        raise Decline("each group is one channel")
    plane, weight = plane_of(tuple(size), tuple(out), task.op.window(w.type)), w.constant
    if plane.window == Window.of((1, 1), (), ()):
        return product_of_pixels(task, weight, b.constant)
    tiling = Tiling.of(task.target, plane, channels.group_out)
    strips = PaddedStrips(plane, c, 0, "float32", task.target.lanes, tiling.tile.pixels, STRIP_BYTES)
    copy = copy_cost(strips, side_by_side=as_plane(task.strided(x)).strides[1] == 1)
    blocks = channels.group_in * -(-o // (task.target.lanes * tiling.tile.vectors))
    saved = 1 - (plane_taps(plane) * tiling.cost * blocks + copy) / (direct_cost(task.target, plane, channels) * blocks)
    if saved < LEAST_GAIN:
        raise Decline(f"a copy of its input would save {max(0.0, saved):.0%}")
    kernel = StripConv(
        strips, channels, tiling, channel_segments(o // task.op.group, task.target.lanes, tiling.tile.vectors)
    )
    storage = storage_of(w)
    weight = weight.reshape(*weight.shape[:2], *plane.window.kernel)
    packed = {"bias": b.constant, **storage.pack(weight, lambda data: pack_weights(data, channels, kernel.segments))}
    name, scratch = "conv_" + "x".join(map(str, plane.window.kernel)), {"strip": strips.scratch}
    return Kernel(name, lambda frame: kernel.emit(frame, n, storage), packed, (w, b), tiling.tile, scratch=scratch)


@dataclass(frozen=True)
class Tiling:
    """Tiles of rows, or across them where rows do not fill tiles; and the cost of one tap of all tiles."""

    tile: RegisterTile
    across_rows: bool
    cost: int

    @classmethod
    def of(cls, target: Target, plane: Plane, channels: int) -> Tiling:
        height, width = plane.out
        row, across = (choose_tile(target, pixels, channels) for pixels in (width, height * width))
        by_row = cls(row, False, height * tiles_cost(spread(width, row.pixels), row.vectors))
        by_plane = cls(across, True, tiles_cost(spread(height * width, across.pixels), across.vectors))
        better = by_plane.cost < (1 - LEAST_GAIN) * by_row.cost and across.vectors == row.vectors
        return by_plane if better and across.pixels <= MOST_POINTERS else by_row


def tiles_cost(tiles: Iterable[tuple[int, int, int]], vectors: int) -> int:
    """Of one tap of so many tiles, in multiply-adds of vectors."""
    return sum(count * max(LATENCY, size * vectors) for _, count, size in tiles)


def plane_taps(plane: Plane) -> int:
    return plane.window.kernel[0] * plane.window.kernel[1]


def direct_cost(target: Target, plane: Plane, channels: Channels) -> int:
    """Of all tiles of a convolution without a copy, for one channel of the input and one block of the result.

    Never nothing, though windows may read padding alone.
    """
    first, last = plane.interior(1)
    tile = choose_tile(target, max(1, last - first), channels.group_out)
    inside = plane.window.kernel[1] * tiles_cost(runs(last - first, tile.pixels), tile.vectors)
    border = sum(plane.inside(1, x) for x in range(plane.out[1]) if not first <= x < last)
    rows = sum(plane.inside(0, y) for y in range(plane.out[0]))
    return max(1, rows * (inside + border * max(LATENCY, tile.vectors)))


def copy_cost(strips: PaddedStrips, side_by_side: bool) -> float:
    """Of the copies of all strips; channels that do not stand side by side are copied one by one."""
    elements = sum(count * strips.elements(size) for _, count, size in runs(strips.plane.out[strips.axis], strips.size))
    return COPY * elements / (strips.lanes if side_by_side or strips.channels <= MOST_INTERLEAVED else 1)


@dataclass(frozen=True)
class StripConv:
    """The loops: batch, strip, and the tiled convolution of the strip."""

    strips: PaddedStrips
    channels: Channels
    tiling: Tiling
    segments: list[Segment]

    def emit(self, frame: Frame, batch: int, storage: Storage) -> None:
        task, strips = frame.task, self.strips
        x, tail = as_plane(frame.tensors[task.inputs[0]]), Tail(frame, as_plane)
        tail.prefill()
        weights = PackedWeights(frame.packed, storage, "float32", task.target.codegen)
        start, strip = biased(frame.packed["bias"]), strips.view(frame.scratch["strip"])
        with loop("n", 0, batch) as n:
            for begin, count, size in runs(strips.plane.out[strips.axis], strips.size):
                with loop("strip", 0, count) as i:
                    first = begin + i * size
                    strips.write(frame.scratch["strip"], x, n, first, size)
                    TiledConv(
                        strip,
                        self.channels,
                        strips.plane_of(size),
                        self.tiling.tile.pixels,
                        weights,
                        start,
                        finishing(frame, as_plane, tail, partial(strips.place, first)),
                        cut=spread,
                        across_rows=self.tiling.across_rows,
                    ).emit_sample(n, self.segments)
