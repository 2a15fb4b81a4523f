"""What the passes make of a few small networks, in full: read the golden files, they are meant to be read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphopt.ir import Batch, Graph, Value, arg, constant
from graphopt.ops import (
    Add,
    BatchNorm,
    Clip,
    Conv,
    Div,
    Linear,
    MaxPool,
    Mul,
    Pad,
    ReduceMean,
    Relu,
    Reshape,
    Sub,
    Transpose,
)
from graphopt.passes import Context, Pipeline, default_pipeline
from graphopt.testing.pytest_plugin import Golden


class Net:
    """A few layers with round weights, the same on every computer."""

    def __init__(self) -> None:
        self.made = 0

    def const(self, *shape: int, name: str) -> Value:
        self.made += 1
        data = (np.arange(np.prod(shape)) * 7 + 3 * self.made) % 16 / 8 - 0.75
        return constant(data.reshape(shape).astype(np.float32), name)

    def conv(self, x: Value, out: int, kernel: int, name: str, **options: object) -> Value:
        op = Conv(**options)  # type: ignore[arg-type]
        channels = int(x.type.shape[1])  # type: ignore[arg-type]
        weight = self.const(out, channels // op.group, kernel, kernel, name=f"{name}.weight")
        return op(x, weight, self.const(out, name=f"{name}.bias"), name=name)

    def norm(self, x: Value, name: str) -> Value:
        channels = int(x.type.shape[1])  # type: ignore[arg-type]
        parameters = [self.const(channels, name=f"{name}.{p}") for p in ("weight", "bias", "mean")]
        variance = constant(np.full(channels, 4, np.float32), f"{name}.var")
        return BatchNorm(epsilon=0.0)(x, *parameters, variance, name=name)


def separable() -> Graph:
    """Normalised input, pad, depthwise separable block with norms, global mean, classifier."""
    net, x = Net(), arg("image", "float32", (Batch(), 4, 8, 8))
    y = Div()(Sub()(x, constant(np.float32(0.5), "mean"), name="center"), constant(np.float32(0.25)), name="scale")
    y = net.conv(Pad(pads=(0, 0, 0, 0, 0, 0, 1, 1))(y, name="pad"), 4, 3, "dw", strides=(2, 2), group=4)
    y = Clip(low=0.0, high=6.0)(net.norm(y, "dw_bn"), name="relu6")
    y = Relu()(net.norm(net.conv(y, 8, 1, "pw"), "pw_bn"), name="pw_relu")
    y = Reshape(shape=(Batch(), 8))(ReduceMean(axes=(2, 3))(y, name="pool"), name="flatten")
    y = Linear()(y, net.const(2, 8, name="fc.weight"), net.const(2, name="fc.bias"), name="fc")
    return Graph((x,), (y,), ("logits",), "separable")


def residual() -> Graph:
    """A residual block with a projection, in a pre-activation variant that keeps one norm."""
    net, x = Net(), arg("x", "float32", (1, 4, 6, 6))
    y = Relu()(net.norm(x, "bn1"), name="relu1")
    z = net.norm(net.conv(y, 4, 3, "conv1", pads=(1, 1, 1, 1)), "bn2")
    z = net.conv(Relu()(z, name="relu2"), 8, 3, "conv2", pads=(1, 1, 1, 1))
    joined = Add()(z, net.conv(y, 8, 1, "project"), name="join")
    out = MaxPool(kernel=(2, 2), strides=(2, 2))(Relu()(joined, name="relu3"), name="pool")
    return Graph((x,), (out,), ("features",), "residual")


def moved() -> Graph:
    """Channels last and back around an activation, twice the same branch, and neutral operators."""
    x = arg("x", "float32", (Batch(), 3, 4, 4))
    one = constant(np.ones(3, np.float32), "one")
    branches = []
    for side in ("left", "right"):
        y = Mul()(Transpose(perm=(0, 2, 3, 1))(x, name=f"{side}.nhwc"), one, name=f"{side}.mul")
        branches.append(Transpose(perm=(0, 3, 1, 2))(Relu()(y, name=f"{side}.relu"), name=f"{side}.nchw"))
    return Graph((x,), (Add()(*branches, name="sum"),), ("y",), "moved")


@pytest.mark.parametrize("network", [separable, residual, moved], ids=lambda f: f.__name__)
def test_default_pipeline(network: Callable[[], Graph], golden: Golden) -> None:
    graph, context = network(), Context()
    result = Pipeline(default_pipeline(), check=True)(graph, context)
    notes = "\n".join(f"# {note}" for note in context.notes)
    golden(network.__name__, f"{graph}\n\n{notes}\n\n{result}")
