"""Three ways through graphopt, as scripts that people could type; the first in a fresh install of graphopt alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKED = ("graphopt", "pyproject.toml", "README.md", "LICENSE")
LARGEST = 800
"""MB that the base install may take; README has the figure."""


def walk(script: str, folder: Path, environment: Path, *words: object) -> str:
    """What a script prints, run in a folder with the programs of an environment."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    clean["PATH"] = f"{environment}:{clean['PATH']}"
    command = ["sh", str(HERE / script), *map(str, words)]
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment in which graphopt is installed without extras."""
    folder = tmp_path_factory.mktemp("install")
    source, fresh = folder / "source", folder / "fresh"
    source.mkdir()
    for name in PACKED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    for command in ([sys.executable, "-m", "venv", fresh], [fresh / "bin" / "pip", "install", "--quiet", source]):
        subprocess.run(command, check=True, timeout=900)
    return fresh / "bin"


def test_an_engineer_with_an_onnx_file(installed: Path, shared: Path, tmp_path: Path) -> None:
    (site,) = installed.parent.glob("lib/python*/site-packages")
    assert not (site / "torch").exists()
    size = sum(file.lstat().st_size for file in installed.parent.rglob("*") if file.is_file())
    assert size < LARGEST << 20
    words = shared / "models/mlperf_tiny/kws_dscnn.onnx", shared / "data/kws.npz"
    text = walk("embedded.sh", tmp_path, installed, *words)
    assert re.search(r"before +top1 +91\.00%", text) and re.search(r"after +top1 +90\.67%", text)
    assert f"{json.loads((tmp_path / 'accuracy.json').read_text())['score']['value']:.2%}" == "90.67%"
    assert (tmp_path / "firmware" / "example").is_file()


def test_a_researcher_with_an_operator_and_a_pass(tmp_path: Path) -> None:
    text = walk("researcher.sh", tmp_path, Path(sys.executable).parent)
    assert '+  %"1" = gelu_fast' in text
    assert len(re.findall(r"(?:host|cortex-m4) .* yes", text)) == 2


def test_somebody_who_wants_to_know_what_is_left(shared: Path, tmp_path: Path) -> None:
    words = shared / "models/mlperf_tiny/kws_dscnn.onnx", shared / "data/kws.npz"
    text = walk("compression.sh", tmp_path, Path(sys.executable).parent, *words)
    assert re.search(r"macs +2,656,768 +2,\d{3},\d{3}", text)
    assert re.search(r"--override \S+=int16", text)
    assert [line.split("  ")[0] for line in text.splitlines()[-3:]] == ["float", "pruned", "and in int8"]
