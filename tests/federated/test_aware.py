"""Clients that train for the integers of their devices, and send what moved of the floats behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from learning import CLIENTS, LOCAL, X, cross_entropy, net, same, weights

from graphopt.errors import InvalidInput
from graphopt.federated import Client, Quantized, aware, federate
from graphopt.ir import Graph, Node, Value, constant, rebuild
from graphopt.ops import Linear, Mul
from graphopt.passes import Quantize
from graphopt.training import loss_of_labels

LOSS = loss_of_labels("label")
STILL: Any = {**LOCAL, "schedule": "constant", "optimizer": {"name": "SGD", "lr": 0.0}}


def test_without_steps_no_weight_moves() -> None:
    after = aware(LOSS)(net(), CLIENTS[0], STILL)
    moved = [name for name, array in weights(net()).items() if not np.array_equal(array, weights(after)[name])]
    assert set(moved) <= {"norm.mean", "norm.variance"}


@pytest.mark.parametrize("bits", ["int8", "int4"])
def test_clients_learn_for_integers(bits: str) -> None:
    quantize = Quantize(calibration=X[:32], weights=bits)
    clients = [Client(data, step=aware(LOSS, weights=bits)) for data in CLIENTS[:2]]
    made = federate(net(), clients, 2, LOCAL, Quantized(8), compress=quantize)
    assert not made.history.dropped
    assert cross_entropy(made.graph) < cross_entropy(quantize(net()))
    names = {"stem.weight", "norm.weight", "head.weight", "head.bias"}
    assert all(not np.array_equal(weights(made.model)[name], weights(net())[name]) for name in names)


def test_zeros_stay_zeros() -> None:
    made = federate(net(zeros=True), [Client(CLIENTS[0], step=aware(LOSS))], 1, LOCAL)
    assert not weights(made.model)["stem.weight"][:3].any() and not same(made.model, net(zeros=True))


def test_a_weight_that_a_pass_would_change_is_refused() -> None:
    graph = net()

    def doubled(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if not isinstance(node.op, Linear):
            return None
        out = node.op(*inputs, name="head")
        return (Mul()(out, constant(np.float32([2, 3, 4]), "scale"), name="scaled"),)

    scaled: Graph = rebuild(graph, doubled)
    assert np.allclose(scaled(X[:2])[0], graph(X[:2])[0] * [2, 3, 4], atol=1e-5)
    with pytest.raises(InvalidInput, match=r"head\.weight: the weight that is trained is not the model's"):
        aware(LOSS)(scaled, CLIENTS[0], STILL)
