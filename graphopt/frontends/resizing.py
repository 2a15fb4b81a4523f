"""Resizing of tensors, every axis by itself, as ONNX defines it; the rules of several frontends come to it.

Positions are computed in float32, one operation after the other as ONNX Runtime does (``upsamplebase.h``): where a
last digit decides, nearest would else copy another element.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphopt import ops
from graphopt.errors import Unsupported
from graphopt.frontends import normal
from graphopt.frontends.build import Scope
from graphopt.frontends.emit import copied, pick
from graphopt.frontends.limits import positions, room
from graphopt.ir import Array, Value

CUBIC = ("cubic", "bicubic")
LINEAR = ("linear", "bilinear")
Span = tuple[np.float32, np.float32]
WHOLE: Span = (np.float32(0), np.float32(1))
TIE = np.float32(1e-6)
"""A position so near to the middle between two elements counts as the middle, as in ONNX Runtime."""


@dataclass(frozen=True)
class Axis:
    """One axis to resize: from ``have`` elements to ``want``, by ``scale``; ``roi`` is the part that is cropped."""

    index: int
    have: int
    want: int
    scale: np.float32
    roi: Span = WHOLE


@dataclass(frozen=True)
class Manner:
    """How to resize, in the words of ONNX."""

    mode: str = "nearest"
    coordinates: str = "asymmetric"
    rounding: str = "floor"
    a: float = -0.75
    antialias: bool = False
    exclude_outside: bool = False
    extrapolation: float = 0.0


def resized(at: Scope, x: Value, axes: Sequence[Axis], manner: Manner) -> Value:
    """The tensor with all axes resized, one after the other.

    A scale too near to one to change a length copies where it is that of all axes, and with antialias that of any.
    """
    moved = [axis for axis in axes if axis.want != axis.have or axis.roi != WHOLE]
    axes = axes if moved and not manner.antialias else moved
    if not axes:
        return x
    if any(axis.want < 1 for axis in axes):
        raise Unsupported("its result has no elements")
    if manner.mode == "nearest" and manner.coordinates != "tf_crop_and_resize":
        return copied(at, x, {axis.index: nearest(axis, manner) for axis in axes})
    if manner.mode != "nearest" and not x.type.is_float:
        raise Unsupported(f"resizing of {x.type.dtype} in mode {manner.mode!r}", advice="cast it to float32 before")
    for i, axis in enumerate(axes):
        x = mixed(at, x, axis, manner, part="" if i == len(axes) - 1 else f"axis_{axis.index}")
    return x


def coordinates(axis: Axis, mode: str) -> Array:
    """Where in the input every element of the result lies: as float32, in float64."""
    i = positions(axis.want).astype(np.float32)
    have, want, scale = np.float32(axis.have), np.float32(axis.want), axis.scale
    half = np.float32(0.5)
    match mode:
        case "asymmetric":
            at = i / scale
        case "half_pixel":
            at = (i + half) / scale - half
        case "pytorch_half_pixel":
            at = (i + half) / scale - half if want > 1 else i
        case "tf_half_pixel_for_nn":
            at = (i + half) / scale
        case "half_pixel_symmetric":
            offset = have / 2 * (1 - want / (scale * have))
            at = (float(offset) + (i + np.float64(0.5)) / scale - 0.5).astype(np.float32)
        case "align_corners":
            at = i * (have - 1) / (want - 1) if want > 1 else i
        case "tf_crop_and_resize":
            start, end = axis.roi
            middle = half * (start + end) * (have - 1)
            at = start * (have - 1) + i * (end - start) * (have - 1) / (want - 1) if want > 1 else i + middle
        case _:
            raise Unsupported(f"resizing by coordinates {mode!r}")
    return at.astype(np.float64)


def nearest(axis: Axis, manner: Manner) -> list[int]:
    """For every element of the result, the element of the input that ONNX copies there."""
    at = coordinates(axis, manner.coordinates)
    middle = np.abs(at - np.floor(at) - 0.5).astype(np.float32) <= TIE
    rounded = {
        "round_prefer_floor": np.where(middle, np.floor(at), np.floor(at + 0.5)),
        "round_prefer_ceil": np.where(middle, np.ceil(at), np.floor(at + 0.5)),
        "floor": np.floor(at),
        "ceil": np.ceil(at),
        "floor_or_ceil": np.ceil(at) if axis.scale < 1 else np.floor(at),
    }
    if manner.rounding not in rounded:
        raise Unsupported(f"resizing with nearest_mode {manner.rounding!r}")
    return [int(a) for a in np.clip(rounded[manner.rounding], 0, axis.have - 1)]


def taps(axis: Axis, manner: Manner) -> tuple[Array, Array]:
    """For every element of the result, the elements of the input that it mixes, and how much of each."""
    at = coordinates(axis, manner.coordinates)
    if manner.mode == "nearest":
        return np.array(nearest(axis, manner))[:, None], np.ones((axis.want, 1))
    shrink = min(float(axis.scale), 1.0) if manner.antialias else 1.0
    reach = {**dict.fromkeys(LINEAR, 1.0), **dict.fromkeys(CUBIC, 2.0)}.get(manner.mode)
    if reach is None:
        raise Unsupported(f"resizing in mode {manner.mode!r}")
    first = int(np.floor(-reach / shrink)) + 1
    # the element on the left counts as the floor, so that whole positions lie one to the right of it
    floor = np.ceil(at) - 1
    room(axis.want, 2 - 2 * first)
    places = floor[:, None] + np.arange(first, 2 - first)
    weight = kernel(np.abs(places - at[:, None]) * shrink, manner)
    if manner.exclude_outside:
        weight = np.where((places < 0) | (places >= axis.have), 0.0, weight)
    if manner.exclude_outside or manner.antialias:
        weight = weight / weight.sum(axis=1, keepdims=True)
    return np.clip(places, 0, axis.have - 1).astype(np.int64), weight


def kernel(distance: Array, manner: Manner) -> Array:
    """The weight of an element at a distance: a triangle, or Keys' cubic."""
    d, a = distance, manner.a
    if manner.mode in LINEAR:
        return np.asarray(np.maximum(1 - d, 0))
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.asarray(np.where(d <= 1, near, np.where(d < 2, far, 0)))


