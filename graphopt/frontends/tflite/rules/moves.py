"""Operators that only move elements: on the integers of a quantized tensor, as they are stored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tflite

from graphopt import ops
from graphopt.errors import InvalidGraph, InvalidInput, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.limits import positions, room
from graphopt.frontends.onnx.emit import pick
from graphopt.frontends.tflite.node import TfliteNode, activated, reshaped, tflite_rule, transposed
from graphopt.ir import Batch, Value, numel


@tflite_rule("RESHAPE")
def reshape(at: TfliteNode) -> Value:
    (x,) = at.kept(0)
    wanted = at.integers(1) if at.has(1) else [int(d) for d in vector(at.options("ReshapeOptions").NewShapeAsNumpy())]
    return reshaped(at, x, normal.target_shape(x, wanted, zero_copies=False))


def vector(found: object) -> list[int]:
    """A vector of the options; flatbuffers gives 0 for one that is not there."""
    return [] if isinstance(found, int) else [int(i) for i in np.asarray(found)]


@tflite_rule("SQUEEZE")
def squeeze(at: TfliteNode) -> Value:
    """Of the axes named, or of all that have one element."""
    (x,) = at.kept(0)
    axes = normal.axes_of(vector(at.options("SqueezeOptions").SqueezeDimsAsNumpy()), x.type.rank)
    if not axes and any(isinstance(d, Batch) for d in x.type.shape):
        raise InvalidGraph(f"which axes of {x.type} have one element depends on the batch")
    gone = axes or [a for a, d in enumerate(x.type.shape) if d == 1]
    if any(x.type.shape[a] != 1 for a in gone):
        raise InvalidGraph(f"squeeze of axes {list(gone)} of {x.type}")
    return reshaped(at, x, [d for a, d in enumerate(x.type.shape) if a not in gone])


@tflite_rule("EXPAND_DIMS")
def expand_dims(at: TfliteNode) -> Value:
    (x,), (axis,) = at.kept(0), at.integers(1)
    axis = normal.axis_of(axis, x.type.rank + 1)
    return reshaped(at, x, (*x.type.shape[:axis], 1, *x.type.shape[axis:]))


@tflite_rule("TRANSPOSE")
def transpose(at: TfliteNode) -> Value:
    (x,) = at.kept(0)
    perm = at.integers(1)
    if sorted(normal.axes_of(perm, x.type.rank)) != list(range(x.type.rank)) or len(perm) != x.type.rank:
        raise InvalidInput(f"a transpose by {perm} of rank {x.type.rank}")
    return transposed(at, x, [normal.axis_of(p, x.type.rank) for p in perm])


@tflite_rule("CONCATENATION", layout="either")
def concat(at: TfliteNode) -> Value:
    options, parts = at.options("ConcatenationOptions"), at.kept(*range(len(at.inputs)))
    activation = options.FusedActivationFunction()
    if activation != tflite.ActivationFunctionType.NONE:
        parts = at.reals
    return activated(at, normal.concat(at, parts, at.axis(options.Axis(), at.rank(0))), activation)


@tflite_rule("PACK")
def pack(at: TfliteNode) -> Value:
    options, parts = at.options("PackOptions"), at.kept(*range(len(at.inputs)))
    axis = normal.axis_of(options.Axis(), parts[0].type.rank + 1)
    wide = [normal.reshape(at, p, (*p.type.shape[:axis], 1, *p.type.shape[axis:]), "wide") for p in parts]
    return normal.concat(at, wide, axis)


@tflite_rule("UNPACK")
def unpack(at: TfliteNode) -> Sequence[Value]:
    options, (x,) = at.options("UnpackOptions"), at.kept(0)
    axis = normal.axis_of(options.Axis(), x.type.rank)
    if x.type.shape[axis] != len(at.outputs):
        raise InvalidGraph(f"{x.type} is not {len(at.outputs)} along axis {axis}")
    return [normal.select(at, x, axis, i) for i in range(len(at.outputs))]


@tflite_rule("SPLIT", layout="either")
def split(at: TfliteNode) -> Sequence[Value]:
    """Into equal parts; the axis comes first."""
    (axis,), (x,) = at.integers(0), at.kept(1)
    axis = at.axis(axis, x.type.rank)
    size, count = x.type.shape[axis], len(at.outputs)
    if isinstance(size, Batch) or size % count:
        raise InvalidGraph(f"{x.type} does not divide into {count} along axis {axis}")
    return normal.split(at, x, axis, [size // count] * count)


@tflite_rule("SPLIT_V", layout="either")
def split_by_sizes(at: TfliteNode) -> Sequence[Value]:
    """Of the sizes one may be -1, what is left."""
    (x,), sizes, (axis,) = at.kept(0), at.integers(1), at.integers(2)
    axis = at.axis(axis, x.type.rank)
    size = x.type.shape[axis]
    if isinstance(size, int):
        sizes = [size - sum(s for s in sizes if s >= 0) if s == -1 else s for s in sizes]
    if min(sizes, default=0) < 1:
        raise Unsupported(f"a split into {sizes}")
    return normal.split(at, x, axis, sizes)


@tflite_rule("PAD", "PADV2", layout="either")
def pad(at: TfliteNode) -> Value:
    """With zero, or a number of the same scale as the input."""
    rank, pads = at.rank(0), np.asarray(at.integers(1)).reshape(-1, 2)
    if len(pads) != rank or pads.min(initial=0) < 0:
        raise InvalidInput(f"pads {pads.tolist()} for rank {rank}")
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


@tflite_rule("GATHER")
def gather(at: TfliteNode) -> Value:
    options, (x,) = at.options("GatherOptions"), at.kept(0)
    if options.BatchDims():
        raise Unsupported("a gather with batch_dims", advice="gather from one table")
    return at.emit(ops.Gather(axis=normal.axis_of(options.Axis(), x.type.rank)), x, at.raw(1))


@tflite_rule("GATHER_ND")
def gather_nd(at: TfliteNode) -> Value:
    return at.emit(ops.GatherNd(), *at.kept(0), at.raw(1))


@tflite_rule("EMBEDDING_LOOKUP")
def embedding(at: TfliteNode) -> Value:
    """Rows of a table, which comes second."""
    (table,) = at.kept(1)
    return at.emit(ops.Gather(axis=0), table, at.raw(0))


@tflite_rule("TILE", layout="either")
def tile(at: TfliteNode) -> Value:
    (x,), counts = at.kept(0), at.integers(1)
    if len(counts) != x.type.rank or min(counts, default=1) < 1:
        raise InvalidInput(f"{counts} copies of rank {x.type.rank}")
    return normal.repeat(at, x, at.ordered(counts))


@tflite_rule("BROADCAST_TO")
def broadcast_to(at: TfliteNode) -> Value:
    (x,), shape = at.kept(0), at.integers(1)
    return normal.expand(at, x, shape)


@tflite_rule("BROADCAST_ARGS")
def broadcast_shape(at: TfliteNode) -> Value:
    """The shape to which two known shapes broadcast."""
    shape = np.broadcast_shapes(tuple(at.integers(0)), tuple(at.integers(1)))
    return at.constant(np.array(shape, at.outputs[0].dtype), "shape")


@tflite_rule("SHAPE")
def shape_of(at: TfliteNode) -> Value:
    """Known, unless the batch is in it."""
    shape = at.raw(0).type.shape
    if any(isinstance(d, Batch) for d in shape):
        raise InvalidGraph("the shape of a tensor with a free batch is used as data")
    return at.constant(np.array(shape, at.outputs[0].dtype), "shape")


@tflite_rule("FILL")
def fill(at: TfliteNode) -> Value:
    value = at.raw(1)
    if value.type.rank:
        raise InvalidInput(f"a fill with {value.type}")
    return normal.expand(at, value, at.integers(0))


@tflite_rule("ZEROS_LIKE")
def zeros_like(at: TfliteNode) -> Value:
    x = at.raw(0)
    return normal.expand(at, at.constant(np.zeros((), x.type.dtype), "zero"), x.type.shape)


def block_of(at: TfliteNode, kind: str) -> int:
    block = int(at.options(kind).BlockSize())
    if block < 1:
        raise InvalidInput(f"blocks of {block}")
    return block


@tflite_rule("DEPTH_TO_SPACE", layout="first")
def depth_to_space(at: TfliteNode) -> Value:
    (x,), block = at.kept(0), block_of(at, "DepthToSpaceOptions")
    if x.type.rank != 4:
        raise Unsupported(f"an input of rank {x.type.rank}")
    return normal.depth_to_space(at, x, block, depth_first=True)


@tflite_rule("SPACE_TO_DEPTH", layout="first")
def space_to_depth(at: TfliteNode) -> Value:
    """Pixels of a block become channels, row by row, in front of those that were there."""
    (x,), block = at.kept(0), block_of(at, "SpaceToDepthOptions")
    if x.type.rank != 4:
        raise Unsupported(f"an input of rank {x.type.rank}")
    n, (c, h, w) = x.type.shape[0], x.type.with_shape(x.type.shape[1:]).static_shape
    if h % block or w % block:
        raise InvalidGraph(f"{x.type} in blocks of {block}")
    y = normal.reshape(at, x, (n, c, h // block, block, w // block, block), "blocks")
    y = normal.transpose(at, y, (0, 3, 5, 1, 2, 4), "interleave")
    return normal.reshape(at, y, (n, c * block * block, h // block, w // block))


@tflite_rule("SPACE_TO_BATCH_ND")
def space_to_batch(at: TfliteNode) -> Value:
    """Spatial axes padded and dealt out to the batch, by blocks."""
    x, blocks, pads = at.kept(0)[0], at.integers(1), np.asarray(at.integers(2)).reshape(-1, 2)
    count = len(blocks)
    if len(pads) != count or x.type.rank < count + 1 or min(blocks, default=1) < 1 or pads.min(initial=0) < 0:
        raise InvalidInput(f"blocks {blocks} and pads {pads.tolist()} for {x.type}")
    rest = x.type.rank - count - 1
    parameters = at.tensor(0).parameters
    value = float(parameters.zero_point[0]) if parameters and at.alike(0) else 0.0
    before, after = ([0, *(int(p) for p in column), *[0] * rest] for column in pads.T)
    x = normal.pad(at, x, before, after, value)
    n, *spatial = x.type.shape[: count + 1]
    sizes = x.type.with_shape(spatial).static_shape
    if any(s % b for s, b in zip(sizes, blocks, strict=True)):
        raise InvalidGraph(f"{x.type} in blocks of {blocks}")
    behind = x.type.shape[count + 1 :]
    parts = [d for s, b in zip(sizes, blocks, strict=True) for d in (s // b, b)]
    y = normal.reshape(at, x, (n, *parts, *behind), "blocks")
    order = [*range(2, 2 * count + 1, 2), 0, *range(1, 2 * count, 2), *range(2 * count + 1, 2 * count + 1 + rest)]
    y = normal.transpose(at, y, order, "deal")
    small = [s // b for s, b in zip(sizes, blocks, strict=True)]
    return normal.reshape(at, y, (numel((n, *blocks)), *small, *behind))


@tflite_rule("BATCH_TO_SPACE_ND")
def batch_to_space(at: TfliteNode) -> Value:
    """The inverse of ``space_to_batch``, cropped."""
    x, blocks, crops = at.kept(0)[0], at.integers(1), np.asarray(at.integers(2)).reshape(-1, 2)
    count = len(blocks)
    if len(crops) != count or x.type.rank < count + 1 or min(blocks, default=1) < 1 or crops.min(initial=0) < 0:
        raise InvalidInput(f"blocks {blocks} and crops {crops.tolist()} for {x.type}")
    rest = x.type.rank - count - 1
    sizes, behind = x.type.with_shape(x.type.shape[1 : count + 1]).static_shape, x.type.shape[count + 1 :]
    n = normal.quotient(x.type.shape[0], int(np.prod(blocks)))
    y = normal.reshape(at, x, (*blocks, n, *sizes, *behind), "blocks")
    pairs = [a for i in range(count) for a in (count + 1 + i, i)]
    y = normal.transpose(at, y, [count, *pairs, *range(2 * count + 1, 2 * count + 1 + rest)], "deal")
    y = normal.reshape(at, y, (n, *(s * b for s, b in zip(sizes, blocks, strict=True)), *behind), "whole")
    for axis, (before, after) in enumerate(crops.tolist(), 1):
        size = y.type.with_shape((y.type.shape[axis],)).static_shape[0]
        y = normal.take(at, y, axis, before, size - after, part=f"axis_{axis}")
    return y
