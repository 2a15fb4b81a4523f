"""Weights in files beside the model: read from there, in every part of a model, as many bytes as a tensor has."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import graphopt
from hostile.external import external, in_body, in_function
from hostile.sources import floats

PARTS: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "graph": lambda made: made,
    "body": in_body,
    "function": in_function,
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("length", [{}, {"length": "16"}])
def test_weights_are_read_from_the_folder_of_the_model(
    part: str, length: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not from the working directory, which has a file of that name too."""
    folder, elsewhere = tmp_path / "models", tmp_path / "elsewhere"
    for place, weight in ((folder, floats(5)), (elsewhere, np.zeros(5, np.float32))):
        place.mkdir()
        weight.tofile(place / "weights.bin")
    monkeypatch.chdir(elsewhere)
    made = PARTS[part](external(location="weights.bin", offset="4", **length))
    onnx.save(made, folder / "m.onnx")
    x = floats(2, 4)
    np.testing.assert_array_equal(graphopt.load(folder / "m.onnx")(x)[0], x + floats(5)[1:])
    with pytest.raises(graphopt.GraphoptError, match="keeps its weights in another file"):
        graphopt.load(made)


def test_a_length_that_is_not_the_tensors_costs_no_memory(tmp_path: Path) -> None:
    with (tmp_path / "weights.bin").open("wb") as file:
        file.truncate(3 << 29)
    onnx.save(external(location="weights.bin", length=str(3 << 29)), tmp_path / "m.onnx")
    tracemalloc.start()
    with pytest.raises(graphopt.GraphoptError, match=r"tensor 'k': its data has 1,610,612,736 bytes, .* take 16"):
        graphopt.load(tmp_path / "m.onnx")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 24
    onnx.save(external(location="weights.bin"), tmp_path / "m.onnx")
    np.testing.assert_array_equal(graphopt.load(tmp_path / "m.onnx")(floats(2, 4))[0], floats(2, 4))
