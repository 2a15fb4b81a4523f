"""``graphopt bench --profile``: a table for people, JSON for programs, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from shell import Shell


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphopt.runtime.profile.SECONDS", 1e-9)


def test_the_table(shell: Shell, model: Path) -> None:
    text = shell("bench", model, "-t", "host", "--profile")
    lines = text[text.index("kernels on host") :].splitlines()
    (conv,) = (line for line in lines if "conv_3x3" in line)
    assert re.search(r"\d\.\d\d +\d+\.\d% .*3,888 +float32 +\d+\.\d GMAC/s +\d+%", conv)
    assert re.search(r"^mean +\w+ +\d", text, re.MULTILINE)
    assert [line for line in lines if line.startswith(("all kernels", "the program", "float32"))]
    assert "█" * 12 in text


def test_json(shell: Shell, model: Path) -> None:
    rows = json.loads(shell("bench", model, "-t", "host", "-t", "x86-64-v2", "--profile", "--json"))["targets"]
    assert [row["profile"]["target"] for row in rows] == ["host", "x86-64-v2"]
    for row in rows:
        profile = row["profile"]
        assert sum(kernel["macs"] or 0 for kernel in profile["kernels"]) == 3888
        assert profile["costliest"] in range(len(profile["kernels"]))
        assert {peak["products"] for peak in profile["peaks"]} >= {"float32"}
    (row,) = json.loads(shell("bench", model, "-t", "host", "--json"))["targets"]
    assert row["profile"] is None


@pytest.mark.parametrize(
    ("target", "advice"), [("cortex-m4", "--layers"), ("aarch64", "bench counts the instructions")]
)
def test_what_is_emulated(shell: Shell, model: Path, target: str, advice: str) -> None:
    text = " ".join(shell("bench", model, "-t", "host", "-t", target, "--profile", status=2).split())
    assert f"{target} is emulated here" in text and "an emulator say nothing" in text and advice in text
