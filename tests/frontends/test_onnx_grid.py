"""Sampling by a grid against PyTorch, at points beyond the borders too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from frontends.test_onnx import floats, make, node
from graphopt.frontends import load

MODES = {"linear": "bilinear", "cubic": "bicubic", "nearest": "nearest"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("aligned", [0, 1])
def test_grid_sample(mode: str, padding: str, aligned: int) -> None:
    """Of a cubic at the border, each neighbour is brought in by itself, not the point."""
    x, grid = floats(1, 2, 5, 4), floats(1, 3, 5, 2, seed=3)
    one = node("GridSample", ["x", "g"], mode=mode, padding_mode=padding, align_corners=aligned)
    (got,) = load(make([one], {"x": x.shape}, {"g": grid}, 20))(x)
    tensors = torch.from_numpy(x), torch.from_numpy(grid)
    want = functional.grid_sample(*tensors, MODES[mode], padding, bool(aligned)).numpy()
    assert np.abs(got - want).max() <= 5e-6 * np.abs(want).max()
