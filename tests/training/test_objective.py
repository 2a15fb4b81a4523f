"""Losses that nobody wrote: curvature of the distance to the net's own outputs, and labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from graphopt.errors import InvalidInput
from graphopt.ir import Batch, Graph, Value, arg, constant
from graphopt.ops import ArgMax, Linear, Softmax
from graphopt.training import Hessian, Taylor, labelled, loss_of_labels, own_outputs

RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 3))


def linear_net() -> tuple[Graph, Value]:
    x = arg("x", "float64", (Batch(), 3))
    w, b = constant(RNG.standard_normal((2, 3)), name="w"), constant(RNG.standard_normal(2), name="b")
    return Graph((x,), (Linear()(x, w, b),)), w


def test_the_curvature_of_the_distance_to_the_own_outputs() -> None:
    """Of |W x - y|^2 / 2 by an element of W it is x^2, summed over the samples, whatever signs are drawn on average."""
    graph, w = linear_net()
    task = own_outputs(graph, [{"x": X}] * 400)
    scores = Hessian(*task).scores(graph)[w]
    wanted = np.square(w.constant) * np.square(X).sum(0) / 2
    assert np.allclose(scores, wanted, rtol=0.25)


def test_own_outputs_are_drawn_by_a_seed() -> None:
    graph, w = linear_net()
    first, again, other = (own_outputs(graph, X, seed) for seed in (0, 0, 1))
    scores = [Taylor(*t).scores(graph)[w] for t in (first, again, other)]
    assert np.array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[0], scores[2])


def test_labels_are_classes_or_outputs() -> None:
    graph, _ = linear_net()
    x, y, module = torch.tensor(X), torch.tensor(graph(X)[0]), np.array([0, 1, 1, 0])
    classes = labelled(graph, {"x": X, "y": module}, "y")
    assert torch.equal(classes.loss(y, {"y": torch.tensor(module)}), F.cross_entropy(y, torch.tensor(module)))
    floats = labelled(graph, {"x": X, "y": X[:, :2]}, "y")
    assert torch.equal(floats.loss(y, {"y": x[:, :2]}), F.mse_loss(y, x[:, :2]))


def test_probabilities_are_not_taken_for_logits() -> None:
    graph, _ = linear_net()
    probable = Graph(graph.inputs, (Softmax(axis=1)(graph.outputs[0]),))
    labels = np.array([0, 1, 1, 0])
    y, p, batch = torch.tensor(graph(X)[0]), torch.tensor(probable(X)[0]), {"y": torch.tensor(labels)}
    loss = labelled(probable, {"x": X, "y": labels}, "y").loss(p, batch)
    assert loss.item() == pytest.approx(F.cross_entropy(y, batch["y"]).item(), rel=1e-12)
    with pytest.raises(InvalidInput, match="has none"):
        loss_of_labels("z", probable)(p, batch)
    assert torch.isfinite(loss_of_labels("y", probable)(torch.eye(2)[[1, 0, 0, 1]], batch))


@pytest.mark.parametrize(
    "labels", [np.array([0, 1, 2, 0]), np.array([0, -1, 0, 0]), np.zeros((4, 3)), np.zeros((4, 1), int)]
)
def test_other_labels_are_refused(labels: np.ndarray) -> None:
    graph, _ = linear_net()
    task = labelled(graph, {"x": X, "y": labels}, "y")
    with pytest.raises(InvalidInput, match="for an output of"):
        Taylor(*task).scores(graph)


def test_without_a_float_output_there_is_nothing_to_keep() -> None:
    x = arg("x", "float32", (Batch(), 3))
    with pytest.raises(InvalidInput, match="no output is a float"):
        own_outputs(Graph((x,), (ArgMax(axis=1)(x),)), X.astype("float32"))
