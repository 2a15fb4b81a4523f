"""ResNet8 of MLPerf Tiny takes pixels of 0 to 255: the weights of its stem are tiny. The defaults must suit them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphopt import load
from graphopt.training import fine_tune, loss_of_labels


def test_the_defaults_train_resnet8(shared: Path) -> None:
    graph = load(shared / "models/mlperf_tiny/ic_resnet8.onnx")
    with np.load(shared / "data/cifar10_subset.npz") as file:
        x = file["calib_x"].transpose(0, 3, 1, 2).astype("float32")
        data = {"input": x, "label": file["calib_y"]}
    trained = fine_tune(graph, data, loss_of_labels("label"), epochs=3)
    losses = [epoch.loss for epoch in trained.history.epochs]
    assert trained.history.stopped is None
    assert max(losses) < 2 * losses[0]
    assert losses[-1] < 0.6 * losses[0]
    with pytest.warns(UserWarning, match="the state after epoch 0 is kept"):
        astray = fine_tune(graph, data, loss_of_labels("label"), epochs=3, optimizer={"name": "adam", "lr": 1e-3})
    assert astray.history.stopped is not None
