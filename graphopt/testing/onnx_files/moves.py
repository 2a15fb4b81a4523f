"""How to draw the operators that move elements, and those that make tensors of sizes."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from onnx import numpy_helper

from graphopt.testing.onnx_files.drawing import FileDrawing, Undrawn
from graphopt.testing.onnx_files.table import draws

MOVED = ("float32", "float32", "int64", "int32", "bool", "uint8")


def moved(f: FileDrawing, low: int = 0, high: int = 5) -> tuple[str, tuple[int, ...]]:
    """A tensor to move, and its shape."""
    x = f.operand(low, high, dtype=f.choice(MOVED))
    return x, f.array(x).shape


def settings(f: FileDrawing, name: str, values: list[int], since: int) -> tuple[list[str], dict[str, Any]]:
    """What is an attribute before an opset and an input from it on."""
    return ([f.constant(values, "int64")], {}) if f.opset >= since else ([], {name: values})


@draws("Reshape")
def reshape(f: FileDrawing, op: str) -> object:
    x, shape = moved(f)
    order = [int(d) for d in f.rng.permutation(shape)] if shape else []
    order = order if f.chance(60) else [prod(shape[:2]), *shape[2:]]
    if f.chance(30):
        order.insert(f.integer(0, len(order)), 1)
    if order and f.chance(50):
        order[f.integer(0, len(order) - 1)] = -1
    if order and shape and order[0] == shape[0] and f.chance(30):
        order[0] = 0
    return f.node(op, [x, f.constant(order, "int64")], exact=True)


@draws("Flatten")
def flatten(f: FileDrawing, op: str) -> object:
    x = f.operand()
    return f.node(op, [x], exact=True, **f.some(axis=f.integer(0, f.array(x).ndim)))


@draws("Squeeze", "Unsqueeze")
def squeeze(f: FileDrawing, op: str) -> object:
    x, shape = moved(f)
    if op == "Squeeze":
        axes = [i for i, d in enumerate(shape) if d == 1 and f.chance(70)]
        if not axes:
            return f.node(op, [x], exact=True)
    else:
        rank = len(shape) + f.integer(1, 2)
        axes = sorted(int(a) for a in f.rng.choice(rank, rank - len(shape), replace=False))
        axes = [a - rank for a in axes] if f.opset >= 11 and f.chance(30) else axes
    inputs, attributes = settings(f, "axes", axes, 13)
    return f.node(op, [x, *inputs], exact=True, **attributes)


@draws("Transpose")
def transpose(f: FileDrawing, op: str) -> object:
    x, shape = moved(f)
    return f.node(op, [x], exact=True, **f.some(perm=[int(p) for p in f.rng.permutation(len(shape))] or None))


@draws("Expand")
def expand(f: FileDrawing, op: str) -> object:
    x, shape = moved(f)
    wanted = [f.choice((1, 2, 3)) if d == 1 else f.choice((1, d)) for d in shape]
    wanted = [f.size()] * f.integer(0, 1) + wanted[f.integer(0, len(wanted)) if f.chance(20) else 0 :]
    return f.node(op, [x, f.constant(wanted, "int64")], exact=True)


@draws("Tile")
def tile(f: FileDrawing, op: str) -> object:
    x, shape = moved(f, 1)
    return f.node(op, [x, f.constant([f.integer(1, 3) for _ in shape], "int64")], exact=True)


@draws("Concat")
def concat(f: FileDrawing, op: str) -> object:
    x, shape = moved(f, 1)
    axis = f.axis(len(shape))
    parts = [x]
    for _ in range(f.integer(0, 2)):
        other = list(shape)
        other[axis] = f.size()
        parts.append(f.tensor(f.numbers(other, str(f.array(x).dtype))))
    return f.node(op, [parts[int(i)] for i in f.rng.permutation(len(parts))], exact=True, axis=axis)


@draws("Split")
def split(f: FileDrawing, op: str) -> object:
    x, shape = moved(f, 1)
    axis = f.axis(len(shape))
    size = shape[axis]
    if f.opset >= 18 and f.chance(40):
        count = f.integer(1, size)
        if -(-size // -(-size // count)) != count:
            raise Undrawn("these parts do not come out")
        return f.node(op, [x], count, exact=True, axis=axis, num_outputs=count)
    first = f.integer(1, size)
    sizes = [first, *([size - first] if size > first else [])]
    inputs, attributes = settings(f, "split", sizes, 13)
    return f.node(op, [x, *inputs], len(sizes), exact=True, axis=axis, **attributes)


@draws("Slice")
def cut(f: FileDrawing, op: str) -> object:
    x, shape = moved(f, 1)
    if f.opset < 10:
        axes = [a % len(shape) for a in f.axes(len(shape))]
        starts = [f.integer(-shape[a], shape[a] - 1) for a in axes]
        ends = [f.choice((2**31 - 1, shape[a], start % shape[a] + 1)) for a, start in zip(axes, starts, strict=True)]
        return f.node(op, [x], exact=True, axes=axes, starts=starts, ends=ends)
    axes = f.axes(len(shape))
    steps = [f.choice((1, 1, 2, 3, -1, -2)) for _ in axes]
    starts, ends = [], []
    for axis, step in zip(axes, steps, strict=True):
        low, high = sorted((f.integer(0, shape[axis] - 1), f.integer(0, shape[axis] - 1)))
        back = -(2**31) if f.chance(30) else low - 1 - shape[axis]
        starts.append(low if step > 0 else high)
        ends.append((2**31 - 1 if f.chance(30) else high + 1) if step > 0 else back)
    inputs = [f.constant(part, "int64") for part in (starts, ends, axes, steps)]
    return f.node(op, [x, *inputs], exact=True)


@draws("Pad")
def pad(f: FileDrawing, op: str) -> object:
    x = f.operand(1, 4)
    shape = f.array(x).shape
    modes = ["constant", "reflect", "edge", "wrap"] if f.opset >= 19 else ["constant", "reflect", "edge"]
    mode = f.choice(modes)
    least = 0 if mode != "constant" else -1
    pads = [f.integer(least, min(2, d - 1) if mode == "reflect" else 2) for d in (*shape, *shape)]
    if f.opset < 11:
        return f.node(op, [x], exact=True, mode=mode, pads=pads, **f.some(value=1.5))
    value = [f.constant(f.choice((0.0, 1.5)), "float32")] if mode == "constant" and f.chance(60) else []
    return f.node(op, [x, f.constant(pads, "int64"), *value], exact=True, mode=mode)


def places(f: FileDrawing, shape: tuple[int, ...], size: int) -> str:
    """Indices into an axis of a size, from the back too."""
    dtype = f.choice(("int64", "int64", "int32"))
    low = -size if f.opset >= 11 else 0
    return f.tensor(f.numbers(shape, dtype, low, size - 1), 60)


@draws("Gather")
def gather(f: FileDrawing, op: str) -> object:
    x, shape = moved(f, 1)
    axis = f.axis(len(shape))
    return f.node(op, [x, places(f, f.shape(0, 2), shape[axis])], exact=True, axis=axis)


@draws("GatherElements")
def gather_elements(f: FileDrawing, op: str) -> object:
    x, shape = moved(f, 1, 4)
    axis = f.axis(len(shape))
    wanted = [f.integer(1, 4) if a == axis % len(shape) else f.integer(1, d) for a, d in enumerate(shape)]
    return f.node(op, [x, places(f, tuple(wanted), shape[axis])], exact=True, axis=axis)


def tuples(f: FileDrawing, shape: tuple[int, ...], depth: int, unique: bool) -> tuple[str, tuple[int, ...]]:
    """Indices into the first axes of a shape, as GatherND has them, and the shape of their table."""
    count = f.integer(1, min(4, prod(shape[:depth])))
    flat = f.rng.choice(prod(shape[:depth]), count, replace=not unique)
    table = np.stack(np.unravel_index(flat, shape[:depth]), -1).astype(np.int64)
    return f.tensor(table, 60), (count,)


@draws("GatherND")
def gather_nd(f: FileDrawing, op: str) -> object:
    x, shape = moved(f, 1, 4)
    return f.node(op, [x, tuples(f, shape, f.integer(1, len(shape)), False)[0]], exact=True)


@draws("ScatterND")
def scatter_nd(f: FileDrawing, op: str) -> object:
    x = f.operand(1, 4)
    shape = f.array(x).shape
    depth = f.integer(1, len(shape))
    index, rows = tuples(f, shape, depth, True)
    updates = f.tensor(f.numbers((*rows, *shape[depth:])))
    options = f.some(reduction=f.choice(["none", "add", "mul"])) if f.opset >= 16 else {}
    return f.node(op, [x, index, updates], **options)


@draws("ScatterElements", "Scatter")
def scatter_elements(f: FileDrawing, op: str) -> object:
    x = f.operand(1, 4)
    shape = f.array(x).shape
    axis = f.axis(len(shape))
    rows = shape[axis]
    table = np.argsort(f.rng.random(shape), axis=axis)
    part = tuple(slice(0, f.integer(1, d)) for d in shape)
    table = table[part] - (rows if f.opset >= 11 and f.chance(30) else 0)
    reductions = ["none", "add", "mul", *(["min", "max"] if f.opset >= 18 else [])]
    options = f.some(reduction=f.choice(reductions)) if f.opset >= 16 and op == "ScatterElements" else {}
    return f.node(op, [x, f.tensor(table, 60), f.tensor(f.numbers(table.shape))], axis=axis, **options)


@draws("Compress")
def compress(f: FileDrawing, op: str) -> object:
    x, shape = moved(f, 1)
    axis = f.axis(len(shape)) if f.chance(70) else None
    size = prod(shape) if axis is None else shape[axis]
    chosen = f.constant(f.rng.random(f.integer(1, size)) < 0.6)
    where: dict[str, Any] = {} if axis is None else {"axis": axis}
    return f.node(op, [x, chosen], exact=True, **where)


@draws("DepthToSpace", "SpaceToDepth")
def blocks(f: FileDrawing, op: str) -> object:
    n, c, h, w = f.batch, f.integer(1, 3), f.integer(1, 3), f.integer(1, 3)
    shape = (n, 4 * c, h, w) if op == "DepthToSpace" else (n, c, 2 * h, 2 * w)
    mode = f.some(mode=f.choice(["DCR", "CRD"])) if op == "DepthToSpace" and f.opset >= 11 else {}
    return f.node(op, [f.tensor(f.numbers(shape), 0)], exact=True, blocksize=2, **mode)


@draws("CenterCropPad")
def center(f: FileDrawing, op: str) -> object:
    x, shape = moved(f, 1, 4)
    axes = f.axes(len(shape))
    sizes = [f.size() for _ in axes]
    return f.node(op, [x, f.constant(sizes, "int64")], exact=True, axes=axes)


@draws("ReverseSequence")
def reverse(f: FileDrawing, op: str) -> object:
    x = f.operand(2, 4)
    batch, time = f.choice(((0, 1), (1, 0)))
    shape = f.array(x).shape
    lengths = f.tensor(f.numbers((shape[batch],), "int64", 1, shape[time]), 70)
    return f.node(op, [x, lengths], exact=True, batch_axis=batch, time_axis=time)


@draws("OneHot")
def one_hot(f: FileDrawing, op: str) -> object:
    depth = f.integer(1, 5)
    x = f.operand(0, 3, dtype=f.choice(("int64", "int32")), low=-depth, high=depth - 1)
    values = f.constant(f.numbers((2,), "float32"))
    axis = f.some(axis=f.axis(f.array(x).ndim + 1))
    return f.node(op, [x, f.constant(depth, "int64"), values], exact=True, **axis)


@draws("EyeLike")
def eye(f: FileDrawing, op: str) -> object:
    return f.node(op, [f.operand(2, 2)], exact=True, **f.some(k=f.integer(-2, 2), dtype=1))


@draws("Shape", "Size")
def sizes(f: FileDrawing, op: str) -> object:
    x, _ = moved(f)
    ends = f.some(start=f.integer(-2, 1), end=f.integer(1, 4)) if op == "Shape" and f.opset >= 15 else {}
    (size,) = f.node(op, [x], exact=True, **ends)
    return f.node("Cast", [size], exact=True, to=1)


@draws("ConstantOfShape", "Range")
def made(f: FileDrawing, op: str) -> object:
    if op == "Range":
        bounds = [f.constant(value, "float32") for value in (f.integer(-3, 3), f.integer(4, 9), f.choice((1, 2, 0.5)))]
        (y,) = f.node(op, bounds, exact=True)
    else:
        value = numpy_helper.from_array(np.array([f.choice((0.0, 1.5))], np.float32))
        (y,) = f.node(op, [f.constant(f.shape(0, 4), "int64")], exact=True, **f.some(value=value))
    x = f.operand(0, 0)
    return f.node("Add", [x, y])


@draws("Constant")
def constant(f: FileDrawing, op: str) -> object:
    value = numpy_helper.from_array(f.numbers(f.shape(0, 3)))
    (y,) = f.node(op, [], exact=True, value=value)
    return f.node("Mul", [f.operand(0, 0), y])


@draws("Upsample")
def upsample(f: FileDrawing, op: str) -> object:
    x = f.operand(4, 4)
    scales = [1.0, 1.0, f.choice((1.0, 1.3, 2.0)), f.choice((1.5, 2.0, 3.0))]
    mode = f.choice(["nearest", "linear"])
    if f.opset >= 9:
        return f.node(op, [x, f.constant(scales, "float32")], mode=mode)
    return f.node(op, [x], mode=mode, scales=scales)


MODES = {
    "half_pixel": (11, 99),
    "asymmetric": (11, 99),
    "pytorch_half_pixel": (11, 99),
    "align_corners": (11, 99),
    "tf_half_pixel_for_nn": (11, 12),
    "half_pixel_symmetric": (19, 99),
    "tf_crop_and_resize": (11, 99),
}
"""How Resize finds positions, and the first and last opset that has it."""


@draws("Resize")
def resize(f: FileDrawing, op: str) -> object:
    """Of images by all modes, of other ranks by nearest alone: ONNX Runtime has no other there."""
    mode = f.choice(["nearest", "linear", "cubic"])
    x = f.operand(4, 4) if mode != "nearest" else f.operand(1, 5)
    shape = f.array(x).shape
    free = range(2, 4) if mode != "nearest" else range(len(shape))
    scales = [round(f.rng.uniform(0.5, 3), 1) if a in free else 1.0 for a in range(len(shape))]
    if f.opset < 11:
        if mode == "cubic":
            raise Undrawn("cubic came with opset 11")
        return f.node(op, [x, f.constant(scales, "float32")], mode=mode)
    coordinates = f.choice([name for name, (first, last) in MODES.items() if first <= f.opset <= last])
    how: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": coordinates}
    if mode == "nearest":
        how |= f.some(nearest_mode=f.choice(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]))
    elif f.opset >= 18 and coordinates != "tf_crop_and_resize":
        how |= f.some(antialias=1, exclude_outside=f.integer(0, 1)) if f.chance(50) else {}
    roi = f.constant([], "float32") if f.opset < 13 else ""
    if coordinates == "tf_crop_and_resize":
        how |= f.some(extrapolation_value=1.5)
        spans = [f.rng.uniform(-0.2, 1.2, 2).round(2) if a in free else np.array([0, 1]) for a in range(len(shape))]
        roi = f.constant(np.transpose(np.stack(spans)).reshape(-1), "float32")
    if f.chance(50):
        return f.node(op, [x, roi, f.constant(scales, "float32")], **how)
    sizes = [f.size() if a in free else d for a, d in enumerate(shape)]
    unknown = f.constant([], "float32") if f.opset < 13 else ""
    return f.node(op, [x, roi, unknown, f.constant(sizes, "int64")], **how)


@draws("TopK")
def top(f: FileDrawing, op: str) -> object:
    x = f.operand(1, 4, exact=True)
    shape = f.array(x).shape
    axis = f.axis(len(shape))
    k = f.integer(1, shape[axis])
    order = f.some(largest=f.integer(0, 1)) if f.opset >= 11 else {}
    if f.opset < 10:
        return f.node(op, [x], 2, exact=True, axis=axis, k=k)
    return f.node(op, [x, f.constant([k], "int64")], 2, exact=True, axis=axis, **order)