def mixed(at: Scope, x: Value, axis: Axis, manner: Manner, part: str) -> Value:
    """One axis resized by mixing elements: two by gathering them, more by a matrix."""
    places, weights = taps(axis, manner)
    beyond = np.zeros(axis.want, bool)
    if manner.coordinates == "tf_crop_and_resize":
        source = coordinates(axis, manner.coordinates)
        beyond = (source < 0) | (source > axis.have - 1)
        weights = np.where(beyond[:, None], 0.0, weights)
    shape = [axis.want if i == axis.index else 1 for i in range(x.type.rank)]
    last = "" if beyond.any() else part
    if weights.shape[1] <= 2:
        y = None
        for k in range(weights.shape[1]):
            factor = at.constant(weights[:, k].reshape(shape).astype(x.type.dtype), "weights")
            one = at.emit(ops.Mul(), pick(at, x, axis.index, places[:, k], part="picked"), factor, part="weighted")
            y = one if y is None else at.emit(ops.Add(), y, one, part=last)
        assert y is not None
    else:
        room(axis.want, axis.have)
        matrix = np.zeros((axis.want, axis.have))
        np.add.at(matrix, (np.arange(axis.want)[:, None], places), weights)
        y = multiplied(at, x, axis.index, at.constant(matrix.astype(x.type.dtype), "matrix"))
    if not beyond.any():
        return y
    fill = np.where(beyond, manner.extrapolation, 0.0).reshape(shape).astype(x.type.dtype)
    return at.emit(ops.Add(), y, at.constant(fill, "beyond"), part=part)


def multiplied(at: Scope, x: Value, axis: int, matrix: Value) -> Value:
    """A matrix [out, in] applied along an axis."""
    last = x.type.rank - 1
    if axis == last - 1:
        return at.emit(ops.MatMul(), matrix, x, part="mixed")
    y = normal.linear(at, normal.swap(at, x, axis, last), matrix, None)
    return normal.swap(at, y, axis, last)
