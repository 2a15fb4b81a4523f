"""The geometry of planar windows: which taps are inside the input, and how a row is cut into tiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tvm import tirx

from graphopt.ops import Window
from graphopt.targets.schedule import runs
from graphopt.targets.tir import Expr, Tensor, loop

Place = tuple[Expr, ...]
"""A position along each axis."""
Taps = tuple[Expr, Expr]
"""Taps [low, high) along an axis."""
Cut = Callable[[int, int], list[tuple[int, int, int]]]
"""Cuts so many pixels into runs (start, count, size) of tiles of at most so many."""


@dataclass(frozen=True)
class Plane:
    """Windows over a plane: the sizes of input and output and the window, each as (rows, columns).

    A volume has an axis before these. Pads may be negative, and a window may have no taps at all.
    """

    size: tuple[int, ...]
    out: tuple[int, ...]
    window: Window

    @property
    def rank(self) -> int:
        return len(self.out)

    def interior(self, axis: int) -> tuple[int, int]:
        """The output positions [first, last) along an axis whose windows lie completely inside the input."""
        window = self.window
        if not window.kernel[axis]:
            return 0, self.out[axis]
        stride, pad, extent = window.strides[axis], window.pads[axis], window.extent[axis]
        first = max(0, min(self.out[axis], -(-pad // stride)))
        last = (self.size[axis] + pad - extent) // stride + 1
        return first, max(first, min(self.out[axis], last))

    def taps(self, axis: int, at: Expr) -> Taps:
        """The taps [low, high) of the window at output position ``at`` that are inside the input."""
        window, kernel = self.window, self.window.kernel[axis]
        if self.interior(axis) == (0, self.out[axis]):
            return 0, kernel
        dilation, begin = window.dilations[axis], window.pads[axis] - at * window.strides[axis]
        low = tirx.max(0, tirx.floordiv(begin + dilation - 1, dilation))
        high = tirx.min(kernel, tirx.floordiv(begin + self.size[axis] + dilation - 1, dilation))
        return low, high

    def inside(self, axis: int, at: int) -> int:
        """How many taps of the window at an output position are inside the input."""
        first = at * self.window.strides[axis] - self.window.pads[axis]
        positions = range(first, first + self.window.extent[axis], self.window.dilations[axis])
        return sum(0 <= position < self.size[axis] for position in positions)

    def source(self, axis: int, at: Expr, tap: Expr) -> Expr:
        """The input position that a tap reads."""
        window = self.window
        return at * window.strides[axis] + tap * window.dilations[axis] - window.pads[axis]

    def tiles(self, pixels: int) -> list[tuple[int, int]]:
        """The tiles of a row, each its first column and its pixels, in the order of ``for_each_tile``."""
        first, last = self.interior(1)
        parts = runs(last - first, pixels)
        inside = [(first + start + i * size, size) for start, count, size in parts for i in range(count)]
        return [*inside, *((column, 1) for column in range(self.out[1]) if not first <= column < last)]

    def for_each_tile(self, pixels: int, emit: Callable[[Expr, int, Taps], None], cut: Cut = runs) -> None:
        """Cover a row by ``emit(column, pixels, taps)``: full tiles inside, single pixels at the borders."""
        across = self.rank - 1
        first, last = self.interior(across)
        for start, count, size in cut(last - first, pixels):
            with loop("tile", 0, count) as tile:
                emit(first + start + tile * size, size, (0, self.window.kernel[across]))
        border = first + self.out[across] - last
        if border:
            with loop("border", 0, border) as b:
                inside = last - first
                column = (
                    b if last == self.out[across] else tirx.Select(b < first, b, b + inside) if first else b + inside
                )
                emit(column, 1, self.taps(across, column))


def plane_window(window: Window) -> Window:
    """A window over one axis as one over (1, axis); others stay."""
    if window.rank > 1:
        return window
    (k,), (s,), (low, high), (d,) = window.kernel, window.strides, window.pads, window.dilations
    return Window((1, k), (1, s), (0, low, 0, high), (1, d))


def plane_of(spatial_in: tuple[int, ...], spatial_out: tuple[int, ...], window: Window) -> Plane:
    """The plane of a window over one or two axes, or the volume of one over three."""
    size, out = ((1, *sizes)[-max(2, len(sizes)) :] for sizes in (spatial_in, spatial_out))
    return Plane(size, out, plane_window(window))


def as_plane(tensor: Tensor) -> Tensor:
    """A tensor [n, c, l] as [n, c, 1, l]; others stay."""
    return tensor.insert_axis(2) if len(tensor.shape) == 3 else tensor


def as_row(tensor: Tensor) -> Tensor | None:
    """A tensor as [n, c, 1, pixels]; None if the strides do not allow it."""
    return as_plane(tensor).merge_axes(2)


def as_rows(tensor: Tensor) -> Tensor | None:
    """A tensor [..., k] as [1, k, 1, rows]; None if the strides of the leading axes do not allow it."""
    for axis in range(len(tensor.shape) - 2):
        merged = tensor.merge_axes(axis)
        if merged is None:
            return None
        tensor = merged
    rows, k = (1, *tensor.shape)[-2:]
    row_stride, stride = (0, *tensor.strides)[-2:]
    return replace(tensor, shape=(1, k, 1, rows), strides=(0, stride, 0, row_stride))


def swapped(plane: Plane) -> Plane:
    """A plane with its axes exchanged."""
    window = plane.window
    pads = window.pads[1], window.pads[0], window.pads[3], window.pads[2]
    turned = Window(window.kernel[::-1], window.strides[::-1], pads, window.dilations[::-1])
    return Plane(plane.size[::-1], plane.out[::-1], turned)


def as_swapped(tensor: Tensor) -> Tensor:
    """A tensor [n, c, h, w] as [n, c, w, h]."""
    plain = as_plane(tensor)
    n, c, h, w = plain.strides
    return replace(plain, shape=(*plain.shape[:2], *plain.shape[:1:-1]), strides=(n, c, w, h))
