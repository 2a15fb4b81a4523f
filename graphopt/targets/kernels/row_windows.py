"""Expanded windows whose rows are expanded once, for a run of pixels side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tvm import tirx

from graphopt.ir import Op, Value
from graphopt.rewrite import Decline
from graphopt.targets.instructions.products import BLOCK, GATHER_PAIR, PIXELS, Form
from graphopt.targets.kernels.base import Frame, Scratch, Task, View
from graphopt.targets.kernels.expanded import WORDS, BareWindow, ExpandedWindows, StandingWindows, padding_words
from graphopt.targets.kernels.geometry import Plane
from graphopt.targets.kernels.line_windows import LinesOfBytes, LineWindows
from graphopt.targets.kernels.order import run_reads
from graphopt.targets.kernels.pair_windows import CALL, PairWindows, touches_itself
from graphopt.targets.kernels.windows import Compute, Tile, Windows
from graphopt.targets.plan import Overlap
from graphopt.targets.schedule import even, runs
from graphopt.targets.tir import Expr, Point, Tensor, loop, when

MOST_BYTES = 1024
"""Of expanded rows, unless a pair of windows needs more."""
LEAST_APART = 16
"""Channels of a pixel that are worth a call, where pixels lie apart."""
EXPANDED, GATHERED = 6.0, 2.75
"""About the instructions of a block that is expanded, and of one of both pixels that is gathered."""


@dataclass(frozen=True)
class RowWindows(ExpandedWindows):
    """Windows whose taps are whole blocks: the rows of a run of pixels are expanded once, and windows gathered of them.

    The pixels of a row are even; ``most_pairs`` of them are a run, if that is given.
    """

    most_pairs: int | None = None

    @property
    def tap(self) -> int:
        """The words of a tap."""
        return self.channels // BLOCK * WORDS

    def columns(self, pixels: int) -> int:
        """The columns of the windows of so many pixels side by side."""
        return (pixels - 1) * self.plane.window.strides[1] + self.plane.window.kernel[1]

    @property
    def run(self) -> int:
        """The pixels of a row whose windows are expanded at once."""
        height, pairs = self.plane.window.kernel[0], self.plane.out[1] // PIXELS
        if self.most_pairs is not None:
            return even(pairs, self.most_pairs) * PIXELS
        fitting = [n for n in range(1, pairs + 1) if 4 * height * self.columns(n * PIXELS) * self.tap <= MOST_BYTES]
        return even(pairs, max(fitting, default=1)) * PIXELS

    @property
    def effort(self) -> float:
        (height, _), (rows, columns) = self.plane.window.kernel, self.plane.out
        expanded = height * (CALL + EXPANDED * self.columns(self.run) * self.tap / WORDS)
        gathered = CALL + GATHERED * self.blocks
        return rows * (-(-columns // self.run) * expanded + columns / PIXELS * gathered)

    @property
    def row(self) -> int:
        """The words of one row of a run."""
        return self.columns(self.run) * self.tap

    @property
    def scratch(self) -> Mapping[str, Scratch]:
        return {"rows": Scratch("int32", self.plane.window.kernel[0] * self.row), **super().scratch}

    def reads(self, task: Task[Op], view: View, most: int, last: int | None) -> Mapping[Value, Overlap]:
        return run_reads(task, self.plane, view, self.run)

    def each(self, frame: Frame, x: Tensor, n: Expr, most: int, compute: Compute) -> None:
        with loop("y", 0, self.plane.out[0]) as y:
            for start, count, size in runs(self.plane.out[1], self.run):
                with loop("run", 0, count) as run:
                    first = start + run * size
                    self.expand_rows(frame, x, (n, y), first, size)
                    with loop("tile", 0, size // PIXELS) as tile:
                        compute(self.tile(frame, y, first, tile * PIXELS))

    def tile(self, frame: Frame, y: Expr, first: Expr, place: Expr) -> Tile:
        """Two pixels of a run that begins at ``first``, from a place in it on, and their windows."""
        (rows, columns), distance = self.plane.window.kernel, self.plane.window.strides[1] * self.tap
        window, source = frame.scratch["window"].at(0), frame.scratch["rows"].at(place * distance)
        taken = columns * self.tap
        GATHER_PAIR.run(window, source, distance, taken // WORDS, rows, self.row - taken)
        return Tile(PIXELS, lambda slot: (y, first + place + slot), window)

    def expand_rows(self, frame: Frame, x: Tensor, at: tuple[Expr, Expr], first: Expr, pixels: int) -> None:
        """The rows of the windows of some pixels of a row, with their padding."""
        n, y = at
        plane = self.plane
        up, across = (plane.interior(axis) != (0, plane.out[axis]) for axis in (0, 1))
        count, column = self.columns(pixels), plane.source(1, first, 0)
        low: Expr = 0
        high: Expr = count
        if across:
            low = tirx.min(count, tirx.max(0, -column))
            high = tirx.max(low, tirx.min(count, plane.size[1] - column))
        with loop("ky", 0, plane.window.kernel[0]) as ky:
            row, place = plane.source(0, y, ky), ky * self.row
            inside = tirx.all(row >= 0, row < plane.size[0]) if up else True
            with when(inside):
                if across:
                    self.fill(frame, place, 0, low)
                    self.fill(frame, place, high, count)
                with when(low < high if across else True):
                    begin, source = place + low * self.tap, (n, 0, row, column + low)
                    self.expand_columns(frame.scratch["rows"], begin, x, source, high - low)
            if inside is not True:
                with when(tirx.Not(inside)):
                    self.fill(frame, place, 0, count)

    def expand_columns(self, target: Tensor, place: Expr, x: Tensor, at: tuple[Expr, ...], columns: Expr) -> None:
        """Columns side by side: all at once, or of a part of a larger value, where they lie apart, one by one."""
        (n, c, row, column), words = at, self.tap // WORDS
        if x.strides[3] == self.channels:
            self.form.elements[1].run(target.at(place), x.at(*at), columns * words)
            return
        with loop("column", 0, columns) as i:
            self.form.elements[1].run(target.at(place + i * self.tap), x.at(n, c, row, column + i), words)

    def fill(self, frame: Frame, place: Expr, low: Expr, high: Expr) -> None:
        """Columns of padding."""
        words = padding_words(self.form, self.zero_point)
        with loop("i", 0, (high - low) * (self.tap // WORDS)) as i:
            for word in range(WORDS):
                at = Point((place + low * self.tap + i * WORDS + word,))
                frame.scratch["rows"].store(at, tirx.const(words[word], "int32"))


def expanded_windows(
    plane: Plane, channels: int, strides: tuple[int, ...], zero_point: int, form: Form
) -> Sequence[Windows]:
    """Windows as they are expanded with the fewest instructions, and with less scratch."""
    window = plane.window
    if channels % BLOCK or strides[1] != 1 or window.kernel == (1, 1):
        return gathered_windows(plane, channels, strides, zero_point, form)
    apart = strides[3] != channels
    if window.dilations[1] != 1 or (apart and channels < LEAST_APART) or plane.out[1] % PIXELS:
        return [LineWindows(plane, channels, strides, zero_point, form)]
    rows = RowWindows(plane, channels, strides, zero_point, form)
    shorter = [replace(rows, most_pairs=pairs) for pairs in range(rows.run // PIXELS - 1, 0, -1)]
    near = touches_itself(plane) and not apart
    pairs = [PairWindows(plane, channels, strides, zero_point, form)] if near else []
    return [rows, *shorter, *pairs]


def gathered_windows(
    plane: Plane, channels: int, strides: tuple[int, ...], zero_point: int, form: Form
) -> Sequence[Windows]:
    """Windows that are gathered into lines, unless they are single taps that can be expanded where they stand."""
    blocks = channels % BLOCK == 0 and strides[1] == 1
    padded = any(plane.interior(axis) != (0, plane.out[axis]) for axis in (0, 1))
    standing = blocks and plane.window.kernel == (1, 1) and not padded
    bare = [BareWindow] if standing and form.bare and plane.out == (1, 1) else []
    kinds: list[type[ExpandedWindows]] = [StandingWindows if standing else LineWindows, *bare]
    return [kind(plane, channels, strides, zero_point, form) for kind in kinds]


def windows_of_bytes(
    plane: Plane, channels: int, strides: tuple[int, ...], zero_point: int, form: Form
) -> Sequence[Windows]:
    """Windows of elements without a sign; ``zero_point`` is that of int8."""
    if not isinstance(expanded_windows(plane, channels, strides, zero_point, form)[0], LineWindows):
        raise Decline("it expands int8 where they stand")
    return [LinesOfBytes(plane, channels, strides, zero_point, form)]
