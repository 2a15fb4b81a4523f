"""Slices and pads, on the integers of a quantized tensor."""

from __future__ import annotations

import numpy as np
import tflite

from graphopt import ops
from graphopt.errors import InvalidGraph, InvalidInput, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.emit import pick
from graphopt.frontends.limits import positions, room
from graphopt.frontends.tflite.node import RANK, TfliteNode, reshaped, tflite_rule
from graphopt.ir import Batch, Value


@tflite_rule("PAD", "PADV2", layout="either")
def pad(at: TfliteNode) -> Value:
    """With zero, or a number of the same scale as the input. Images are padded where convolutions see it."""
    rank, pads = at.rank(0), np.asarray(at.integers(1)).reshape(-1, 2)
    if len(pads) != rank or pads.min(initial=0) < 0:
        raise InvalidInput(f"pads {pads.tolist()} for rank {rank}")
    if rank == RANK and not pads[[0, -1]].any():
        at.first = True
    same = at.alike(0, 2) if at.has(2) else at.alike(0)
    x, parameters = (at.raw(0) if same else at.real(0)), at.tensor(0).parameters
    if at.has(2):
        number = at.held(2).raw(False) if same else at.held(2).real(False)
        value = constant_number(number)
    else:
        value = float(parameters.zero_point[0]) if same and parameters else 0.0
    before, after = (at.ordered([int(p) for p in column]) for column in pads.T)
    return normal.pad(at, x, before, after, value)


def constant_number(x: Value) -> float:
    """The number that a constant, or a dequantized one, is."""
    if isinstance(x.op, ops.Dequantize):
        parts = [v.constant for v in x.node.inputs]
        found = None if any(p is None for p in parts) else x.op.evaluate(*(p for p in parts if p is not None))
    else:
        found = x.constant
    if found is None or found.size != 1:
        raise Unsupported("what it pads with is computed, or no number")
    return float(found.reshape(()))


@tflite_rule("MIRROR_PAD", layout="either")
def mirror_pad(at: TfliteNode) -> Value:
    """REFLECT leaves out the border, SYMMETRIC repeats it."""
    (x,), pads = at.kept(0), np.asarray(at.integers(1)).reshape(-1, 2)
    mode = "symmetric" if at.options("MirrorPadOptions").Mode() == tflite.MirrorPadMode.SYMMETRIC else "reflect"
    if len(pads) != x.type.rank or pads.min(initial=0) < 0:
        raise InvalidInput(f"pads {pads.tolist()} for rank {x.type.rank}")
    for axis, (before, after) in enumerate(pads.tolist()):
        place = at.axis(axis, x.type.rank)
        size = x.type.shape[place]
        if not before and not after:
            continue
        if isinstance(size, Batch) or max(before, after) > size - (mode == "reflect"):
            raise InvalidGraph(f"mirrored by {before} and {after} along axis {axis} of {x.type}")
        room(size + before + after)
        places = np.pad(positions(size), (before, after), mode=mode)  # type: ignore[call-overload]
        x = pick(at, x, place, places, part=f"axis_{axis}")
    return x


@tflite_rule("SLICE", layout="either")
def slice_value(at: TfliteNode) -> Value:
    """From ``begin`` on ``size`` elements of every axis, all that are left where that is -1."""
    (x,), begins, sizes = at.kept(0), at.integers(1), at.integers(2)
    if not len(begins) == len(sizes) == x.type.rank:
        raise InvalidInput(f"a slice by {begins} and {sizes} of rank {x.type.rank}")
    for axis, (begin, size) in enumerate(zip(begins, sizes, strict=True)):
        stop = normal.END if size == -1 else begin + size
        x = normal.take(at, x, at.axis(axis, x.type.rank), begin, stop, part=f"axis_{axis}")
    return x


@tflite_rule("STRIDED_SLICE")
def strided_slice(at: TfliteNode) -> Value:
    """As Python slices: masks say what is left open, dropped, or put in as a new axis."""
    options, (x,) = at.options("StridedSliceOptions"), at.kept(0)
    begins, ends, strides = (at.integers(i) for i in (1, 2, 3))
    if not len(begins) == len(ends) == len(strides):
        raise InvalidInput(f"a slice from {begins} to {ends} by {strides}")
    if options.EllipsisMask() or options.Offset():
        raise Unsupported("a slice with an ellipsis, or with ends counted from its start")
    axis, shape, new = 0, list(x.type.shape), options.NewAxisMask()
    kept: list[int | None] = []
    for place, (begin, end, stride) in enumerate(zip(begins, ends, strides, strict=True)):
        bit = 1 << place
        if new & bit:
            kept.append(None)
            continue
        if axis >= len(shape):
            raise InvalidInput(f"a slice of more than {len(shape)} axes")
        if options.ShrinkAxisMask() & bit:
            size = shape[axis]
            start = begin % size if isinstance(size, int) and -size <= begin < size else begin
            x = normal.take(at, x, axis, start, start + 1, part=f"axis_{axis}")
        else:
            open_start, open_end = bool(options.BeginMask() & bit), bool(options.EndMask() & bit)
            x = cut(at, x, axis, None if open_start else begin, None if open_end else end, stride)
            kept.append(axis)
        axis += 1
    kept += range(axis, len(shape))
    return reshaped(at, x, [1 if k is None else x.type.shape[k] for k in kept])


def cut(at: TfliteNode, x: Value, axis: int, begin: int | None, end: int | None, stride: int) -> Value:
    """``x[begin:end:stride]`` along an axis; backwards by picking."""
    size = x.type.shape[axis]
    if stride > 0:
        return normal.take(at, x, axis, begin or 0, normal.END if end is None else end, stride, part=f"axis_{axis}")
    if isinstance(size, Batch) or stride == 0:
        raise InvalidGraph(f"a slice by {stride} along axis {axis} of {x.type}")
    places = positions(size)[slice(begin, end, stride)]
    if not places.size:
        raise Unsupported(f"slice {begin}:{end}:{stride} of {size} elements is empty")
    return pick(at, x, axis, places, part=f"axis_{axis}")


@tflite_rule("REVERSE_V2", layout="either")
def reverse(at: TfliteNode) -> Value:
    (x,) = at.kept(0)
    for axis in normal.axes_of(at.integers(1), x.type.rank):
        x = cut(at, x, at.axis(axis, x.type.rank), None, None, -1)
    return x
