"""The example of the drone: its parts on pictures drawn here, and the whole of it, too short to learn much."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL", reason="pip install 'graphopt[examples]'")

from examples.detector.data import Pictures
from examples.drone.networks import QUICK, STUDENT, TEACHER, Networks, untrained
from examples.drone.pictures import SIDE, siblings
from examples.drone.results import scores
from examples.drone.table import printed
from examples.results import Results
from graphopt.report.cost import cost_of

ROOT = Path(__file__).parents[2]


def pictures(images: np.ndarray, first: int, box: tuple[float, ...] = (0.4, 0.6, 0.2, 0.4)) -> Pictures:
    boxes = np.tile(np.float32([0, *box]), (len(images), 1, 1))
    return Pictures(images, boxes, [f"{first + i:05}" for i in range(len(images))])


def test_pictures_of_a_series_are_told_by_what_they_show_and_by_their_numbers() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 3, 32, 32)).astype(np.uint8)
    noise = rng.integers(0, 256, images.shape)
    for part, near, far in ((0.2, True, True), (0.35, True, False), (0.8, False, False)):
        similar = (images * (1 - part) + noise * part).astype(np.uint8)
        assert siblings(pictures(images, 0), pictures(similar, 1)).diagonal().all() == near
        assert siblings(pictures(images, 0), pictures(similar, 100)).any() == far


def test_the_student_has_an_eighth_of_the_teachers_multiply_accumulates() -> None:
    assert 8 * cost_of(untrained(STUDENT, 0)).macs <= cost_of(untrained(TEACHER, 0)).macs


def test_the_median_box_is_right_where_all_boxes_are_the_same(tmp_path: Path) -> None:
    shown = pictures(np.zeros((3, 3, SIDE, SIDE), np.uint8), 0)
    graph = Networks(tmp_path, shown, QUICK).median_box()
    assert scores(graph, shown)["map50-95"] == pytest.approx(1)
    assert scores(graph, pictures(shown.images, 0, (0.4, 0.6, 0.1, 0.3)))["map50"] == 0


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    for value in (1, 2):
        Results(tmp_path / "results.json").take("teacher", lambda value=value: {"map50": value})
    assert Results(tmp_path / "results.json").rows == {"teacher": {"map50": 1}}


def test_the_table_has_means_over_the_seeds() -> None:
    row = {"parameters": 1234, "macs": 5678, "map50 low": 0.7, "map50 high": 0.9, "map50-95": 0.4}
    board = {"target": "cortex-m7", "flash": 99000, "ram": 8000, "instructions": 7, "pictures": 20, "equal": True}
    results = {
        "pictures": {"train": 10, "val": 20, "left out": 3},
        "teacher": {**row, "map50": 0.8},
        "alone 0": {**row, "map50": 0.7},
        "alone 1": {**row, "map50": 0.8},
        "board 0": board,
    }
    lines = printed(results).splitlines()
    assert lines[2] == "| teacher | 1,234 | 5,678 | 0.800 | 95 %: 0.700 to 0.900 | 0.400 |"
    assert lines[3] == "| student, alone | 1,234 | 5,678 | 0.750 ± 0.071 | 0.700, 0.800 | 0.400 ± 0.000 |"
    assert "99,000 bytes of flash" in lines[5] and "the same as the graph" in lines[5]


@pytest.mark.slow
def test_the_example_runs_and_goes_on_where_it_was(shared: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.drone", "--quick", "--folder", str(tmp_path)]
    first = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    rows = json.loads((tmp_path / "results.json").read_text())
    assert [*rows] == ["pictures", "median box", "teacher", "alone 0", "distilled 0", "int8 0", "board 0"]
    assert rows["board 0"]["equal"]
    assert rows["board 0"]["ram"] < 512 * 1024 and rows["board 0"]["flash"] < 1024 * 1024
    again = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert first.endswith(again)
