"""The outputs of YOLO-type heads as boxes and scores.

- ``v8``: one output ``[N, 4 + classes, boxes]``, centre, width and height in pixels, then a probability for each class;
  or two, ``[N, boxes, 4]`` and ``[N, boxes, classes]``.
- ``v5-boxes``: one output ``[N, boxes, 5 + classes]``, the fifth being the probability that there is an object.
- ``v5``, ``v3``: raw grids, one output ``[N, anchors * (5 + classes), rows, columns]`` a scale, whose anchors are given
  in pixels. For a cell, t being an output and s the sigmoid, the centre is 2 s(t) - 0.5 (v3: s(t)) cells from its
  corner, and a side is 4 s(t)^2 (v3: exp(t)) anchors.
- ``fcos`` (Tian et al., 2019): raw grids without anchors, two outputs a scale. ``[N, 4, rows, columns]`` are distances
  from the middle of a cell to the left, top, right and bottom of its box, in cells, negative ones being 0;
  ``[N, classes, rows, columns]`` are logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import expit

from graphopt.errors import InvalidInput
from graphopt.evaluation.detection.boxes import corners
from graphopt.ir import Array

Anchors = Sequence[Sequence[tuple[float, float]]]
"""Width and height in pixels of each anchor of each scale, in the order of the outputs."""
Decoded = tuple[Array, Array]
"""Corners ``[N, boxes, 4]`` in pixels, and scores ``[N, boxes, classes]``."""

LARGEST = 80.0
"""Of an exponent: what is beyond is no box."""


def decode(outputs: Sequence[Array], size: tuple[int, int], head: str | None = None, anchors: Anchors = ()) -> Decoded:
    """The boxes and scores of a batch. ``size`` is the height and width of the images.

    Without ``head`` it is known by its shapes: of one output ``[N, a, b]`` the shorter axis has the numbers of a box.
    Raises ``InvalidInput`` for outputs that are no such head.
    """
    kind = head or head_of(outputs)
    if kind not in HEADS:
        raise InvalidInput(f"no head is called {kind!r}", advice=f"one of {', '.join(HEADS)}")
    return HEADS[kind](outputs, size, anchors)


def head_of(outputs: Sequence[Array]) -> str:
    """The kind of head by the shapes of its outputs."""
    ranks = {y.ndim for y in outputs}
    if ranks == {4}:
        return "v5"
    if ranks == {3} and len(outputs) == 1 and outputs[0].shape[1] >= outputs[0].shape[2]:
        return "v5-boxes"
    return "v8"


def without_grid(outputs: Sequence[Array], size: tuple[int, int], anchors: Anchors) -> Decoded:
    if len(outputs) == 2 and outputs[0].ndim == outputs[1].ndim == 3:
        boxes, scores = outputs
        if boxes.shape[:2] == scores.shape[:2] and boxes.shape[2] == 4:
            return corners(boxes), scores
    if len(outputs) != 1 or outputs[0].ndim != 3 or outputs[0].shape[1] < 5:
        raise mismatch(outputs, "[N, 4 + classes, boxes], or [N, boxes, 4] and [N, boxes, classes]")
    rows = outputs[0].transpose(0, 2, 1)
    return corners(rows), rows[..., 4:]


def with_object(outputs: Sequence[Array], size: tuple[int, int], anchors: Anchors) -> Decoded:
    if len(outputs) != 1 or outputs[0].ndim != 3 or outputs[0].shape[2] < 6:
        raise mismatch(outputs, "[N, boxes, 5 + classes]")
    rows = outputs[0]
    return corners(rows), rows[..., 4:5] * rows[..., 5:]


def grid(near: Callable[[Array], Array], side: Callable[[Array], Array]) -> Callable[..., Decoded]:
    """The rule of a raw grid: how far a centre is from the corner of its cell, and how many anchors a side is."""

    def rule(outputs: Sequence[Array], size: tuple[int, int], anchors: Anchors) -> Decoded:
        if len(anchors) != len(outputs):
            advice = "give them for each output: --anchors '10,13 16,30; 30,61 62,45'"
            raise InvalidInput(f"{len(outputs)} outputs, and anchors for {len(anchors)}", where="head", advice=advice)
        scales = [scale(y, size, np.asarray(own, float)) for y, own in zip(outputs, anchors, strict=True)]
        boxes, scores = (np.concatenate(parts, 1) for parts in zip(*scales, strict=True))
        return boxes, scores

    def scale(output: Array, size: tuple[int, int], anchors: Array) -> Decoded:
        if output.ndim != 4 or output.shape[1] % len(anchors) or output.shape[1] // len(anchors) < 6:
            raise mismatch([output], f"[N, {len(anchors)} * (5 + classes), rows, columns]")
        count, _, height, width = output.shape
        cells = output.reshape(count, len(anchors), -1, height, width).transpose(0, 1, 3, 4, 2)
        corner = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1)
        middle = (near(cells[..., :2]) + corner) * (size[1] / width, size[0] / height)
        sides = side(cells[..., 2:4]) * anchors[:, None, None]
        boxes = corners(np.concatenate([middle, sides], -1)).reshape(count, -1, 4)
        return boxes, (expit(cells[..., 4:5]) * expit(cells[..., 5:])).reshape(count, boxes.shape[1], -1)

    return rule


def distances(outputs: Sequence[Array], size: tuple[int, int], anchors: Anchors) -> Decoded:
    if len(outputs) % 2:
        raise mismatch(outputs, FCOS)
    found = []
    for sides, logits in zip(outputs[::2], outputs[1::2], strict=True):
        if sides.ndim != 4 or logits.ndim != 4 or sides.shape[1] != 4 or sides.shape[2:] != logits.shape[2:]:
            raise mismatch(outputs, FCOS)
        count, _, height, width = sides.shape
        away = np.maximum(sides, 0).transpose(0, 2, 3, 1)
        middle = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1) + 0.5
        boxes = np.concatenate([middle - away[..., :2], middle + away[..., 2:]], -1)
        boxes = boxes * np.tile((size[1] / width, size[0] / height), 2)
        scores = expit(logits).transpose(0, 2, 3, 1)
        found.append((boxes.reshape(count, -1, 4), scores.reshape(count, height * width, -1)))
    boxes, scores = (np.concatenate(parts, 1) for parts in zip(*found, strict=True))
    return boxes, scores


FCOS = "for each scale [N, 4, rows, columns] and [N, classes, rows, columns]"


def mismatch(outputs: Sequence[Array], wanted: str) -> InvalidInput:
    shapes = ", ".join(str(list(y.shape)) for y in outputs)
    advice = f"say which head it is (--head): {', '.join(HEADS)}"
    return InvalidInput(f"outputs of the shapes {shapes}, {wanted} needed", where="head", advice=advice)


HEADS: dict[str, Callable[[Sequence[Array], tuple[int, int], Anchors], Decoded]] = {
    "v8": without_grid,
    "v5-boxes": with_object,
    "v5": grid(lambda t: 2 * expit(t) - 0.5, lambda t: 4 * expit(t) ** 2),
    "v3": grid(expit, lambda t: np.exp(np.minimum(t, LARGEST))),
    "fcos": distances,
}
"""Each kind of head by its name."""
