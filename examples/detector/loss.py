"""The loss: of boxes by GIoU (Rezatofighi et al., 2019), of scores the quality focal loss (Li et al., 2020)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from examples.detector.targets import targets

BOXES, SMOOTH, SCORES = 2.0, 0.1, 3.0
"""Weights: of the boxes, therein of the smooth L1 of the distances, and of the scores."""


def detection_loss(outputs: tuple[Tensor, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
    """Of the outputs of a ``Detector`` and the boxes ``[N, boxes, 5]`` that are the batch's ``label``.

    A score is to be the overlap of the box that comes with it. Each class counts by its own boxes, or a rare one
    would starve.
    """
    distances, logits = outputs
    wanted = targets(batch["label"], *logits.shape[2:])
    learned = wanted.classes >= 0
    kinds = wanted.classes[learned]
    own, right = (t.permute(0, 2, 3, 1)[learned] for t in (distances, wanted.distances))
    overlap, general = overlaps(own.clamp_min(0), right)
    of_boxes = 1 - general + SMOOTH * functional.smooth_l1_loss(own, right, reduction="none").sum(-1)

    quality = torch.zeros_like(logits).permute(0, 2, 3, 1)
    quality[(*learned.nonzero(as_tuple=True), kinds)] = overlap.detach()
    quality = quality.permute(0, 3, 1, 2)
    cross = functional.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    of_scores = ((logits.sigmoid() - quality).square() * cross).sum((0, 2, 3))

    count = functional.one_hot(kinds, logits.shape[1]).sum(0).clamp_min(1)
    present = max(len(kinds.unique()), 1)
    return (BOXES * (of_boxes / count[kinds]).sum() + SCORES * (of_scores / count).sum()) / present


def overlaps(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union, and GIoU, of boxes ``[n, 4]`` by their distances from one point each."""
    both = torch.minimum(one, other)
    hull = area(torch.maximum(one, other))
    shared = area(both)
    union = area(one) + area(other) - shared
    overlap = shared / union.clamp_min(1e-6)
    return overlap, overlap - (hull - union) / hull.clamp_min(1e-6)


def area(distances: Tensor) -> Tensor:
    left, top, right, bottom = distances.unbind(-1)  # the point may be outside of a small box: one is negative then
    return (left + right).clamp_min(0) * (top + bottom).clamp_min(0)
