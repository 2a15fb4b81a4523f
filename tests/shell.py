"""What the tests of the command line share: a small model, and a shell that runs commands in this process."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from graphopt.cli import main


def save_model(path: Path, outputs: tuple[str, ...] = ("file", "scores"), op: str = "Relu") -> Path:
    """x [N, 3, 6, 6] -> conv -> activation -> global mean; with a hostile name or two."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype("float32"), name)
        for name, shape in (("w", (4, 3, 3, 3)), ("b", (4,)))
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="[red]conv[/]", pads=[1, 1, 1, 1]),
        helper.make_node(op, ["c"], [outputs[0]], name="act"),
        helper.make_node("GlobalAveragePool", [outputs[0]], [outputs[1]], name="mean"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 6, 6])],
        [
            helper.make_tensor_value_info(outputs[0], TensorProto.FLOAT, ["N", 4, 6, 6]),
            helper.make_tensor_value_info(outputs[1], TensorProto.FLOAT, ["N", 4, 1, 1]),
        ],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


class Shell:
    """Runs commands in this process, and keeps what they print."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capfd, self.errors = monkeypatch, capfd, ""

    def __call__(self, *words: object, status: int = 0, printed: bool = False) -> str:
        """What a command prints as output; for a status other than 0 what it prints as error, unless ``printed``."""
        self.monkeypatch.setattr(sys, "argv", ["graphopt", *map(str, words)])
        self.capfd.readouterr()
        try:
            main()
            found = 0
        except SystemExit as end:
            found = end.code if isinstance(end.code, int) else int(bool(end.code))
        out, err = self.capfd.readouterr()
        self.errors = err
        assert found == status, f"{out}\n{err}"
        return err if status and not printed else out
