"""The normal forms to which both frontends bring operators: explicit pads, axes and shapes, biases always there.

Every function emits into a ``Scope`` and returns the result; where nothing is to be done it returns its operand.
They raise ``Unsupported`` for what the operators cannot express, and ``InvalidGraph`` for what does not fit or for
batch arithmetic that leaves the form k*N.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from graphopt import ops
from graphopt.errors import InvalidGraph, Unsupported
from graphopt.frontends.build import Scope
from graphopt.ir import Batch, Dim, Op, Value, numel

W = TypeVar("W", bound=Op)

END = 2**31 - 1
"""A stop from here on means the end of the axis: exporters write the largest int32 or int64."""


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front; raises ``InvalidGraph`` if there is no such axis."""
    if not -rank <= axis < rank:
        raise InvalidGraph(f"axis {axis} of a tensor of rank {rank}")
    return axis % rank if rank else 0


def axes_of(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """Sorted axes, counted from the front."""
    return tuple(sorted({axis_of(a, rank) for a in axes}))


def spatial(x: Value) -> tuple[int, ...]:
    """The sizes behind batch and channels."""
    return x.type.with_shape(x.type.shape[2:]).static_shape


def zero_bias(at: Scope, weight: Value, size: int) -> Value:
    if size > weight.type.with_shape(weight.type.static_shape).nbytes:
        raise InvalidGraph(f"{size} results of a weight of {weight.type}")
    return at.constant(np.zeros(size, weight.type.dtype), "bias")


def reshape(at: Scope, x: Value, shape: Sequence[Dim], part: str = "") -> Value:
    return x if x.type.shape == tuple(shape) else at.emit(ops.Reshape(shape=tuple(shape)), x, part=part)


def transpose(at: Scope, x: Value, perm: Sequence[int], part: str = "") -> Value:
    perm = tuple(axis_of(p, x.type.rank) for p in perm)
    return x if perm == tuple(range(x.type.rank)) else at.emit(ops.Transpose(perm=perm), x, part=part)


def swap(at: Scope, x: Value, first: int, second: int) -> Value:
    """Two axes exchanged."""
    perm = list(range(x.type.rank))
    a, b = axis_of(first, x.type.rank), axis_of(second, x.type.rank)
    perm[a], perm[b] = perm[b], perm[a]
    return transpose(at, x, perm)


def expand(at: Scope, x: Value, shape: Sequence[Dim], part: str = "") -> Value:
    return x if x.type.shape == tuple(shape) else at.emit(ops.Expand(shape=tuple(shape)), x, part=part)


def repeat(at: Scope, x: Value, counts: Sequence[int]) -> Value:
    """numpy.tile: the tensor repeated ``counts[i]`` times along axis i, with leading axes of one added."""
    shape = (1,) * (len(counts) - x.type.rank) + x.type.shape
    split = [d for dim in shape for d in (1, dim)]
    wide = [d for count, dim in zip(counts, shape, strict=True) for d in (count, dim)]
    if all(c == 1 for c in counts):
        return reshape(at, x, shape)
    x = expand(at, reshape(at, x, split, "split"), wide, "expand")
    return reshape(at, x, [count * dim for count, dim in zip(counts, shape, strict=True)])


def concat(at: Scope, parts: Sequence[Value], axis: int) -> Value:
    return parts[0] if len(parts) == 1 else at.emit(ops.Concat(axis=axis_of(axis, parts[0].type.rank)), *parts)


def take(at: Scope, x: Value, axis: int, start: Dim, stop: Dim, step: int = 1, part: str = "") -> Value:
    """``x[start:stop:step]`` along an axis, by the rules of Python for negative and large numbers."""
    axis = axis_of(axis, x.type.rank)
    size = x.type.shape[axis]
    if start == 0 and step == 1 and (stop == size or (isinstance(stop, int) and stop >= END)):
        return x
    if isinstance(size, Batch) or isinstance(start, Batch) or isinstance(stop, Batch):
        raise InvalidGraph(f"slice {start}:{stop}:{step} of {size} elements depends on the batch")
    if step < 1:
        raise Unsupported(f"slice by {step}", advice="only positive steps can be expressed")
    first, last, _ = slice(start, stop, step).indices(size)
    if first >= last:
        raise Unsupported(f"slice {start}:{stop} of {size} elements is empty")
    if (first, last, step) == (0, size, 1):
        return x
    return at.emit(ops.Slice(axis=axis, start=first, stop=last, step=step), x, part=part)


def select(at: Scope, x: Value, axis: int, index: int) -> Value:
    """``x[index]`` along an axis, which goes away."""
    axis = axis_of(axis, x.type.rank)
    size = x.type.shape[axis]
    if isinstance(size, int) and not -size <= index < size:
        raise InvalidGraph(f"index {index} of {size} elements")
    start = index % size if isinstance(size, int) else index
    one = take(at, x, axis, start, start + 1, part="slice")
    return reshape(at, one, x.type.shape[:axis] + x.type.shape[axis + 1 :])


def split(at: Scope, x: Value, axis: int, sizes: Sequence[int]) -> tuple[Value, ...]:
    axis = axis_of(axis, x.type.rank)
    if isinstance(x.type.shape[axis], Batch):
        raise InvalidGraph(f"split of {x.type} along the batch")
    return (x,) if len(sizes) == 1 else at.emit_all(ops.Split(axis=axis, sizes=tuple(sizes)), x)


def chunks(size: Dim, width: int) -> tuple[int, ...]:
    """The sizes of consecutive parts of ``width`` elements, the last one smaller if need be."""
    if isinstance(size, Batch):
        raise InvalidGraph(f"split of {size} elements depends on the batch")
    return (width,) * (size // width) + ((size % width,) if size % width else ())


def pad(at: Scope, x: Value, before: Sequence[int], after: Sequence[int], value: float = 0.0) -> Value:
    """Constant padding of every axis; negative pads crop."""
    for axis, (low, high) in enumerate(zip(before, after, strict=True)):
        if low < 0 or high < 0:
            x = take(at, x, axis, max(-low, 0), high if high < 0 else END, part="crop")
    pads = tuple(max(p, 0) for p in (*before, *after))
    return at.emit(ops.Pad(pads=pads, value=float(value)), x) if any(pads) else x


def reduce(at: Scope, op: type[ops.Reduction], x: Value, axes: Sequence[int], keepdims: bool) -> Value:
    """A reduction; over no axes it is the operand."""
    return at.emit(op(axes=axes_of(axes, x.type.rank), keepdims=keepdims), x) if axes else x


def clip(at: Scope, x: Value, low: float, high: float) -> Value:
    if (low, high) == (-math.inf, math.inf):
        return x
    return at.emit(ops.Relu() if (low, high) == (0.0, math.inf) else ops.Clip(low=low, high=high), x)


def softmax(at: Scope, x: Value, axis: int) -> Value:
    return at.emit(ops.Softmax(axis=axis_of(axis, x.type.rank)), x)


def linear(at: Scope, x: Value, weight: Value, bias: Value | None) -> Value:
    """x times weight [o, k] transposed."""
    if bias is None:
        bias = zero_bias(at, weight, weight.type.static_shape[0])
    return at.emit(ops.Linear(), x, weight, bias)


def is_fixed(x: Value) -> bool:
    """Whether a value is a constant, or a dequantized one."""
    if isinstance(x.op, ops.Dequantize):
        return all(v.constant is not None for v in x.node.inputs)
    return x.constant is not None


def transposed(at: Scope, matrix: Value) -> Value:
    """A fixed matrix transposed; of a dequantized one, the integers are."""
    if not isinstance(matrix.op, ops.Dequantize):
        return at.derive(matrix, "transposed", np.transpose)
    q, scale, zero = (at.derive(v, "transposed", np.transpose) if v.type.rank == 2 else v for v in matrix.node.inputs)
    return ops.Dequantize(axis=1 - matrix.op.axis)(q, scale, zero, name=matrix.node.name, origins=matrix.node.origins)


def matmul(at: Scope, a: Value, b: Value) -> Value:
    """numpy.matmul; by a fixed matrix it is a linear operator."""
    if is_fixed(b) and b.type.rank == 2 and b.type.is_float:
        return linear(at, a, transposed(at, b), None)
    row, column = a.type.rank == 1, b.type.rank == 1
    a = reshape(at, a, (1, *a.type.shape), "row") if row else a
    b = reshape(at, b, (*b.type.shape, 1), "column") if column else b
    if not (row or column):
        return at.emit(ops.MatMul(), a, b)
    y = at.emit(ops.MatMul(), a, b, part="matmul")
    shape = [d for i, d in enumerate(y.type.shape) if not (row and i == y.type.rank - 2)]
    return reshape(at, y, shape[:-1] if column else shape)


def plain(op: W) -> W:
    """The operator with settings that say nothing left out: strides and dilations of one, pads of zero."""
    plain_values = {"strides": 1, "dilations": 1, "pads": 0, "output_padding": 0}
    changed = {f: () for f, v in plain_values.items() if set(getattr(op, f, ())) == {v}}
    return dataclasses.replace(op, **changed)


def conv(at: Scope, op: ops.Conv | ops.ConvTranspose, x: Value, weight: Value, bias: Value | None) -> Value:
    """A convolution, with a bias of zeros if it has none."""
    if bias is None:
        channels = weight.type.static_shape[:2]
        size = channels[0] if isinstance(op, ops.Conv) else channels[1] * op.group
        bias = zero_bias(at, weight, size)
    return at.emit(plain(op), x, weight, bias)


def batch_norm(
    at: Scope, x: Value, scale: Value | None, bias: Value | None, mean: Value, var: Value, epsilon: float
) -> Value:
    """Inference-time batch norm; scale and bias are ones and zeros where there are none."""
    if scale is None:
        scale = at.constant(np.ones(mean.type.static_shape, mean.type.dtype), "weight")
    if bias is None:
        bias = at.constant(np.zeros(mean.type.static_shape, mean.type.dtype), "bias")
    return at.emit(ops.BatchNorm(epsilon=epsilon), x, scale, bias, mean, var)


def max_pool(at: Scope, op: ops.MaxPool, x: Value, ceil: bool = False) -> Value:
    if ceil:
        op = dataclasses.replace(op, pads=ceil_pads(op, x))
    return at.emit(plain(op), x)


def average_pool(at: Scope, op: ops.AveragePool, x: Value, ceil: bool = False) -> Value:
    """An average pooling. A window that a ceiling adds counts only elements of the input and its own padding."""
    pads = ceil_pads(op, x) if ceil else op.window().pads
    counted = op.count_include_pad and any(op.pads)
    if counted and pads != op.window().pads:
        raise Unsupported("an average pooling that rounds up and counts its padding", advice="use ceil_mode=False")
    return at.emit(plain(dataclasses.replace(op, pads=pads, count_include_pad=counted)), x)


def ceil_pads(op: ops.Pool, x: Value) -> tuple[int, ...]:
    """The pads with which rounding down gives as many windows as rounding up; the last one starts in the input."""
    window = op.window()
    pads = list(window.pads)
    for axis, size in enumerate(spatial(x)):
        before, after = window.axis_pads(axis)
        room, stride = size + before + after - window.extent[axis], window.strides[axis]
        steps = -(-room // stride)
        if steps * stride >= size + before:
            steps -= 1
        pads[axis + window.rank] += max(steps * stride - room, 0)
    return tuple(pads)


def adaptive_average_pool(at: Scope, x: Value, sizes: Sequence[int]) -> Value:
    """The mean over a grid of ``sizes`` cells; each size must divide that of the input."""
    have = spatial(x)
    if all(s == 1 for s in sizes):
        return reduce(at, ops.ReduceMean, x, range(2, x.type.rank), keepdims=True)
    if any(h % s for h, s in zip(have, sizes, strict=True)):
        raise Unsupported(f"adaptive pooling of {have} to {tuple(sizes)}", advice="use sizes that divide the input")
    kernel = tuple(h // s for h, s in zip(have, sizes, strict=True))
    return x if all(k == 1 for k in kernel) else at.emit(ops.AveragePool(kernel=kernel, strides=kernel), x)


def resize_op(have: Sequence[int], sources: Sequence[Sequence[int]]) -> ops.Resize | None:
    """The nearest resizing that copies these elements of every spatial axis, if there is one."""
    for coordinates, rounding in (
        ("asymmetric", "floor"),
        ("half_pixel", "round_prefer_floor"),
        ("half_pixel", "floor"),
    ):
        op = ops.Resize(sizes=tuple(map(len, sources)), coordinates=coordinates, rounding=rounding)
        if all(op.source(axis, size) == list(sources[axis]) for axis, size in enumerate(have)):
            return op
    return None


def depth_to_space(at: Scope, x: Value, block: int, depth_first: bool) -> Value:
    """Blocks of channels moved to block x block pixels: ONNX DepthToSpace in mode DCR if ``depth_first``, else CRD."""
    n, c, h, w = (x.type.shape[0], *x.type.with_shape(x.type.shape[1:]).static_shape)
    depth = c // (block * block)
    inner = (block, block, depth) if depth_first else (depth, block, block)
    y = reshape(at, x, (n, *inner, h, w), "blocks")
    y = transpose(at, y, (0, 3, 4, 1, 5, 2) if depth_first else (0, 1, 4, 2, 5, 3), "interleave")
    return reshape(at, y, (n, depth, h * block, w * block))


def flattened(x: Value, axis: int) -> tuple[Dim, Dim]:
    """The shape of x as a matrix, its rows the axes before the one given."""
    return numel(x.type.shape[:axis]), numel(x.type.shape[axis:])


def target_shape(x: Value, wanted: Sequence[Dim], zero_copies: bool = True) -> tuple[Dim, ...]:
    """A shape given with -1 (what remains) and 0 (as in the operand), resolved."""
    copied = [x.type.shape[i] if zero_copies and d == 0 and i < x.type.rank else d for i, d in enumerate(wanted)]
    if copied.count(-1) > 1:
        raise InvalidGraph(f"shape {tuple(wanted)} leaves more than one dimension open")
    if -1 not in copied:
        return tuple(copied)
    known = numel(d for d in copied if d != -1)
    rest = quotient(numel(x.type.shape), known)
    return tuple(rest if d == -1 else d for d in copied)


def quotient(total: Dim, part: Dim) -> Dim:
    """total / part; raises ``InvalidGraph`` if that leaves a rest."""
    if isinstance(total, Batch):
        return total // part
    if isinstance(part, Batch) or part <= 0 or total % part:
        raise InvalidGraph(f"{total} elements do not divide into {part}")
    return total // part
