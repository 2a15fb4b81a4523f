"""Detectors: heads by hand, mean average precision by pycocotools 2.0.11."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from graphopt import evaluate
from graphopt.errors import GraphoptError
from graphopt.evaluation.detection import MeanAveragePrecision, decode, read_boxes
from graphopt.evaluation.detection.boxes import overlaps, thinned
from graphopt.ir import Array, Batch, Graph, arg

SIDE, BOXES, CLASSES = 64, 24, 3


def detector() -> Graph:
    """Takes images and what a v8 head would give for them, and gives that."""
    image = arg("image", "float32", (Batch(), 1, SIDE, SIDE))
    boxes = arg("boxes", "float32", (Batch(), 4 + CLASSES, BOXES))
    return Graph((image, boxes), (boxes,), name="detector")


def drawn(seed: int, images: int = 12) -> tuple[Array, Array]:
    """Labels, and detections near some of the boxes and elsewhere, with scores that are often equal."""
    rng = np.random.default_rng(seed)
    labels = np.full((images, 8, 5), -1.0)
    output = np.zeros((images, 4 + CLASSES, BOXES), "float32")
    for image in range(images):
        n = int(rng.integers(0, 9))
        wh, c, k = rng.uniform(0.1, 0.4, (n, 2)), rng.uniform(0.2, 0.8, (n, 2)), rng.integers(0, CLASSES, n)
        labels[image, :n] = np.column_stack([k, c, wh])
        own = []
        for row in labels[image, :n]:
            for _ in range(int(rng.integers(0, 3))):
                box = row[1:] + rng.normal(0, 0.03, 4)
                box[2:] = np.maximum(box[2:], 0.05)
                kind = row[0] if rng.random() < 0.85 else rng.integers(0, CLASSES)
                own.append([*(box * SIDE), kind, np.round(rng.random(), 1)])
        for _ in range(int(rng.integers(0, 4))):
            box = np.append(rng.uniform(0.2, 0.8, 2), rng.uniform(0.1, 0.4, 2))
            own.append([*(box * SIDE), rng.integers(0, CLASSES), np.round(rng.random(), 1)])
        for at, (*box, kind, score) in enumerate(own):
            output[image, :4, at], output[image, 4 + int(kind), at] = box, max(score, 0.01)
    return labels, output


COCO = {
    0: (0.24787899669087787, 0.086118318920335),
    1: (0.47338144447928954, 0.18935046219554083),
    2: (0.3048070535953851, 0.11996225036348102),
    3: (0.325978861622426, 0.10981415266068732),
    4: (0.3796662107608373, 0.1659633165881825),
    5: (0.33337958504262216, 0.13695565915603392),
}
"""mAP50 and mAP50-95 of the boxes drawn from each seed, by pycocotools' COCOeval."""


@pytest.mark.parametrize("seed", COCO)
def test_the_mean_average_precision_is_cocos(seed: int) -> None:
    labels, output = drawn(seed)
    data = {"image": np.zeros((12, 1, SIDE, SIDE), "float32"), "boxes": output, "labels": labels}
    for name, wanted in zip(("map50", "map50-95"), COCO[seed], strict=True):
        found = evaluate(detector(), data, "labels", metric=MeanAveragePrecision(name, overlap=1)).score
        assert found is not None
        assert found.value == pytest.approx(wanted, abs=1e-6)
        assert found.low is not None and found.high is not None
        assert found.low < wanted < found.high


def test_a_perfect_detector_and_one_that_finds_nothing() -> None:
    labels, output = drawn(0)
    perfect = np.zeros_like(output)
    for image, rows in enumerate(labels):
        for at, (kind, *box) in enumerate(rows[rows[:, 0] >= 0]):
            perfect[image, :4, at], perfect[image, 4 + int(kind), at] = np.multiply(box, SIDE), 0.9
    images = np.zeros((12, 1, SIDE, SIDE), "float32")
    results = [
        evaluate(detector(), {"image": images, "boxes": y}, labels, metric=MeanAveragePrecision("map50-95", overlap=1))
        for y in (perfect, np.zeros_like(output))
    ]
    assert [r.score.value for r in results if r.score] == [pytest.approx(1), 0]
    assert not results[0].worst
    counts = (labels[:, :, 0] >= 0).sum(1)
    assert results[1].worst[0].loss == counts.max()


def test_overlaps_and_suppression_by_hand() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [0, 5, 10, 15], [20, 20, 20, 20]], float)
    shared = overlaps(boxes, boxes)
    assert shared[0].tolist() == [1, 0.8, pytest.approx(50 / 150), 0]
    assert shared[3, 3] == 0
    scores, kinds = np.array([0.5, 0.9, 0.4, 0.3]), np.array([0, 0, 0, 0])
    assert thinned(boxes, scores, kinds, 0.7, 9).tolist() == [1, 2, 3]
    assert thinned(boxes, scores, kinds, 0.8, 9).tolist() == [1, 0, 2, 3]
    assert thinned(boxes, scores, np.array([0, 1, 0, 0]), 0.7, 9).tolist() == [1, 0, 2, 3]
    assert thinned(boxes, scores, np.array([0, 1, 0, 0]), 0.7, 2).tolist() == [1, 0, 2]


def sigmoid(t: float) -> float:
    return 1 / (1 + math.exp(-t))


