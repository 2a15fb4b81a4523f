"""A small net to train, and data that it can learn."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from graphopt.ir import Array, Batch, Graph, Value, arg, constant
from graphopt.ops import BatchNorm, Conv, Linear, ReduceMean, Relu

CLASSES = 3
RNG = np.random.default_rng(0)
X = RNG.standard_normal((96, 2, 5, 5)).astype("float32")
Y = (X.mean((1, 2, 3)) > 0).astype("int64") + (X[:, 0].mean((1, 2)) > 0.2)
DATA: dict[str, Array] = {"x": X, "label": Y}


def small_net(channels: int = 6, norm: bool = True, seed: int = 0, scale: float = 1.0) -> Graph:
    """Convolution, batch norm, ReLU, convolution, ReLU, mean, linear: [N, 2, 5, 5] to [N, 3]."""
    rng = np.random.default_rng(seed)

    def layer(name: str, *shape: int, scale: float = 1.0) -> tuple[Value, Value]:
        weight = rng.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5 * scale
        return constant(weight.astype("float32"), f"{name}.weight"), vector(f"{name}.bias", 0, shape[0])

    def vector(name: str, value: float, size: int = channels) -> Value:
        return constant(np.full(size, value, "float32"), name)

    x = arg("x", "float32", (Batch(), 2, 5, 5))
    y = Conv()(x, *layer("stem", channels, 2, 3, 3, scale=scale), name="stem")
    if norm:
        start = {"norm.weight": 1, "norm.bias": 0, "norm.mean": 0, "norm.variance": 1}
        y = BatchNorm()(y, *(vector(*item) for item in start.items()), name="norm")
    y = Relu()(y, name="relu")
    y = Conv()(y, *layer("next", 8, channels, 3, 3), name="next")
    y = ReduceMean(axes=(2, 3), keepdims=False)(Relu()(y), name="features")
    return Graph((x,), (Linear()(y, *layer("head", CLASSES, 8), name="head"),), name="small")


def cross_entropy(outputs: Tensor | tuple[Tensor, ...], batch: Mapping[str, Tensor]) -> Tensor:
    assert isinstance(outputs, Tensor)
    return F.cross_entropy(outputs, batch["label"])


def accuracy(graph: Graph) -> float:
    return float((graph(X)[0].argmax(1) == Y).mean())


def weights(graph: Graph) -> dict[str, Array]:
    return {graph.names[n]: n.results[0].constant for n in graph.nodes if n.results[0].constant is not None}


def same(one: Graph, other: Graph) -> bool:
    """Whether two graphs have the same weights, bit by bit."""
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)
