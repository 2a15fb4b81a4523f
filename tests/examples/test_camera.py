"""The smart camera: its pictures, its loss, and the whole of it in small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("PIL", reason="pip install 'graphopt[examples]'")

from examples.camera.cells import varied
from examples.camera.loss import assigned, detection_loss
from examples.camera.net import HEIGHT, STRIDE, WIDTH

ROOT = Path(__file__).parents[2]
ROWS = ["base", "further", "half", "half-from-scratch", "quarter", "quarter-from-scratch"]


def label(*boxes: tuple[int, float, float, float, float]) -> torch.Tensor:
    """Class, then centre, width and height in pixels, as the label of one picture."""
    return torch.tensor([boxes]) / torch.tensor([1, WIDTH, HEIGHT, WIDTH, HEIGHT])


@pytest.mark.parametrize("seed", range(4))
def test_boxes_go_where_their_pictures_go(seed: int) -> None:
    torch.manual_seed(seed)
    images, boxes = torch.zeros(6, 3, HEIGHT, WIDTH), label((1, 132, 64, 40, 24)).repeat(6, 1, 1)
    images[:, :, 52:76, 112:152] = 1
    moved, found = varied(images, boxes)
    for picture, box in zip(moved, found[:, 0], strict=True):
        y, x = (picture[0] > 0.4).nonzero().T
        seen = torch.tensor([x.min(), y.min(), x.max() + 1, y.max() + 1])
        middle, half = box[1:3] * torch.tensor([WIDTH, HEIGHT]), box[3:] * torch.tensor([WIDTH, HEIGHT]) / 2
        assert (seen - torch.cat([middle - half, middle + half])).abs().max() <= 1.5


def test_what_is_moved_out_of_the_picture_is_no_object() -> None:
    torch.manual_seed(0)
    boxes = label((0, 1, 1, 2, 2)).repeat(64, 1, 1)
    _, found = varied(torch.zeros(64, 3, HEIGHT, WIDTH), boxes)
    there = found[..., 0] >= 0
    assert there.any() and not there.all()
    assert found[there][:, 1:].min() >= 0 and found[there][:, 1:].max() <= 1


def test_of_two_objects_a_cell_is_the_smaller_ones() -> None:
    kinds, boxes = assigned(label((0, 100, 100, 60, 60), (2, 100, 100, 10, 10)))
    grid = kinds.reshape(HEIGHT // STRIDE, WIDTH // STRIDE)
    assert (grid == 2).nonzero().tolist() == [[12, 12]]
    assert int((grid == 0).sum()) == 8  # the three by three cells about the middle, but for that one
    assert boxes[kinds == 2].tolist() == [[100, 100, 10, 10]]


def test_no_class_starves() -> None:
    many = [(0, 20.0 + 40 * i, 40, 24, 24) for i in range(5)]
    batch = {"label": label(*many, (1, 100, 120, 24, 24))}
    kinds, boxes = assigned(batch["label"])
    right = torch.nn.functional.one_hot(kinds + 1, 4)[..., 1:].float()
    missed = [float(detection_loss((boxes, torch.where(kinds[..., None] == k, 0.01, right)), batch)) for k in (0, 1)]
    assert missed[0] == pytest.approx(missed[1], rel=1e-5)
    assert float(detection_loss((boxes, right), batch)) == pytest.approx(0, abs=1e-6)


def test_inverted_sides_have_a_finite_loss() -> None:
    batch = {"label": label((0, 100, 100, 30, 30))}
    _, boxes = assigned(batch["label"])
    inverted = (boxes * torch.tensor([1, 1, -1, -1])).requires_grad_()
    loss = detection_loss((inverted, torch.full((1, boxes.shape[1], 3), 0.02)), batch)
    loss.backward()
    assert torch.isfinite(loss) and loss < 10
    assert inverted.grad is not None and torch.isfinite(inverted.grad).all()


def test_pictures_without_objects_teach_that_there_are_none() -> None:
    scores = torch.full((1, 560, 3), 0.5, requires_grad=True)
    detection_loss((torch.zeros(1, 560, 4), scores), {"label": torch.full((1, 1, 5), -1.0)}).backward()
    assert scores.grad is not None and (scores.grad > 0).all()


@pytest.mark.slow
def test_the_whole_of_it_in_small(shared: Path, tmp_path: Path) -> None:
    def run(step: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"examples.camera.{step}", *arguments]
        subprocess.run(command, cwd=ROOT, check=True, timeout=1800)

    cells, folder = str(shared / "data" / "cells_320.zip"), str(tmp_path)
    run("train", cells, folder, "--quick")
    trained = (tmp_path / "results.jsonl").read_text()
    assert [json.loads(line)["row"] for line in trained.splitlines()] == ROWS
    run("train", cells, folder, "--quick")
    assert (tmp_path / "results.jsonl").read_text() == trained  # all was done already
    run("report", folder)
    macs = {row["row"]: row["MACs"] for row in json.loads((tmp_path / "test.json").read_text())["rows"]}
    assert macs["half"] <= 0.5 * macs["further"]
    run("deploy", folder)
    assert (tmp_path / "half-aarch64").is_dir()
    assert (tmp_path / "camera.jpg").stat().st_size < 200_000
