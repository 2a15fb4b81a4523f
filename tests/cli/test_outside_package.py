"""The template of a package, installed as users do, brings what it says to the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from graphopt.runtime import Program

ROOT = Path(__file__).parents[2]
NO_INDEX = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")


def install(folder: Path) -> Path:
    """Install the template from a copy, for building writes beside the sources."""
    source = shutil.copytree(ROOT / "examples" / "outside", folder / "source")
    command = [sys.executable, "-m", "pip", "install", *NO_INDEX, "--target", folder / "site", source]
    subprocess.run(command, check=True, timeout=60)
    return folder / "site"


def save_model(path: Path) -> Path:
    nodes = [
        helper.make_node("Squareplus", ["x"], ["s"], name="smooth", domain="outside", b=2.0),
        helper.make_node("Relu", ["s"], ["y"], name="act"),
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 8]) for n in "xy"]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("outside", 1)]
    onnx.save(
        helper.make_model(helper.make_graph(nodes, "m", ports[:1], ports[1:]), opset_imports=opsets, ir_version=8), path
    )
    return path


def test_the_template_is_found_where_it_is_installed(tmp_path: Path) -> None:
    site, model, out = install(tmp_path), save_model(tmp_path / "model.onnx"), tmp_path / "out"
    words = ["compile", model, "-o", out, "-t", "sensor-node", "-p", "drop-relu", "--explain"]
    found = subprocess.run(
        [sys.executable, "-c", "from graphopt.cli import main; main()", *map(str, words)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 0 and "note:" not in found.stderr, found.stderr
    assert "drop_relu" in found.stdout
    assert json.loads((out / "manifest.json").read_text())["target"] == "sensor-node"
    x = np.linspace(-4, 4, 8, dtype=np.float32)[None]
    np.testing.assert_allclose(Program.load(out).run(x), (x + np.sqrt(x * x + 2)) / 2, rtol=1e-6)
