"""The rules of ONNX Resize and Upsample: which axes they resize, to what length.

Lengths are computed in float32, as ONNX Runtime does (``upsamplebase.h``): where a last digit decides, a scale would
else give another length.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace

import numpy as np

from graphopt.errors import InvalidGraph, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.onnx.node import OnnxNode, onnx_rule
from graphopt.frontends.resizing import WHOLE, Axis, Manner, Span, resized
from graphopt.ir import Array, Dim, Value


@onnx_rule("Upsample")
def upsample(at: OnnxNode) -> Value:
    """Opsets before 11 say nothing of rounding: ONNX Runtime takes the next element where it shrinks an axis."""
    x, scales = at.value(0), at.known(1) if at.has(1) else np.array(at.attr("scales", list, []))
    manner = Manner(at.text("mode"), "asymmetric", "floor_or_ceil")
    return resized(at, x, by_scales(x, range(x.type.rank), scales), manner)


@onnx_rule("Resize")
def resize(at: OnnxNode) -> Value:
    """Opset 10 has inputs X and scales, later ones X, roi, scales and sizes."""
    if at.opset < 11:
        return upsample(at)
    x = at.value(0)
    manner = Manner(
        at.text("mode"),
        at.text("coordinate_transformation_mode"),
        at.text("nearest_mode"),
        at.real("cubic_coeff_a"),
        at.flag("antialias"),
        at.flag("exclude_outside"),
        at.real("extrapolation_value"),
    )
    axes = [normal.axis_of(a, x.type.rank) for a in at.ints("axes")] or list(range(x.type.rank))
    spans = cropped(at, axes) if manner.coordinates == "tf_crop_and_resize" else {}
    if at.has(3) and at.known(3).size > 0:
        parts = by_sizes(x, axes, at.dims(3), at.text("keep_aspect_ratio_policy", "stretch"), spans)
    else:
        parts = by_scales(x, axes, at.known(2), spans)
    return resized(at, x, [replace(part, roi=spans.get(part.index, WHOLE)) for part in parts], manner)


def cropped(at: OnnxNode, axes: Sequence[int]) -> dict[int, Span]:
    """The part of each axis that is cropped, of those that are."""
    starts, ends = at.known(1).reshape(2, -1).astype(np.float32)
    spans = dict(zip(axes, zip(starts, ends, strict=True), strict=True))
    return {axis: span for axis, span in spans.items() if span != WHOLE}


def by_scales(x: Value, axes: Sequence[int], scales: Array, spans: Container[int] = ()) -> list[Axis]:
    """The axes that scales change or ``spans`` crop; the others may be N."""
    changed = [(a, s) for a, s in zip(axes, scales.astype(np.float32), strict=True) if s != 1 or a in spans]
    return [Axis(a, have, int(np.float32(have) * s), s) for a, s in changed for have in [size_of(x, a)]]


def by_sizes(
    x: Value, axes: Sequence[int], sizes: Sequence[Dim], policy: str, spans: Container[int] = ()
) -> list[Axis]:
    """The axes that sizes change or ``spans`` crop; a policy keeps the aspect ratio of all axes named."""
    if policy not in ("stretch", "not_larger", "not_smaller"):
        raise Unsupported(f"resizing with keep_aspect_ratio_policy {policy!r}")
    same = {a for a, s in zip(axes, sizes, strict=True) if s == x.type.shape[a] and a not in spans}
    changed = [(a, s) for a, s in zip(axes, sizes, strict=True) if policy != "stretch" or a not in same]
    wanted = [(a, size_of(x, a), s) for a, s in changed if isinstance(s, int)]
    if len(wanted) < len(changed):
        raise InvalidGraph(f"resizing to {tuple(sizes)} depends on the batch")
    parts = [Axis(a, have, want, np.float32(want) / np.float32(have)) for a, have, want in wanted]
    if policy == "stretch":
        return parts
    scale = (min if policy == "not_larger" else max)(part.scale for part in parts)
    scaled = [replace(p, want=int(np.floor(float(np.float32(p.have) * scale) + 0.5)), scale=scale) for p in parts]
    return [part for part in scaled if scale != 1 or part.index in spans]


def size_of(x: Value, axis: int) -> int:
    size = x.type.shape[axis]
    if not isinstance(size, int):
        raise InvalidGraph(f"resizing axis {axis} of {x.type}, which depends on the batch")
    return size
