"""What training gives back of ResNet8 pruned, from 256 images; ``pytest -s -m slow`` prints it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphopt import load, to_torch
from graphopt.ir import Graph
from graphopt.passes import PruneChannels
from graphopt.training import loss_of_labels, prune_iteratively


@pytest.mark.slow
def test_pruned_channels_are_learned_again(shared: Path) -> None:
    graph = load(shared / "models/mlperf_tiny/ic_resnet8.onnx")
    with np.load(shared / "data/cifar10_subset.npz") as file:
        learned, tested = (file[name].transpose(0, 3, 1, 2).astype("float32") for name in ("calib_x", "x"))
        data, right = {"input": learned, "label": file["calib_y"]}, file["y"]

    def accuracy(graph: Graph) -> float:
        return float((to_torch(graph).evaluate([tested])[0].argmax(1) == right).mean())

    pruning, loss = PruneChannels(ratio=0.2, scope="local"), loss_of_labels("label")
    found = [accuracy(pruning(graph))]
    for teacher in (None, graph):
        trained = prune_iteratively(graph, pruning, data, loss, steps=4, epochs_per_step=10, teacher=teacher)
        found.append(accuracy(trained))
    print("pruned {:.1%}, fine-tuned {:.1%}, with a teacher {:.1%}".format(*found))
    assert found[0] < 0.35
    assert min(found[1:]) > 0.5
