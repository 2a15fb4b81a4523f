"""A free batch: what a graph makes of two samples is what it makes of each; and other dynamic dimensions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphopt
from frontends.tflite.building import made
from frontends.tflite.case import FLOAT, Case
from frontends.tflite.cases import CASES
from frontends.tflite.drawing import Drawn, FileTensor, draw, with_free_batch
from graphopt.errors import Unsupported

FIXED = {"broadcast_to", "reshape_options", "slice"}
"""Those whose settings speak of a batch of one."""
MIXED = {"reshape", "space_to_batch"}
"""Those that mix the samples of a batch, as they are drawn."""


def takes_one_sample(case: Case) -> bool:
    data = [o for o in case.operands if o is not None and not o.constant]
    return bool(data) and all(o.role == "data" and o.shape[:1] == (1,) for o in data)


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if takes_one_sample(c) and n not in MIXED])
def test_two_samples_give_what_each_gives(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    found = made(name, case, FLOAT if FLOAT in case.variants else case.variants[0])
    path = tmp_path / "model.tflite"
    path.write_bytes(with_free_batch(found.model))
    graph = graphopt.load(path)
    assert graph.is_symbolic == (name not in FIXED)
    if graph.is_symbolic:
        samples = [found.reals, [x * np.float32(0.5) for x in found.reals]]
        both = graph(*(np.concatenate(pair) for pair in zip(*samples, strict=True)))
        for i, sample in enumerate(samples):
            for one, two in zip(graph(*sample), both, strict=True):
                np.testing.assert_allclose(
                    two[i : i + len(one)] if len(one) == 1 else np.split(two, 2)[i], one, atol=1e-5
                )


def dynamic(tmp_path: Path) -> Path:
    tensors = [
        FileTensor("x", FLOAT, (1, 1, 4), signature=(-1, -1, 4)),
        FileTensor("y", FLOAT, (1, 1, 4), signature=(-1, -1, 4)),
    ]
    path = tmp_path / "model.tflite"
    path.write_bytes(draw(tensors, [Drawn("RELU", ["x"], ["y"])], ["x"], ["y"]))
    return path


def test_other_dynamic_dimensions_must_be_bound(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="dimension 1 is dynamic"):
        graphopt.load(dynamic(tmp_path))
    graph = graphopt.load(dynamic(tmp_path), shapes={"x": (1, 7, 4)})
    assert graph.outputs[0].type.shape == (1, 7, 4)
    assert graphopt.load(dynamic(tmp_path), shapes={"x": (3, 7, 4)}, batch=3).outputs[0].type.shape == (3, 7, 4)


def test_an_input_that_says_a_shape_is_frozen(tmp_path: Path) -> None:
    tensors = [FileTensor("x", FLOAT, (1, 12)), FileTensor("s", "int32", (2,)), FileTensor("y", FLOAT, (3, 4))]
    drawn = Drawn("RESHAPE", ["x", "s"], ["y"], {}, "ReshapeOptions")
    path = tmp_path / "model.tflite"
    path.write_bytes(draw(tensors, [drawn], ["x", "s"], ["y"]))
    with pytest.raises(Unsupported, match="is computed"):
        graphopt.load(path)
    graph = graphopt.load(path, constants={"s": [3, 4]})
    assert [v.node.name for v in graph.inputs] == ["x"]
    assert graph.outputs[0].type.shape == (3, 4)
