"""Clients that learn together, for the tests of this folder: a small net, and four parts of its data."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphopt.federated import dirichlet
from graphopt.ir import Array, Batch, Graph, arg, constant
from graphopt.ops import BatchNorm, Conv, Linear, ReduceMean, Relu

RNG = np.random.default_rng(0)
X = RNG.standard_normal((96, 2, 5, 5)).astype("float32")
Y = (X.mean((1, 2, 3)) > 0).astype("int64") + (X[:, 0].mean((1, 2)) > 0.2)
CLIENTS: list[Any] = [{"x": X[part], "label": Y[part]} for part in dirichlet(Y, 4, alpha=1.0, seed=0, least=8)]
LOCAL = {"epochs": 1, "batch_size": 8, "optimizer": {"name": "adam", "lr": 0.01}}


def net(zeros: bool = False, channels: int = 6) -> Graph:
    """Convolution, batch norm, ReLU, mean, linear: [N, 2, 5, 5] to [N, 3]; with zeros half of a weight is pruned."""
    rng = np.random.default_rng(1)
    weight = (rng.standard_normal((channels, 2, 3, 3)) / 3).astype("float32")
    if zeros:
        weight[:3] = 0
    x = arg("x", "float32", (Batch(), 2, 5, 5))
    y = Conv()(x, constant(weight, "stem.weight"), constant(np.zeros(channels, "float32"), "stem.bias"), name="stem")
    start = {"norm.weight": 1, "norm.bias": 0, "norm.mean": 0, "norm.variance": 1}
    y = BatchNorm()(y, *(constant(np.full(channels, v, "float32"), name) for name, v in start.items()), name="norm")
    y = ReduceMean(axes=(2, 3), keepdims=False)(Relu()(y), name="features")
    head = (rng.standard_normal((3, channels)) / 2).astype("float32"), np.zeros(3, "float32")
    y = Linear()(y, constant(head[0], "head.weight"), constant(head[1], "head.bias"), name="head")
    return Graph((x,), (y,), name="net")


def accuracy(graph: Graph) -> float:
    return float((graph(X)[0].argmax(1) == Y).mean())


def cross_entropy(graph: Graph) -> float:
    """The mean over all samples of all clients."""
    logits = graph(X)[0].astype(np.float64)
    return float((np.log(np.exp(logits).sum(1)) - logits[np.arange(len(Y)), Y]).mean())


def weights(graph: Graph) -> dict[str, Array]:
    return {graph.names[n]: n.results[0].constant for n in graph.nodes if n.results[0].constant is not None}


def same(one: Graph, other: Graph) -> bool:
    """Whether two graphs have the same weights, bit by bit."""
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)
