"""The detector of the examples: targets and loss by hand, augmentation by what it may not change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("PIL", reason="pip install 'graphopt[examples]'")

from examples.detector.augment import Augmented, mosaic, moved
from examples.detector.data import Pictures
from examples.detector.loss import detection_loss, overlaps
from examples.detector.net import STRIDE, Detector
from examples.detector.targets import targets
from graphopt.evaluation.detection import decode
from graphopt.evaluation.detection.boxes import corners

LABELS = torch.tensor(
    [
        [[0, 0.5, 0.5, 0.8, 0.6], [1, 0.3, 0.45, 0.2, 0.2], [-1, 0, 0, 0, 0]],
        [[1, 0.9, 0.1, 0.02, 0.02], [-1, 0.5, 0.5, 1, 1], [-1, 0, 0, 0, 0]],
    ]
)


def test_each_cell_learns_the_smallest_box_that_it_is_in_the_middle_of() -> None:
    wanted = targets(LABELS, 6, 8)
    assert wanted.classes[0].tolist() == [
        [-1, -1, -1, -1, -1, -1, -1, -1],
        [-1, -1, -1, -1, -1, -1, -1, -1],
        [-1, -1, 1, 0, 0, 0, -1, -1],
        [-1, -1, 0, 0, 0, 0, -1, -1],
        [-1, -1, -1, -1, -1, -1, -1, -1],
        [-1, -1, -1, -1, -1, -1, -1, -1],
    ]
    assert (wanted.classes[1] >= 0).nonzero().tolist() == [[0, 7]]  # smaller than a cell, whose it is all the same


def test_what_is_learned_is_decoded_to_the_boxes() -> None:
    wanted = targets(LABELS[:1], 6, 8)
    scores = torch.where(wanted.classes[:, None] == torch.arange(2).view(1, 2, 1, 1), 9.0, -9.0)
    boxes, certain = decode([wanted.distances.numpy(), scores.numpy()], (6 * STRIDE, 8 * STRIDE), "fcos")
    right = corners(LABELS[0, :, 1:].numpy() * (8 * STRIDE, 6 * STRIDE, 8 * STRIDE, 6 * STRIDE))
    found = certain[0].argmax(1)[certain[0].max(1) > 0.5]
    assert len(found) == 8
    assert np.allclose(boxes[0][certain[0].max(1) > 0.5], right[found], atol=1e-4)


def test_the_loss_is_that_of_a_box_by_hand() -> None:
    label = LABELS[:1, :1]
    wanted = targets(label, 6, 8)
    logits = torch.where(wanted.classes[:, None] == 0, 20.0, -20.0)
    assert float(detection_loss((wanted.distances, logits), {"label": label})) == pytest.approx(0, abs=1e-5)
    further = wanted.distances + torch.tensor([0, 0, 1.0, 0]).view(1, 4, 1, 1)
    area, larger = 6.4 * 3.6, 7.4 * 3.6
    overlap = area / larger
    scores = (1 - overlap) ** 2 * 20 * (1 - overlap)  # cross entropy of a logit of 20
    found = float(detection_loss((further, logits), {"label": label}))
    assert found == pytest.approx(2 * (1 - overlap + 0.1 * 0.5) + 3 * scores, rel=1e-4)


def test_overlaps_stay_within_their_limits_where_sides_are_inverted() -> None:
    sides = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0))
    overlap, general = overlaps(sides.clamp_min(0), sides.roll(1, 0))
    assert overlap.min() >= 0 and overlap.max() <= 1
    assert general.min() >= -1 and general.max() <= 1


def test_a_picture_without_boxes_has_a_loss_of_its_scores_only() -> None:
    net = Detector(2, 3).eval()
    outputs = net(torch.rand(2, 3, 64, 96))
    assert [list(y.shape) for y in outputs] == [[2, 4, 4, 6], [2, 3, 4, 6]]
    loss = detection_loss(outputs, {"label": torch.full((2, 1, 5), -1.0)})
    assert torch.isfinite(loss) and loss > 0


def square(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Black pictures with a white rectangle each, and its box."""
    rng = np.random.default_rng(seed)
    images, boxes = torch.zeros(8, 3, 64, 96), torch.zeros(8, 1, 5)
    for image, box in zip(images, boxes, strict=True):
        x, y, w, h = rng.integers(8, 40), rng.integers(8, 20), 2 * rng.integers(8, 16), 2 * rng.integers(8, 14)
        image[:, y : y + h, x : x + w] = 1
        box[0, 1:] = torch.tensor([(x + w / 2) / 96, (y + h / 2) / 64, w / 96, h / 64])
    return images, boxes


@pytest.mark.parametrize("seed", range(3))
def test_boxes_go_with_the_pictures(seed: int) -> None:
    torch.manual_seed(seed)
    images, boxes = moved(*mosaic(*square(seed)), upside_down=True)
    there = torch.zeros_like(images[:, 0])
    for image, own in zip(there, boxes, strict=True):
        for _, x, y, w, h in own[own[:, 0] >= 0].tolist():
            rows, columns = (torch.arange(n) + 0.5 for n in (64, 96))
            inside = ((rows / 64 - y).abs() <= h / 2)[:, None] & ((columns / 96 - x).abs() <= w / 2)
            image[inside] = 1
    light = images.mean(1) > 0.5
    shared = (light & (there > 0)).sum() / (there > 0).sum()
    assert shared > 0.93
    outside = light & (there == 0)  # what is left of boxes that are hardly there, and edges
    assert outside.sum() < 0.1 * light.sum()


def test_batches_are_of_the_random_numbers_of_torch() -> None:
    images, boxes = square(0)
    data = Augmented(Pictures((images * 255).byte().numpy(), boxes.numpy(), [str(i) for i in range(8)]), batch_size=4)
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        runs.append(list(data))
    assert len(runs[0]) == len(data) == 2
    assert torch.equal(runs[0][1]["images"], runs[1][1]["images"])
    assert not torch.equal(runs[0][1]["images"], runs[2][1]["images"])
    assert runs[0][0]["images"].min() >= 0 and runs[0][0]["images"].max() <= 1
