"""Sampling by a grid against PyTorch, at points beyond the borders too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from frontends.onnx_models import floats, make, node
from graphopt.errors import Unsupported
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


@pytest.mark.parametrize("sizes", [(3, 4), (1, 5), (2, 3, 4)])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("batch", [1, 2, "N"])
def test_affine_grid(sizes: tuple[int, ...], aligned: bool, batch: int | str) -> None:
    axes, count = len(sizes), batch if isinstance(batch, int) else 3
    nodes = [node("AffineGrid", ["x", "s"], align_corners=int(aligned))]
    if batch == "N":  # the size is computed, as exporters do
        shape = [node("Shape", ["x"], ["n"], end=1), node("Concat", ["n", "rest"], ["s"], axis=0)]
        nodes, constants = [*shape, *nodes], {"rest": np.array([1, *sizes])}
    else:
        constants = {"s": np.array([batch, 1, *sizes])}
    model = make(nodes, {"x": (batch, axes, axes + 1)}, constants, 20)
    if aligned and 1 in sizes:
        with pytest.raises(Unsupported, match="one element along an axis"):
            load(model)
        return
    theta = floats(count, axes, axes + 1)
    want = functional.affine_grid(torch.from_numpy(theta), [count, 1, *sizes], aligned).numpy()
    graph = load(model)
    assert graph.is_symbolic == (batch == "N")
    assert np.abs(graph(theta)[0] - want).max() <= 1e-6 * np.abs(want).max()
