"""The example of the wearable: its parts, and the whole of it, too short to learn much."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from examples.wearable.beats import FRAME, PATIENTS, STEPS, Beats, patients, split
from examples.wearable.networks import RAM, UPDATES, board, untrained
from examples.wearable.table import printed
from graphopt.federated.layout import Layout
from graphopt.federated.wire import Update, pack_update
from graphopt.report.cost import cost_of

ROOT = Path(__file__).parents[2]


def test_every_beat_is_of_one_patient_and_patients_are_not_alike() -> None:
    labels = np.random.default_rng(0).choice(5, 4000, p=[0.78, 0.02, 0.08, 0.07, 0.05])
    beats = Beats(np.arange(4000, dtype=np.float32), labels)
    shared = patients(beats)
    assert len(shared) == PATIENTS
    assert sorted(np.concatenate([patient.x for patient in shared])) == list(range(4000))
    normal = [(patient.label == 0).mean() for patient in shared]
    assert max(normal) - min(normal) > 0.5


def test_no_beat_is_in_two_parts(shared: Path) -> None:
    parts = [{beat.tobytes() for beat in part.x} for part in split(None)[:2]]
    assert [len(part.x) for part in split(None)] == [10_000, 2_000, 5_000]
    assert len(parts[0] & parts[1]) <= 10  # of beats that are twice among those to learn from
    assert {part.x.shape[1:] for part in split(20)} == {(STEPS, FRAME)}


def test_an_update_is_a_tenth_of_the_floats_or_less() -> None:
    layout = Layout.of(untrained())
    change = np.random.default_rng(0).standard_normal(layout.size).astype("float32")
    whole, small = (len(pack_update(Update(1, 1, change), how, layout)) for how in UPDATES.values())
    assert whole == 24 + 4 * cost_of(untrained()).parameters
    assert 10 * small <= whole


def test_the_board_has_64_kilobytes() -> None:
    assert board().ram == RAM == 65536 and board().name == "cortex-m4"


def test_the_table_has_a_row_for_each_way_of_learning() -> None:
    score = {"top1": 98.0, "top1 low": 97.0, "top1 high": 99.0, "f1": 95.0, "f1 low": 93.0, "f1 high": 96.0}
    board = {"flash": 12000, "ram": 5600, "instructions": 7, "beats": 20, "equal": True}
    cost = {"seconds": 90, "rounds": 10, "up": 500_000, "down": 500_000, "dropped": []}
    results = {
        f"{kind}{what}": row
        for kind in ("central", "float", "compressed")
        for what, row in {"": score, " int8": score, " board": board, " cost": cost}.items()
    }
    results["central cost"] = {"seconds": 60}
    results["compressed cost"] = {**cost, "up": 40_000, "dropped": [{"round": 3, "client": "client 2", "why": "late"}]}
    lines = printed(results).splitlines()
    assert lines[2] == "| central | 98.00 | 97.00 to 99.00 | 95.00 | 93.00 to 96.00 | 98.00 | 95.00 |  |  |  | 1.0 |"
    assert lines[4].endswith("| 98.00 | 95.00 | 10 | 40,000 | 500,000 | 1.5 |")
    assert "1/12.5 of the bytes" in printed(results) and lines[-1].endswith("in round 3 client 2 was dropped: late")


@pytest.mark.slow
def test_the_example_runs_and_goes_on_where_it_was(shared: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.wearable", "--quick", "--folder", str(tmp_path)]
    first = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    rows = json.loads((tmp_path / "results.json").read_text())
    for kind in ("central", "float", "compressed"):
        assert rows[f"{kind} board"]["equal"] and rows[f"{kind} board"]["ram"] < RAM
    assert 10 * rows["compressed cost"]["up"] <= rows["float cost"]["up"]
    assert (tmp_path / "compressed-firmware" / "model.c").is_file()
    again = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert first.endswith(again)
