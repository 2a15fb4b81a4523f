"""The rules of the ONNX operators that move elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from graphopt.errors import InvalidGraph, InvalidInput, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.onnx_node import Node, onnx_rule
from graphopt.frontends.onnx_known import slices
from graphopt.ir import Batch, Dim, Value
from graphopt.ops import broadcast


@onnx_rule("Reshape")
def reshape(at: Node) -> Value:
    x, wanted = at.value(0), at.setting("shape", 1)
    if wanted is None:
        raise InvalidInput("a reshape needs a shape")
    return normal.reshape(at, x, normal.target_shape(x, wanted, not at.whole("allowzero", 0)))


@onnx_rule("Flatten")
def flatten(at: Node) -> Value:
    x = at.value(0)
    return normal.reshape(at, x, normal.flattened(x, at.whole("axis", 1)))


@onnx_rule("Squeeze")
def squeeze(at: Node) -> Value:
    x, axes = at.value(0), at.integers("axes", 1)
    if axes is None:
        gone = [a for a, d in enumerate(x.type.shape) if d == 1]
    else:
        gone = list(normal.axes_of(axes, x.type.rank))
    if any(x.type.shape[a] != 1 for a in gone):
        raise InvalidGraph(f"squeeze of axes {gone} of {x.type}")
    return normal.reshape(at, x, [d for a, d in enumerate(x.type.shape) if a not in gone])


@onnx_rule("Unsqueeze")
def unsqueeze(at: Node) -> Value:
    x, axes = at.value(0), at.integers("axes", 1) or []
    rank = x.type.rank + len(axes)
    new = normal.axes_of(axes, rank)
    rest = iter(x.type.shape)
    return normal.reshape(at, x, [1 if a in new else next(rest) for a in range(rank)])


@onnx_rule("Transpose")
def transpose(at: Node) -> Value:
    x = at.value(0)
    return normal.transpose(at, x, at.ints("perm") or range(x.type.rank)[::-1])


@onnx_rule("Concat")
def concat(at: Node) -> Value:
    return normal.concat(at, at.values, at.whole("axis", 1))


@onnx_rule("Slice")
def slice_value(at: Node) -> Value:
    x = at.value(0)
    cuts = slices(at, x.type.rank)
    for i, (axis, start, stop, step) in enumerate(cuts):
        x = normal.take(at, x, axis, start, stop, step, part="" if i == len(cuts) - 1 else "slice")
    return x


@onnx_rule("Gather")
def gather(at: Node) -> Value:
    """By constant indices: one, or such that a slice gives the same."""
    x, indices = at.value(0), at.known(1)
    axis = normal.axis_of(at.whole("axis", 0), x.type.rank)
    if indices.ndim == 0:
        return normal.select(at, x, axis, int(indices.item()))
    size = x.type.shape[axis]
    if isinstance(size, Batch):
        raise InvalidGraph("a gather along the batch")
    wanted = [int(i) % size for i in indices.reshape(-1)]
    step = wanted[1] - wanted[0] if len(wanted) > 1 else 1
    if indices.ndim > 1 or step < 1 or wanted != list(range(wanted[0], wanted[-1] + 1, step)):
        raise Unsupported("a gather of scattered elements", advice="only regular slices can be expressed")
    return normal.take(at, x, axis, wanted[0], wanted[-1] + 1, step)


@onnx_rule("Split")
def split(at: Node) -> Sequence[Value]:
    x, sizes = at.value(0), at.integers("split", 1)
    axis = normal.axis_of(at.whole("axis", 0), x.type.rank)
    size = x.type.shape[axis]
    if sizes is None:
        count = at.whole("num_outputs", at.outputs)
        sizes = list(normal.chunks(size, -(-size // count) if isinstance(size, int) else 1))
    return normal.split(at, x, axis, sizes)


@onnx_rule("Pad")
def pad(at: Node) -> Value:
    x = at.value(0)
    if (mode := at.text("mode", "constant")) != "constant":
        raise Unsupported(f"padding in mode {mode!r}", advice="only constant padding can be imported")
    pads, axes = at.integers("pads", 1), at.integers("axes", 3)
    if pads is None:
        raise InvalidInput("a padding needs pads")
    value = float(at.known(2).item()) if at.has(2) else at.real("value", 0.0)
    places = range(x.type.rank) if axes is None else [normal.axis_of(a, x.type.rank) for a in axes]
    before, after = [0] * x.type.rank, [0] * x.type.rank
    for axis, low, high in zip(places, pads[: len(places)], pads[len(places) :], strict=True):
        before[axis], after[axis] = low, high
    return normal.pad(at, x, before, after, value)


@onnx_rule("Expand")
def expand(at: Node) -> Value:
    x = at.value(0)
    return normal.expand(at, x, broadcast(x.type.shape, tuple(at.dims(1))))


@onnx_rule("Tile")
def tile(at: Node) -> Value:
    return normal.repeat(at, at.value(0), at.integers("repeats", 1) or [])


@onnx_rule("Cast")
def cast(at: Node) -> Value:
    x = at.value(0)
    wanted = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(at.whole("to", 0)))
    if x.type.dtype != str(wanted):
        raise Unsupported(f"turns {x.type.dtype} into {wanted}", advice="use one dtype throughout")
    return x


@onnx_rule("DepthToSpace")
def depth_to_space(at: Node) -> Value:
    mode = at.text("mode", "DCR")
    return normal.depth_to_space(at, at.value(0), at.whole("blocksize", 1), depth_first=mode == "DCR")


@onnx_rule("Upsample")
def upsample(at: Node) -> Value:
    scales = at.known(1).tolist() if at.has(1) else at.attr("scales", list, [])
    return resized(at, at.value(0), None, scales, "asymmetric", "floor")


@onnx_rule("Resize")
def resize(at: Node) -> Value:
    """Opset 10 has inputs X and scales, later ones X, roi, scales and sizes."""
    x = at.value(0)
    if at.opset < 11:
        return resized(at, x, None, at.known(1).tolist(), "asymmetric", "floor")
    if at.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Unsupported("a resize that keeps the aspect ratio", advice="give sizes")
    coordinates = at.text("coordinate_transformation_mode", "half_pixel")
    rounding = at.text("nearest_mode", "round_prefer_floor")
    axes = [normal.axis_of(a, x.type.rank) for a in at.ints("axes")] or list(range(x.type.rank))
    sizes, scales = list(x.type.shape), [1.0] * x.type.rank
    if by_size := at.has(3) and at.known(3).size > 0:
        for axis, size in zip(axes, at.dims(3), strict=True):
            sizes[axis] = size
    else:
        for axis, scale in zip(axes, at.known(2).tolist(), strict=True):
            scales[axis] = scale
    return resized(at, x, sizes if by_size else None, scales, coordinates, rounding)


def resized(
    at: Node, x: Value, sizes: Sequence[Dim] | None, scales: Sequence[float], coordinates: str, rounding: str
) -> Value:
    """Nearest resizing to sizes, or by scales, with the formulas of ONNX Resize."""
    if (mode := at.text("mode", "nearest")) != "nearest":
        raise Unsupported(f"resizing in mode {mode!r}", advice="only nearest can be imported")
    if sizes is not None and tuple(sizes[:2]) != x.type.shape[:2]:
        raise Unsupported("a resize of batch or channels")
    if sizes is None and tuple(scales[:2]) != (1.0, 1.0):
        raise Unsupported("a resize of batch or channels")
    have = normal.spatial(x)
    want = [int(np.floor(h * s)) for h, s in zip(have, scales[2:], strict=True)]
    if sizes is not None:
        want = [d for d in sizes[2:] if isinstance(d, int)]
        scales = [1.0, 1.0, *(w / h for w, h in zip(want, have, strict=True))]
    triples = zip(have, want, scales[2:], strict=True)
    return normal.resize(at, x, want, [nearest(h, w, s, coordinates, rounding) for h, w, s in triples])


def nearest(have: int, want: int, scale: float, coordinates: str, rounding: str) -> list[int]:
    """For every element of the result, the element of the input that ONNX copies there."""
    i = np.arange(want)
    places = {
        "asymmetric": i / scale,
        "half_pixel": (i + 0.5) / scale - 0.5,
        "pytorch_half_pixel": (i + 0.5) / scale - 0.5 if want > 1 else i * 0.0,
        "half_pixel_symmetric": (i + 0.5) / scale - 0.5 + have / 2 * (1 - want / (have * scale)),
        "align_corners": i * ((have - 1) / (want - 1)) if want > 1 else i * 0.0,
        "tf_half_pixel_for_nn": (i + 0.5) / scale,
    }
    if coordinates not in places:
        raise Unsupported(f"resizing by coordinates {coordinates!r}")
    at = places[coordinates]
    rounded = {
        "round_prefer_floor": np.ceil(at - 0.5),
        "round_prefer_ceil": np.floor(at + 0.5),
        "floor": np.floor(at),
        "ceil": np.ceil(at),
    }
    if rounding not in rounded:
        raise Unsupported(f"resizing with nearest_mode {rounding!r}")
    return [int(a) for a in np.clip(rounded[rounding], 0, have - 1)]
