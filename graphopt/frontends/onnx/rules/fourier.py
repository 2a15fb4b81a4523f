"""The rules of the ONNX Fourier transforms: one matrix product each, by cosines and sines computed in float64."""

from __future__ import annotations

import numpy as np

from graphopt import ops
from graphopt.errors import InvalidGraph, InvalidInput, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.emit import pick
from graphopt.frontends.limits import room
from graphopt.frontends.onnx.node import OnnxNode, onnx_rule
from graphopt.ir import Array, Value


def fourier(have: int, parts: int, length: int, inverse: bool, onesided: bool) -> Array:
    """The matrix [bins * parts of a bin, have * parts] of a transform of ``length``, of real (1) or complex (2) input.

    One-sided, it gives the first half of the bins; inverse, real numbers from them.
    """
    bins = length // 2 + 1 if onesided and not inverse else length
    room(bins * 2, have * parts)
    used = min(have, length // 2 + 1 if inverse else length)
    angle = 2 * np.pi * (np.outer(np.arange(bins), np.arange(used)) % length) / length
    sine, cosine = np.sin(angle) * (-1 if inverse else 1), np.cos(angle)
    # what a real and an imaginary number add to the real and the imaginary part of every bin
    table = np.stack([np.stack([cosine, sine], -1), np.stack([-sine, cosine], -1)], axis=1)[..., :parts]
    if inverse:
        twice = np.full(used, 2.0)
        twice[0] = 1
        if length % 2 == 0:
            twice[length // 2 :] = 1
        table = table[:, :1] * twice[:, None] / length
    full = np.zeros((*table.shape[:2], have, parts))
    full[:, :, :used] = table
    return full.reshape(table.shape[0] * table.shape[1], have * parts)


@onnx_rule("DFT")
def dft(at: OnnxNode) -> Value:
    """The axis is an attribute before opset 20, then an input; the last axis has the parts of a number.

    An inverse gives real numbers: to complex ones its imaginary parts would be what rounding leaves.
    """
    x, rank = at.value(0), at.value(0).type.rank
    axis = int(at.known(2).item()) if at.has(2) else at.whole("axis", -2)
    axis = normal.axis_of(axis, rank)
    have, parts = sizes(x, axis)
    inverse, onesided = at.flag("inverse"), at.flag("onesided")
    if inverse and not onesided:
        raise Unsupported("an inverse transform to complex numbers", advice="use onesided=1 for real signals")
    length = int(at.known(1).item()) if at.has(1) else (have - 1) * 2 if inverse and onesided else have
    matrix = fourier(have, parts, positive(length), inverse, onesided)
    order = [a for a in range(rank) if a not in (axis, rank - 1)]
    moved = normal.transpose(at, x, (*order, axis, rank - 1), "moved")
    lead = moved.type.shape[:-2]
    flat = normal.reshape(at, moved, (*lead, have * parts), "flat")
    y = normal.linear(at, flat, at.constant(matrix.astype(x.type.dtype), "waves"), None)
    width = 1 if inverse else 2
    y = normal.reshape(at, y, (*lead, matrix.shape[0] // width, width), "bins")
    back = [(*order, axis, rank - 1).index(a) for a in range(rank)]
    return normal.transpose(at, y, back)


@onnx_rule("STFT")
def stft(at: OnnxNode) -> Value:
    """Frames of the signal, each times the window, transformed."""
    x, step = at.value(0), positive(int(at.known(1).item()))
    have, parts = sizes(x, 1)
    window = at.optional(2)
    length = positive(int(at.known(3).item()) if at.has(3) else have if window is None else sizes(window, 0)[0])
    if length > have:
        raise InvalidInput(f"frames of {length} elements of a signal of {have}")
    count = (have - length) // step + 1
    room(count, length)
    places = np.arange(count)[:, None] * step + np.arange(length)
    frames = pick(at, x, 1, places, "frames")
    if window is not None:
        frames = at.emit(ops.Mul(), frames, normal.reshape(at, window, (length, 1), "window"), part="windowed")
    matrix = fourier(length, parts, length, inverse=False, onesided=at.flag("onesided"))
    flat = normal.reshape(at, frames, (x.type.shape[0], count, length * parts), "flat")
    y = normal.linear(at, flat, at.constant(matrix.astype(x.type.dtype), "waves"), None)
    return normal.reshape(at, y, (x.type.shape[0], count, matrix.shape[0] // 2, 2))


def sizes(x: Value, axis: int) -> tuple[int, int]:
    """The elements along an axis, and the parts of a number: one, or two where it is complex."""
    have = x.type.shape[axis]
    if not isinstance(have, int):
        raise InvalidGraph(f"a transform along the batch of {x.type}")
    parts = x.type.shape[-1]
    return have, parts if parts == 2 else 1


def positive(length: int) -> int:
    if length < 1:
        raise InvalidInput(f"a transform of {length} elements")
    return length
