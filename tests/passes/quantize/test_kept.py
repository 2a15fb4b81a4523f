"""What other tools leave between quantized layers: integers are kept through moves, norms go into the weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphopt.ir import Array, Graph, Op, Value, arg, constant
from graphopt.ops import BatchNorm, Concat, Conv, Dequantize, Linear, MaxPool, Neg, Pad, Quantize, Reshape, Transpose
from graphopt.passes import Context
from graphopt.passes.quantize import LowerInteger


def on_grid(x: Value, scale: float = 0.1, zero: int = 3, dtype: str = "uint8") -> Value:
    parameters = constant(np.float32(scale)), constant(np.array(zero, dtype))
    return Dequantize()(Quantize()(x, *parameters), *parameters)


def joined(x: Value, scale: float = 0.1) -> Value:
    return Concat(axis=1)(on_grid(x), on_grid(Neg()(x), scale))


MOVES: dict[str, tuple[Callable[[Value], Value], bool]] = {
    "reshape_pool": (lambda x: Reshape(shape=(1, 8))(MaxPool(kernel=(2, 2), strides=(2, 2))(on_grid(x))), True),
    "signed": (lambda x: Transpose(perm=(0, 2, 3, 1))(on_grid(x, 0.07, -5, "int8")), True),
    "concat": (joined, True),
    "concat_of_two_scales": (lambda x: joined(x, 0.2), False),
    "pad": (lambda x: Pad(pads=(0, 0, 1, 1, 0, 0, 1, 1))(on_grid(x)), True),
    "pad_with_a_step": (
        lambda x: Pad(pads=(0, 0, 1, 1, 0, 0, 1, 1), value=float(np.float32(0.1) * 7))(on_grid(x)),
        True,
    ),
    "pad_between_steps": (lambda x: Pad(pads=(0, 0, 1, 1, 0, 0, 1, 1), value=0.25)(on_grid(x)), False),
}


@pytest.mark.parametrize("name", MOVES)
def test_moved_integers_are_the_same_numbers(name: str) -> None:
    make, kept = MOVES[name]
    x = arg("x", "float32", (1, 2, 4, 4))
    graph = Graph((x,), (make(x),))
    lowered = LowerInteger().run(graph, Context())
    data: Array = np.random.default_rng(0).uniform(-3, 30, (1, 2, 4, 4)).astype(np.float32)
    np.testing.assert_array_equal(lowered(data)[0], graph(data)[0])
    assert isinstance(lowered.outputs[0].op, Dequantize) == kept


def normed(x: Value, weight: Array, layer: Op, gain: Array, readers: int = 1) -> Graph:
    """A batch norm behind a layer of quantized data and weights, quantized again."""
    channels = len(weight)
    w = Dequantize(axis=0)(*map(constant, (weight, np.full(channels, 0.01, np.float32), np.zeros(channels, np.int8))))
    y = layer(on_grid(x), w, constant(np.linspace(-1, 1, channels, dtype=np.float32)))
    parts = [np.linspace(-0.5, 0.5, channels), np.linspace(1, 2, channels), np.linspace(0.5, 2, channels)]
    norm = BatchNorm()(y, *(constant(p.astype(np.float32)) for p in (gain, *parts)))
    return Graph((x,), (on_grid(norm, 0.3, 100), *[y] * (readers - 1)))


@pytest.mark.parametrize("case", ["conv", "groups", "linear", "lowest", "zero", "tiny", "readers"])
def test_norms_go_into_the_scales_of_quantized_weights(case: str) -> None:
    rng = np.random.default_rng(0)
    image = case != "linear"
    shape = (4, 1 if case == "groups" else 2, 3, 3) if image else (4, 8)
    weight = rng.integers(-127, 128, shape).astype(np.int8)
    weight.flat[0] = -128 if case == "lowest" else 1
    gain = np.array([-1.5, 1.0, -0.5, {"zero": 0.0, "tiny": 1e-12}.get(case, 2.0)])
    x = arg("x", "float32", (1, 2, 6, 6) if image else (1, 8))
    layer: Op = Conv(group=2 if case == "groups" else 1) if image else Linear()
    graph = normed(x, weight, layer, gain, 2 if case == "readers" else 1)
    lowered = LowerInteger().run(graph, Context())
    folded = not any(isinstance(n.op, BatchNorm) for n in lowered.nodes)
    assert folded == (case != "readers")
    for seed in range(4):
        data = np.random.default_rng(seed).uniform(-3, 30, x.type.static_shape).astype(np.float32)
        assert np.abs(lowered(data)[0] - graph(data)[0]).max() <= 0.301