@pytest.mark.parametrize("head", ["v5", "v3"])
def test_grids_are_decoded_as_they_are_defined(head: str) -> None:
    rng = np.random.default_rng(0)
    anchors = [[(10.0, 13.0), (16.0, 30.0)], [(30.0, 61.0), (62.0, 45.0)]]
    outputs = [rng.standard_normal((2, 2 * (5 + CLASSES), *cells)) for cells in ((4, 6), (2, 3))]
    boxes, scores = decode(outputs, (32, 48), head, anchors)
    assert boxes.shape == (2, 2 * 24 + 2 * 6, 4)
    assert scores.shape == (2, 60, CLASSES)
    at = 0
    for output, own, stride in zip(outputs, anchors, (8, 16), strict=True):
        for a, (width, height) in enumerate(own):
            for row, column in np.ndindex(output.shape[2:]):
                x, y, w, h, there, *kinds = output[1, a * 8 : a * 8 + 8, row, column].tolist()
                if head == "v5":
                    middle = (2 * sigmoid(x) - 0.5 + column) * stride, (2 * sigmoid(y) - 0.5 + row) * stride
                    size = (2 * sigmoid(w)) ** 2 * width, (2 * sigmoid(h)) ** 2 * height
                else:
                    middle = (sigmoid(x) + column) * stride, (sigmoid(y) + row) * stride
                    size = math.exp(w) * width, math.exp(h) * height
                wanted = [m + sign * s / 2 for sign in (-1, 1) for m, s in zip(middle, size, strict=True)]
                assert boxes[1, at].tolist() == pytest.approx(wanted)
                assert scores[1, at].tolist() == pytest.approx([sigmoid(there) * sigmoid(k) for k in kinds])
                at += 1


def test_distances_to_the_sides_are_decoded_as_they_are_defined() -> None:
    rng = np.random.default_rng(0)
    outputs = [rng.standard_normal((2, n, *cells)) for cells in ((4, 6), (2, 3)) for n in (4, CLASSES)]
    boxes, scores = decode(outputs, (32, 48), "fcos")
    assert scores.shape == (2, 24 + 6, CLASSES)
    at = 0
    for sides, logits, stride in zip(outputs[::2], outputs[1::2], (8, 16), strict=True):
        for row, column in np.ndindex(sides.shape[2:]):
            x, y = (column + 0.5) * stride, (row + 0.5) * stride
            left, top, right, bottom = (max(t, 0) * stride for t in sides[1, :, row, column].tolist())
            assert boxes[1, at].tolist() == pytest.approx([x - left, y - top, x + right, y + bottom])
            assert scores[1, at].tolist() == pytest.approx([sigmoid(t) for t in logits[1, :, row, column].tolist()])
            at += 1
    with pytest.raises(GraphoptError, match="for each scale"):
        decode(outputs[:3], (32, 48), "fcos")
    with pytest.raises(GraphoptError, match="for each scale"):
        decode(outputs[1:3], (32, 48), "fcos")


def test_heads_are_known_by_their_shapes() -> None:
    rng = np.random.default_rng(0)
    rows = rng.random((2, 30, 4 + CLASSES))
    boxes, scores = decode([rows.transpose(0, 2, 1)], (32, 32))
    x, y, w, h = rows[0, 0, :4]
    assert boxes[0, 0].tolist() == pytest.approx([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    assert np.array_equal(scores, rows[..., 4:])
    pair = decode([rows[..., :4], rows[..., 4:]], (32, 32))
    assert np.array_equal(pair[0], boxes) and np.array_equal(pair[1], scores)
    with_object = decode([np.insert(rows, 4, 0.5, axis=2)], (32, 32))
    assert np.array_equal(with_object[0], boxes)
    assert with_object[1] == pytest.approx(scores / 2)


def test_boxes_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.2 0.1\n2 0.1 0.2 0.1 0.1\n\n")
    (tmp_path / "b.txt").write_text("")
    found = read_boxes(tmp_path)
    assert found.shape == (2, 2, 5)
    assert found[0, 1].tolist() == [2, 0.1, 0.2, 0.1, 0.1]
    assert (found[1, :, 0] == -1).all()
    (tmp_path / "c.txt").write_text("0 0.5 0.5 0.2\n")
    with pytest.raises(GraphoptError, match=r"c\.txt: has a line that is not `class x y width height`"):
        read_boxes(tmp_path)


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ([0, 32, 32, 10, 10], "a box of image 0 is not within 0 and 1"),
        ([0, np.nan, 0.5, 0.1, 0.1], "a box of image 0 is not within 0 and 1"),
        ([3, 0.5, 0.5, 0.1, 0.1], "a box of image 0 has the class 3 (the classes are 0 to 2)"),
        ([0.5, 0.5, 0.5, 0.1, 0.1], "a box of image 0 has the class 0.5"),
    ],
)
def test_labels_that_are_no_boxes(label: list[float], told: str) -> None:
    _, output = drawn(0, images=1)
    data = {"image": np.zeros((1, 1, SIDE, SIDE), "float32"), "boxes": output}
    with pytest.raises(GraphoptError, match=re.escape(told)):
        evaluate(detector(), data, np.array([[label]]), metric="map50")
    with pytest.raises(GraphoptError, match=r"\[images, boxes, 5\] needed"):
        evaluate(detector(), data, np.zeros(1), metric="map50")


def test_outputs_that_are_no_head() -> None:
    for outputs, head, told in (
        ([np.zeros((2, 4, 9))], "v8", "[N, 4 + classes, boxes]"),
        ([np.zeros((2, 9, 5))], None, "[N, boxes, 5 + classes] needed"),
        ([np.zeros((2, 16, 4, 4))], None, "1 outputs, and anchors for 0"),
        ([np.zeros((2, 16, 4, 4))], "v9", "no head is called 'v9'"),
    ):
        with pytest.raises(GraphoptError, match=re.escape(told)):
            decode(outputs, (32, 32), head)
    with pytest.raises(GraphoptError, match="2 \\* \\(5 \\+ classes\\)"):
        decode([np.zeros((2, 15, 4, 4))], (32, 32), "v5", [[(1, 1), (2, 2)]])
