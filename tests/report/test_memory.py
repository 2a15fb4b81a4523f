"""Liveness by hand: what lives while each layer runs."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Batch, Graph, arg, constant
from graphopt.ops import Add, Identity, Linear, Relu, Reshape
from graphopt.report import layers_of, peak_layer


def test_values_live_from_their_node_to_their_last_reader() -> None:
    x = arg("x", "float32", (Batch(), 4))
    weight, bias = constant(np.ones((8, 4), np.float32)), constant(np.ones(8, np.float32))
    a = Linear()(x, weight, bias, name="a")  # 32 bytes a sample
    b = Relu()(a, name="b")  # 32
    c = Reshape(shape=(Batch(), 8, 1))(b, name="c")  # in the memory of b
    d = Reshape(shape=(Batch(), 8))(Identity()(c, name="i"), name="d")
    e = Add()(d, a, name="e")  # 32
    f = Relu()(e, name="f")  # the caller's
    layers = layers_of(Graph((x,), (f,)))
    assert [(layer.name, layer.live_bytes) for layer in layers] == [
        ("a", 32),
        ("b", 64),
        ("c", 64),
        ("i", 64),
        ("d", 64),
        ("e", 96),
        ("f", 32),
    ]
    assert [layer.parameter_bytes for layer in layers] == [4 * 40, 0, 0, 0, 0, 0, 0]
    assert layers[0].macs == 32
    peak = peak_layer(layers)
    assert peak is not None and peak.name == "e"
    assert [layer.live_bytes for layer in layers_of(Graph((x,), (f,)), batch=3)][-2] == 3 * 96


def test_nothing_computed_has_no_peak() -> None:
    x = arg("x", "float32", (2,))
    assert peak_layer(layers_of(Graph((x,), (x,)))) is None
