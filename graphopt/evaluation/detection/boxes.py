"""Boxes ``[..., 4]`` by their corners, left, top, right and bottom, in pixels."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array


def corners(boxes: Array) -> Array:
    """Of boxes by their centre, width and height."""
    middle, size = boxes[..., :2], boxes[..., 2:4]
    return np.concatenate([middle - size / 2, middle + size / 2], -1)


def overlaps(one: Array, other: Array) -> Array:
    """Intersection over union of each of ``[n, 4]`` with each of ``[m, 4]``, as ``[n, m]``; 0 of two without area."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), -1)
    total = area(one)[:, None] + area(other)[None] - shared
    return np.asarray(np.where(total > 0, shared / np.where(total > 0, total, 1), 0.0))


def area(boxes: Array) -> Array:
    return np.asarray(np.prod(np.maximum(boxes[..., 2:] - boxes[..., :2], 0), -1))


def thinned(boxes: Array, scores: Array, classes: Array, overlap: float) -> Array:
    """Non-maximum suppression by class: the places of the boxes that stay, the highest score first.

    A box goes if a better one of its class overlaps it by more than so much; of equal scores the first is better.
    """
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        close = overlaps(boxes[best : best + 1], boxes[rest])[0] > overlap
        order = rest[~(close & (classes[rest] == classes[best]))]
    return np.array(kept, np.int64)
