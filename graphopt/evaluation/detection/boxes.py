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
    shared = product(high - low)
    total = area(one)[:, None] + area(other)[None] - shared
    return np.asarray(np.where(total > 0, shared / np.where(total > 0, total, 1), 0.0))


def area(boxes: Array) -> Array:
    return product(boxes[..., 2:] - boxes[..., :2])


def product(sides: Array) -> Array:
    """Of two sides ``[..., 2]``; 0 if one is negative."""
    sides = np.maximum(sides, 0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def thinned(boxes: Array, scores: Array, classes: Array, overlap: float, most: int) -> Array:
    """Non-maximum suppression by class: the places of the boxes that stay, at most so many of a class, the highest
    score first.

    A box goes if a better one of its class overlaps it by more than ``overlap``; of equal scores the first is better.
    """
    order = np.argsort(-scores, kind="stable")
    stays = np.zeros(len(scores), bool)
    for kind in np.unique(classes):
        left = order[classes[order] == kind]
        for _ in range(most):
            if not len(left):
                break
            best, rest = left[:1], left[1:]
            stays[best] = True
            left = rest[~(overlaps(boxes[best], boxes[rest])[0] > overlap)]
    return order[stays[order]]
