"""The rules of the ONNX operators that move elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphopt import ops
from graphopt.errors import InvalidGraph, InvalidInput, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.emit import pick
from graphopt.frontends.limits import positions, room
from graphopt.frontends.onnx.node import OnnxNode, Tensor, onnx_rule, slices
from graphopt.ir import Batch, Value
from graphopt.ops import broadcast


@onnx_rule("Reshape")
def reshape(at: OnnxNode) -> Value:
    x, wanted = at.value(0), at.setting("shape", 1)
    if wanted is None:
        raise InvalidInput("a reshape needs a shape")
    return normal.reshape(at, x, normal.target_shape(x, wanted, not at.flag("allowzero")))


@onnx_rule("Flatten")
def flatten(at: OnnxNode) -> Value:
    x = at.value(0)
    return normal.reshape(at, x, normal.flattened(x, at.whole("axis")))


@onnx_rule("Squeeze")
def squeeze(at: OnnxNode) -> Value:
    x, axes = at.value(0), at.integers("axes", 1)
    if axes is None:
        if any(isinstance(d, Batch) for d in x.type.shape):
            what = f"which axes of {x.type} have one element depends on the batch"
            raise InvalidGraph(what, advice="state the axes in the model, or give the batch")
        gone = [a for a, d in enumerate(x.type.shape) if d == 1]
    else:
        gone = list(normal.axes_of(axes, x.type.rank))
    if any(x.type.shape[a] != 1 for a in gone):
        raise InvalidGraph(f"squeeze of axes {gone} of {x.type}")
    return normal.reshape(at, x, [d for a, d in enumerate(x.type.shape) if a not in gone])


@onnx_rule("Unsqueeze")
def unsqueeze(at: OnnxNode) -> Value:
    x, axes = at.value(0), at.integers("axes", 1) or []
    rank = x.type.rank + len(axes)
    new = normal.axes_of(axes, rank)
    rest = iter(x.type.shape)
    return normal.reshape(at, x, [1 if a in new else next(rest) for a in range(rank)])


@onnx_rule("Transpose")
def transpose(at: OnnxNode) -> Value:
    """A quantized matrix of weights stays one."""
    x = at.value(0)
    perm = at.ints("perm") or tuple(range(x.type.rank)[::-1])
    if perm == (1, 0) and isinstance(x.op, ops.Dequantize) and normal.is_fixed(x):
        return normal.transposed(at, x)
    return normal.transpose(at, x, perm)


@onnx_rule("Concat")
def concat(at: OnnxNode) -> Tensor:
    """Known parts without elements, as caches are at first, are left out."""
    parts = [i for i, t in enumerate(at.inputs) if isinstance(t, Value) or (t is not None and t.size)]
    return normal.concat(at, [at.value(i) for i in parts], at.whole("axis"))


@onnx_rule("Slice")
def slice_value(at: OnnxNode) -> Value:
    x = at.value(0)
    cuts = slices(at, x.type.rank)
    for i, (axis, start, stop, step) in enumerate(cuts):
        part = "" if i == len(cuts) - 1 else "slice"
        size = x.type.shape[axis]
        if step < 0 and isinstance(size, int):
            places = positions(size)[slice(start, stop if stop >= -size else None, step)]
            if not places.size:
                raise Unsupported(f"slice {start}:{stop}:{step} of {size} elements is empty")
            x = pick(at, x, axis, places, part)
        else:
            x = normal.take(at, x, axis, start, stop, step, part)
    return x


@onnx_rule("Split")
def split(at: OnnxNode) -> Sequence[Tensor]:
    """Parts without elements are known to be empty."""
    x, sizes = at.value(0), at.integers("split", 1)
    axis = normal.axis_of(at.whole("axis"), x.type.rank)
    size = x.type.shape[axis]
    if sizes is None:
        count = at.whole("num_outputs", at.outputs)
        sizes = list(normal.chunks(size, -(-size // count) if isinstance(size, int) else 1))
    parts = iter(normal.split(at, x, axis, [s for s in sizes if s]))
    return [next(parts) if s else np.zeros(0, x.type.dtype) for s in sizes]


@onnx_rule("Pad")
def pad(at: OnnxNode) -> Value:
    x = at.value(0)
    pads, axes = at.integers("pads", 1), at.integers("axes", 3)
    if pads is None:
        raise InvalidInput("a padding needs pads")
    places = range(x.type.rank) if axes is None else [normal.axis_of(a, x.type.rank) for a in axes]
    before, after = [0] * x.type.rank, [0] * x.type.rank
    for axis, low, high in zip(places, pads[: len(places)], pads[len(places) :], strict=True):
        before[axis], after[axis] = low, high
    if (mode := at.text("mode")) == "constant":
        value = float(at.known(2).item()) if at.has(2) else at.real("value", 0.0)
        return normal.pad(at, x, before, after, value)
    if mode not in ("edge", "reflect", "wrap"):
        raise Unsupported(f"padding in mode {mode!r}")
    for axis, (low, high) in enumerate(zip(before, after, strict=True)):
        size = x.type.shape[axis]
        if low or high:
            if not isinstance(size, int):
                raise InvalidGraph("a padding along the batch")
            room(size + max(low, 0) + max(high, 0))
            inner = np.arange(max(-low, 0), size - max(-high, 0))
            sources = np.pad(inner, (max(low, 0), max(high, 0)), mode=mode)  # type: ignore[call-overload]
            x = pick(at, x, axis, sources, part=f"axis_{axis}")
    return x


@onnx_rule("CenterCropPad")
def center_crop_pad(at: OnnxNode) -> Value:
    """Axes cut or padded with zeros to the sizes given, evenly, the odd element at the end."""
    x, wanted = at.value(0), at.integers("shape", 1) or []
    axes = [normal.axis_of(a, x.type.rank) for a in at.ints("axes")] or list(range(x.type.rank))
    before, after = [0] * x.type.rank, [0] * x.type.rank
    for axis, size in zip(axes, wanted, strict=True):
        (have,) = x.type.with_shape((x.type.shape[axis],)).static_shape
        before[axis] = (size - have) // 2 if size > have else -((have - size) // 2)
        after[axis] = size - have - before[axis]
    return normal.pad(at, x, before, after)


@onnx_rule("Expand")
def expand(at: OnnxNode) -> Value:
    x = at.value(0)
    return normal.expand(at, x, broadcast(x.type.shape, tuple(at.dims(1))))


@onnx_rule("Tile")
def tile(at: OnnxNode) -> Value:
    return normal.repeat(at, at.value(0), at.integers("repeats", 1) or [])


@onnx_rule("DepthToSpace")
def depth_to_space(at: OnnxNode) -> Value:
    mode = at.text("mode", "DCR")
    return normal.depth_to_space(at, at.value(0), at.whole("blocksize"), depth_first=mode == "DCR")


@onnx_rule("SpaceToDepth")
def space_to_depth(at: OnnxNode) -> Value:
    x, block, depth_first = at.value(0), at.whole("blocksize"), at.text("mode", "DCR") == "DCR"
    n, c, h, w = (x.type.shape[0], *x.type.with_shape(x.type.shape[1:]).static_shape)
    y = normal.reshape(at, x, (n, c, h // block, block, w // block, block), "blocks")
    y = normal.transpose(at, y, (0, 3, 5, 1, 2, 4) if depth_first else (0, 1, 3, 5, 2, 4), "gather")
    return normal.reshape(at, y, (n, c * block * block, h // block, w // block))
