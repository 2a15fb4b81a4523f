"""The rules of ONNX GridSample and AffineGrid.

A sample computes positions in floats, gathers elements from rows of channels, and mixes them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from graphopt import ops
from graphopt.errors import InvalidGraph, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.emit import cast, emit
from graphopt.frontends.limits import room
from graphopt.frontends.onnx.node import OnnxNode, onnx_rule
from graphopt.ir import Value, numel

MODES = {"bilinear": "linear", "bicubic": "cubic"}
CUBIC_A = -0.75


@dataclass(frozen=True)
class Neighbour:
    """One neighbour along one axis: its position as an integer, and its weight, None for one."""

    index: Value
    weight: Value | None


@onnx_rule("GridSample")
def grid_sample(at: OnnxNode) -> Value:
    x, grid = at.value(0), at.value(1)
    mode = at.text("mode")
    mode = MODES.get(mode, mode)
    padding, aligned = at.text("padding_mode"), at.flag("align_corners")
    sizes, points = normal.spatial(x), grid.type.shape[1:-1]
    rank = len(sizes)
    if mode not in ("nearest", "linear", "cubic") or padding not in ("zeros", "border", "reflection"):
        raise Unsupported(f"sampling in mode {mode!r} with padding {padding!r}")
    if mode == "cubic" and rank > 2:
        raise Unsupported("cubic sampling of volumes")
    flat = normal.reshape(at, grid, (x.type.shape[0], numel(points), rank), "points")
    axes = []
    for axis, size in enumerate(sizes):
        one = Sampled(at, size, padding, aligned)
        axes.append(one.places(normal.take(at, flat, 2, rank - 1 - axis, rank - axis, part="coordinate"), mode))
    rows = normal.reshape(at, x, (*x.type.shape[:2], numel(sizes)), "rows")
    rows = normal.transpose(at, rows, (0, 2, 1), "pixels")
    result: Value | None = None
    for neighbours in itertools.product(*axes):
        picked = mix(at, rows, neighbours, sizes)
        result = picked if result is None else at.emit(ops.Add(), result, picked, part="sum")
    assert result is not None
    y = normal.transpose(at, result, (0, 2, 1), "channels")
    return normal.reshape(at, y, (*x.type.shape[:2], *points))


def mix(at: OnnxNode, rows: Value, neighbours: tuple[Neighbour, ...], sizes: tuple[int, ...]) -> Value:
    """The elements [n, points, c] at one neighbour along every axis, weighted."""
    index, weight = neighbours[0].index, neighbours[0].weight
    for place, size in zip(neighbours[1:], sizes[1:], strict=True):
        index = at.emit(ops.Add(), emit(at, ops.Mul(), index, size, part="line"), place.index, part="index")
        if weight is None or place.weight is None:
            weight = place.weight if weight is None else weight
        else:
            weight = at.emit(ops.Mul(), weight, place.weight, part="weight")
    picked = at.emit(ops.GatherNd(batch_dims=1), rows, index, part="picked")
    return picked if weight is None else at.emit(ops.Mul(), picked, cast(at, weight, rows.type.dtype), part="weighted")


@dataclass(frozen=True)
class Sampled:
    """One axis of the input, and how it is sampled."""

    at: OnnxNode
    size: int
    padding: str
    aligned: bool

    @property
    def low(self) -> float:
        return 0.0 if self.aligned else -0.5

    @property
    def high(self) -> float:
        return self.size - 1.0 if self.aligned else self.size - 0.5

    def places(self, v: Value, mode: str) -> list[Neighbour]:
        """The neighbours of coordinates in [-1, 1]."""
        at = self.at
        v = emit(at, ops.Add(), v, 1.0, part="shifted")
        if self.aligned:
            v = emit(at, ops.Mul(), v, (self.size - 1) / 2, part="position")
        else:
            v = emit(at, ops.Mul(), v, float(self.size), part="scaled")
            v = emit(at, ops.Mul(), emit(at, ops.Sub(), v, 1.0, part="edge"), 0.5, part="position")
        if mode == "nearest":
            v = self.kept_in(at.emit(ops.Round(), v, part="rounded"))
            return [self.place(v, None)]
        if mode != "cubic" or self.padding != "border":  # of cubics, each neighbour is brought in by itself
            v = self.kept_in(v)
        floor = at.emit(ops.Floor(), v, part="floor")
        t = at.emit(ops.Sub(), v, floor, part="fraction")
        if mode == "linear":
            return [self.place(floor, emit(at, ops.Sub(), 1.0, t, part="near")), self.shifted(floor, 1, t)]
        rest = emit(at, ops.Sub(), 1.0, t, part="rest")
        far, beyond = (self.cubic_far(emit(at, ops.Add(), d, 1.0, part="distance")) for d in (t, rest))
        weights = [far, self.cubic_near(t), self.cubic_near(rest), beyond]
        return [self.shifted(floor, k - 1, w) for k, w in enumerate(weights)]

    def cubic_near(self, d: Value) -> Value:
        """((a + 2) d - (a + 3)) d d + 1."""
        at = self.at
        y = emit(at, ops.Mul(), d, CUBIC_A + 2, part="cubic")
        y = at.emit(ops.Mul(), emit(at, ops.Sub(), y, CUBIC_A + 3, part="cubic"), d, part="cubic")
        return emit(at, ops.Add(), at.emit(ops.Mul(), y, d, part="cubic"), 1.0, part="near")

    def cubic_far(self, d: Value) -> Value:
        """((a d - 5 a) d + 8 a) d - 4 a."""
        at = self.at
        y = emit(at, ops.Mul(), d, CUBIC_A, part="cubic")
        y = at.emit(ops.Mul(), emit(at, ops.Sub(), y, 5 * CUBIC_A, part="cubic"), d, part="cubic")
        y = at.emit(ops.Mul(), emit(at, ops.Add(), y, 8 * CUBIC_A, part="cubic"), d, part="cubic")
        return emit(at, ops.Sub(), y, 4 * CUBIC_A, part="far")

    def shifted(self, floor: Value, by: int, weight: Value) -> Neighbour:
        return self.place(emit(self.at, ops.Add(), floor, float(by), part="neighbour") if by else floor, weight)

    def kept_in(self, v: Value) -> Value:
        """Positions outside the borders brought in, where padding says so."""
        at = self.at
        if self.padding == "reflection":
            return self.reflected(v)
        if self.padding == "zeros":
            return v
        low = emit(at, ops.Less(), v, self.low, part="below")
        out = at.emit(ops.Or(), low, emit(at, ops.Greater(), v, self.high, part="above"), part="outside")
        inner = at.emit(ops.Clip(low=0.0, high=self.size - 1.0), v, part="clipped")
        return at.emit(ops.Where(), out, inner, v, part="inside")

    def reflected(self, v: Value) -> Value:
        """Positions mirrored at the borders as often as it takes."""
        at, span = self.at, self.high - self.low
        if span == 0:
            return emit(at, ops.Mul(), v, 0.0, part="only")
        way = at.emit(ops.Abs(), emit(at, ops.Sub(), v, self.low, part="from_low"), part="way")
        turns = at.emit(ops.Floor(), emit(at, ops.Div(), way, span, part="spans"), part="turns")
        rest = at.emit(ops.Sub(), way, emit(at, ops.Mul(), turns, span, part="whole"), part="rest")
        odd = emit(at, ops.Equal(), emit(at, ops.Mod(fmod=True), turns, 2.0, part="turned"), 1.0, part="odd")
        back, forth = (
            emit(at, ops.Sub(), self.high, rest, part="back"),
            emit(at, ops.Add(), rest, self.low, part="forth"),
        )
        return at.emit(ops.Where(), odd, back, forth, part="reflected")

    def place(self, v: Value, weight: Value | None) -> Neighbour:
        """A whole position, as padding has it: outside it is mirrored, or the border, and weighs nothing if zero."""
        at = self.at
        if self.padding == "reflection":
            v = self.reflected(v)
        if self.padding == "zeros":
            low = emit(at, ops.GreaterOrEqual(), v, 0.0, part="from")
            inside = at.emit(ops.And(), low, emit(at, ops.Less(), v, float(self.size), part="to"), part="inside")
            share = cast(at, inside, v.type.dtype, "share")
            weight = share if weight is None else at.emit(ops.Mul(), weight, share, part="weight")
        clipped = at.emit(ops.Clip(low=0.0, high=self.size - 1.0), v, part="clipped")
        return Neighbour(cast(at, clipped, "int64", "place"), weight)


@onnx_rule("AffineGrid")
def affine_grid(at: OnnxNode) -> Value:
    """The centers or, aligned, the corners of cells in [-1, 1], [*sizes, axes + 1], times theta [n, axes, axes + 1].

    ONNX's own function squeezes theta without axes, and so does not hold for a batch of one.
    """
    theta, (batch, _, *sizes), aligned = at.value(0), at.dims(1), at.flag("align_corners")
    spans = [size for size in sizes if isinstance(size, int)]
    if theta.type.shape != (batch, len(spans), len(spans) + 1) or len(spans) < len(sizes):
        raise InvalidGraph(f"a grid of {tuple(sizes)} for a batch of {batch} by {theta.type}")
    if aligned and 1 in spans:
        raise Unsupported("an aligned grid of one element along an axis", advice="use align_corners=0")
    room(len(spans) + 1, *spans)
    edges = [1.0 if aligned else 1 - 1 / size for size in spans]
    lines = [np.linspace(-edge, edge, size) for edge, size in zip(edges, spans, strict=True)]
    points = np.stack([*np.meshgrid(*lines, indexing="ij")[::-1], np.ones(spans)], -1)
    table = points.reshape(-1, len(spans) + 1).astype(theta.type.dtype)
    y = normal.linear(at, theta, at.constant(table, "points"), None)
    return normal.reshape(at, normal.transpose(at, y, (0, 2, 1), "coordinates"), (batch, *spans, len(spans)))
