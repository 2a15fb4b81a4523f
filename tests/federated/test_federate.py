"""Clients learn together, and what they learn is what the definitions of the strategies say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from learning import CLIENTS, LOCAL, X, Y, accuracy, cross_entropy, net, same, weights

from graphopt.errors import InvalidInput
from graphopt.federated import Client, FedAdam, FedProx, Median, Quantized, TopK, TrimmedMean, federate
from graphopt.federated.layout import Layout
from graphopt.ir import Graph
from graphopt.passes import PruneWeights, Quantize
from graphopt.training import Gradual, distill, fine_tune, loss_of_labels, prune_while_training

RUNS: dict[str, dict[str, Any]] = {
    "floats": {},
    "8 bits": {"update": Quantized(8)},
    "4 bits of a quarter": {"update": Quantized(4) | TopK(0.25)},
    "FedProx": {"strategy": FedProx(0.1)},
    "FedAdam": {"strategy": FedAdam(0.02)},
    "TrimmedMean": {"strategy": TrimmedMean(0.25)},
    "Median": {"strategy": Median(), "update": Quantized(8)},
    "half of the clients": {"fraction": 0.5},
}


@pytest.mark.parametrize("options", RUNS.values(), ids=[*RUNS])
def test_they_learn_and_the_same_seed_gives_the_same_weights(options: dict[str, Any]) -> None:
    one, other = (federate(net(), CLIENTS, 4, LOCAL, **options) for _ in range(2))
    assert same(one.model, other.model) and one.history == other.history
    assert cross_entropy(one.model) < cross_entropy(net()) - 0.02
    assert not same(one.model, federate(net(), CLIENTS, 4, LOCAL, seed=1, **options).model)


def test_one_client_and_one_round_are_fine_tuning() -> None:
    data = {"x": X, "label": Y}
    told, local = {}, {**LOCAL, "optimizer": {"name": "SGD", "lr": 0.1}}

    def step(graph: Graph, data: Any, options: Any) -> Graph:
        told.update(options)
        return fine_tune(graph, data, loss_of_labels("label"), **options)

    alone = federate(net(), [data], 1, local)
    by_step = federate(net(), [Client(data, step=step)], 1, local)
    assert same(alone.model, by_step.model)
    trained = fine_tune(net(), data, loss_of_labels("label"), **told)
    for name, array in weights(alone.model).items():
        assert np.allclose(array, weights(trained)[name], rtol=0, atol=1e-6)


def test_fed_avg_is_the_mean_by_samples() -> None:
    sizes = [len(client["label"]) for client in CLIENTS]
    seeded = {
        **LOCAL,
        "batch_size": 96,
        "optimizer": {"name": "SGD", "lr": 0.1},
    }  # one batch: the seed is of no account
    apart = [federate(net(), [client], 1, seeded).model for client in CLIENTS]
    together = federate(net(), CLIENTS, 1, seeded).model
    for name, array in weights(together).items():
        wanted = np.average([weights(model)[name] for model in apart], axis=0, weights=sizes)
        assert np.allclose(array, wanted, rtol=0, atol=1e-6), name


def test_the_round_trip_is_one_call() -> None:
    made = federate(net(), CLIENTS, 2, LOCAL, compress=Quantize(calibration=X[:32]), deploy="host", evaluate=accuracy)
    assert made.program is not None
    assert made.program.manifest["inputs"][0]["dtype"] == "int8"
    given = np.concatenate([made.program.dequantize(made.program.run(x[None])) for x in X[:8]])
    assert np.array_equal(given, made.graph(X[:8])[0])
    rounds = made.history.rounds
    assert [r.number for r in rounds] == [0, 1, 2]
    assert made.history.kept.metric == max(r.metric for r in rounds) == accuracy(made.model)


def test_learning_goes_on_from_what_was_learned() -> None:
    first = federate(net(), CLIENTS, 2, LOCAL)
    assert cross_entropy(federate(first.model, CLIENTS, 2, LOCAL).model) < cross_entropy(first.model)


def test_zeros_stay_zeros_and_are_not_sent() -> None:
    made = federate(net(zeros=True), CLIENTS, 2, LOCAL, strategy=FedAdam(0.1))
    assert not weights(made.model)["stem.weight"][:3].any()
    whole, pruned = Layout.of(net()), Layout.of(net(zeros=True))
    assert whole.size - pruned.size == 3 * 2 * 3 * 3
    assert made.history.up == 2 * 4 * (24 + 4 * pruned.size)


def prune(graph: Graph, data: Any, options: Any) -> Graph:
    how = Gradual(PruneWeights(sparsity=0.5))
    return prune_while_training(graph, how, data, loss_of_labels("label"), **options)


def test_what_a_client_has_pruned_is_for_the_others_to_decide() -> None:
    seeded = {**LOCAL, "batch_size": 96, "optimizer": {"name": "SGD", "lr": 0.1}}
    alone = federate(net(), [Client(CLIENTS[0], step=prune)], 1, seeded)
    assert all(array.all() for name, array in weights(alone.model).items() if name == "stem.weight")
    other = federate(net(), [CLIENTS[1]], 1, seeded).model
    both = federate(net(), [Client(CLIENTS[0], step=prune), CLIENTS[1]], 1, seeded).model
    gone = prune(net(), CLIENTS[0], {**seeded, "schedule": "constant"})
    zeros = weights(gone)["stem.weight"] == 0
    assert zeros.any()
    assert np.allclose(weights(both)["stem.weight"][zeros], weights(other)["stem.weight"][zeros], rtol=0, atol=1e-6)
    assert not np.allclose(weights(both)["stem.weight"][~zeros], weights(other)["stem.weight"][~zeros], atol=1e-4)


def test_a_client_can_distil() -> None:
    def step(graph: Graph, data: Any, options: Any) -> Graph:
        return distill(net(), graph, data, loss_of_labels("label"), **options)

    made = federate(net(), [Client(client, step=step) for client in CLIENTS], 2, LOCAL)
    assert not same(made.model, net())


def test_options_by_round() -> None:
    asked = []

    def local(round: int) -> dict[str, Any]:
        asked.append(round)
        return LOCAL

    assert same(federate(net(), CLIENTS, 2, local).model, federate(net(), CLIENTS, 2, LOCAL).model)
    assert set(asked) == {1, 2}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no clients": ({"clients": []}, "there are no clients"),
    "rounds": ({"rounds": 0}, "0 rounds"),
    "option": ({"local": {"seed": 3}}, "seed is no option"),
    "seed": ({"seed": -1}, "the seed -1 is negative"),
    "engine": ({"engine": "smoke"}, "is none of local, flower"),
    "bits": ({"update": lambda: Quantized(7)}, "updates of 7 bits"),
    "median of parts": ({"strategy": Median(), "update": TopK(0.1)}, "middle of many zeros"),
    "step and FedProx": ({"clients": [Client({}, step=prune)], "strategy": FedProx()}, "proximal"),
    "nothing to train": ({"local": {"frozen": ["*"]}}, "no weights that can be trained"),
    "fraction": ({"fraction": 0.0}, "not in"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=[*REFUSED])
def test_what_cannot_be_used_is_refused(options: dict[str, Any], message: str) -> None:
    given = {"clients": CLIENTS, "local": LOCAL, "rounds": 1, **options}
    with pytest.raises(InvalidInput, match=message):
        federate(net(), **{name: v() if name == "update" and callable(v) else v for name, v in given.items()})
