"""Resizing, as TensorFlow has it: positions by the scale in / out, in float32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphopt.errors import InvalidInput, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.emit import copied
from graphopt.frontends.limits import positions
from graphopt.frontends.resizing import Axis, Manner, mixed
from graphopt.frontends.tflite.node import TfliteNode, tflite_rule
from graphopt.frontends.tflite.rules.convolution import check_image, image
from graphopt.ir import Value


def sizes_of(at: TfliteNode) -> Sequence[int]:
    sizes = at.integers(1)
    if len(sizes) != 2 or min(sizes) < 1:
        raise InvalidInput(f"a resize to {sizes}")
    return sizes


@tflite_rule("RESIZE_NEAREST_NEIGHBOR", layout="first")
def nearest(at: TfliteNode) -> Value:
    """Positions are rounded down, or halves away from zero where corners are aligned."""
    options = at.options("ResizeNearestNeighborOptions")
    align, half = bool(options.AlignCorners()), bool(options.HalfPixelCenters())
    check_image(at)
    (x,) = at.kept(0)
    sources = {}
    for axis, have, want in zip((2, 3), normal.spatial(x), sizes_of(at), strict=True):
        aligned = align and want > 1
        scale = np.float32(have - 1) / np.float32(want - 1) if aligned else np.float32(have) / np.float32(want)
        place = (positions(want).astype("float32") + np.float32(0.5 if half else 0.0)) * scale
        rounded = np.floor(place + np.float32(0.5)) if align else np.floor(place)
        sources[axis] = [int(p) for p in np.clip(rounded, 0, have - 1)]
    return copied(at, x, sources)


@tflite_rule("RESIZE_BILINEAR", layout="first")
def bilinear(at: TfliteNode) -> Value:
    options, x = at.options("ResizeBilinearOptions"), image(at)
    align, half = bool(options.AlignCorners()), bool(options.HalfPixelCenters())
    if align and half:
        raise Unsupported("a resize that aligns corners and takes half pixels")
    manner = Manner("linear", "align_corners" if align else "half_pixel" if half else "asymmetric")
    for axis, have, want in zip((2, 3), normal.spatial(x), sizes_of(at), strict=True):
        if have != want:
            scale = np.float32(want) / np.float32(have)
            x = mixed(at, x, Axis(axis, have, want, scale), manner, part=f"axis_{axis}")
    return x
