"""Small graphs, built by hand, for the tests of the pruning passes."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array, Graph, Value, arg, constant
from graphopt.ops import Add, BatchNorm, Conv, Linear, ReduceMean, Relu


class Builder:
    """Seeded constants, named."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)

    def w(self, name: str, *shape: int) -> Value:
        return constant(self.rng.uniform(-1, 1, shape).astype("float32"), name=name)

    def conv(self, x: Value, out: int, name: str, size: int = 3, pad: int | None = None) -> Value:
        c, pads = x.type.shape[1], (size // 2 if pad is None else pad,) * 4
        assert isinstance(c, int)
        weight = self.w(f"{name}.weight", out, c, size, size)
        return Conv(pads=pads)(x, weight, self.w(f"{name}.bias", out), name=name)

    def linear(self, x: Value, out: int, name: str) -> Value:
        c = x.type.shape[-1]
        assert isinstance(c, int)
        return Linear()(x, self.w(f"{name}.weight", out, c), self.w(f"{name}.bias", out), name=name)

    def norm(self, x: Value, name: str) -> Value:
        c = x.type.shape[1]
        assert isinstance(c, int)
        var = constant(self.rng.uniform(0.5, 1.5, c).astype("float32"))
        return BatchNorm()(x, *(self.w(f"{name}.{p}", c) for p in ("scale", "bias", "mean")), var, name=name)


def residual_net(channels: int = 16) -> Graph:
    """x -> stem -> a block with a skip -> mean -> head; "stem" and "block.2" are coupled, "block.1" is by itself."""
    b = Builder()
    x = arg("x", "float32", (2, 3, 8, 8))
    y = Relu()(b.norm(b.conv(x, channels, "stem"), "norm"))
    z = Relu()(b.conv(y, channels, "block.1"))
    y = Relu()(Add()(y, b.conv(z, channels, "block.2")))
    y = ReduceMean(axes=(2, 3), keepdims=False)(y)
    return Graph((x,), (b.linear(y, 5, "head"),))


def weight(graph: Graph, name: str) -> Array:
    """The array of a constant."""
    found = graph.node(name).results[0].constant
    assert found is not None
    return found
