"""A client that fails is dropped and named, and the round goes on; a server that was killed goes on where it was."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learning import CLIENTS, LOCAL, cross_entropy, net, same

from graphopt.errors import InvalidInput
from graphopt.federated import Client, Dropped, FedAdam, Federated, Quantized, TopK, federate
from graphopt.federated.client import Memory, sent
from graphopt.federated.driver import planned
from graphopt.federated.engine import Answer, LocalEngine
from graphopt.federated.wire import Update, unpack_update
from graphopt.ir import Constant, Graph, constant, rebuild

HERE = os.getpid()


def changed(graph: Graph, name: str, change: Any) -> Graph:
    """The graph with another array for a constant."""

    def update(node: Any, inputs: Any) -> Any:
        if isinstance(node.op, Constant) and graph.names[node] == name:
            return (constant(change(node.op.value), name),)
        return None

    return rebuild(graph, update)


def raises(graph: Graph, data: Any, options: Any) -> Graph:
    raise OSError("the battery is empty")


def ends(graph: Graph, data: Any, options: Any) -> Graph:
    raise SystemExit(3)


def is_killed(graph: Graph, data: Any, options: Any) -> Graph:
    assert os.getpid() != HERE
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def hangs(graph: Graph, data: Any, options: Any) -> Graph:
    time.sleep(600)
    raise AssertionError


def sends_nan(graph: Graph, data: Any, options: Any) -> Graph:
    return changed(graph, "head.bias", lambda array: array * np.nan)


def has_another_shape(graph: Graph, data: Any, options: Any) -> Graph:
    return net(channels=12)


def gives_nothing(graph: Graph, data: Any, options: Any) -> Any:
    return None


FAULTS = [
    (raises, "OSError: the battery is empty"),
    (ends, "SystemExit: 3"),
    (sends_nan, "a number in it is not finite"),
    (has_another_shape, "stem.weight: is [12, 2, 3, 3], and was [6, 2, 3, 3]"),
    (gives_nothing, "its step gives NoneType, and no graph"),
]


@pytest.mark.parametrize(("step", "why"), FAULTS)
def test_a_client_that_fails_is_dropped_and_named(step: Any, why: str) -> None:
    healthy = federate(net(), CLIENTS[:3], 2, LOCAL)
    made = federate(net(), [*CLIENTS[:3], Client(CLIENTS[3], name="Rosa", step=step)], 2, LOCAL)
    assert same(made.model, healthy.model)
    for number in (1, 2):
        (dropped,) = made.history.rounds[number].dropped
        assert dropped.client == "Rosa" and why in dropped.why


def test_a_client_that_is_killed_or_hangs_is_dropped_and_named() -> None:
    failing = [Client(CLIENTS[2], step=is_killed), Client(CLIENTS[3], name="slow", step=hangs)]
    made = federate(net(), [*CLIENTS[:2], *failing], 1, LOCAL, time_limit=10)
    assert made.history.rounds[1].dropped == (
        Dropped("client 2", "its process ended with exit code -9"),
        Dropped("slow", "no answer in 10 seconds"),
    )
    assert same(made.model, federate(net(), CLIENTS[:2], 1, LOCAL).model)


class Tampered(LocalEngine):
    """Changes what client 0 sends in the second round."""

    first: bytes = b""
    how: Any = None

    def ask(self, round: int, orders: Mapping[int, bytes]) -> dict[int, Answer]:
        found = super().ask(round, orders)
        if round == 1:
            self.first = found[0].data
        if round == 2:
            found[0] = Answer(self.how(self.first, found[0].data))
        return found


TAMPERED = {
    "an old round": (lambda first, now: first, "it is of round 1, and this is round 2"),
    "cut off": (lambda first, now: now[:-5], "bytes where"),
    "another model": (lambda first, now: now[:16] + b"8 bytes!" + now[24:], "other names or shapes"),
    "nothing": (lambda first, now: b"", "0 bytes are no message"),
}


@pytest.mark.parametrize(("how", "why"), TAMPERED.values(), ids=[*TAMPERED])
def test_what_cannot_be_used_is_dropped_and_its_bytes_are_counted(how: Any, why: str) -> None:
    plan = planned(net(), CLIENTS, 3, LOCAL, Quantized(4))
    engine = Tampered(*plan.work)
    engine.how = how
    made = plan.run(engine)
    ((number, dropped),) = made.history.dropped
    assert (number, dropped.client) == (2, "client 0") and why in dropped.why
    one = made.history.rounds[1].up // 4
    assert made.history.rounds[2].up == 3 * one + len(how(bytes(one), bytes(one)))
    assert cross_entropy(made.model) < cross_entropy(net())


def test_too_few_clients_end_the_run_with_the_reasons() -> None:
    failing = [Client(CLIENTS[3], name="Rosa", step=raises)]
    with pytest.raises(InvalidInput, match=r"round 1: 3 of 4 clients .*Rosa: OSError: the battery is empty"):
        federate(net(), [*CLIENTS[:3], *failing], 2, LOCAL, least=4)


def test_one_that_learns_too_fast_is_dropped() -> None:
    wild = {**LOCAL, "optimizer": {"name": "SGD", "lr": 1e20}}
    with pytest.raises(InvalidInput, match="client 0: its training stopped"):
        federate(net(), CLIENTS[:1], 1, wild)


def test_what_was_not_sent_is_sent_later_unless_the_update_was_dropped() -> None:
    task = planned(net(), CLIENTS, 1, LOCAL, Quantized(4) | TopK(0.1)).work.task
    layout, rng, memory = task.layout, np.random.default_rng(0), Memory()
    wanted, arrived = np.zeros(layout.size), np.zeros(layout.size)
    for number in range(1, 30):
        change = rng.standard_normal(layout.size).astype("float32")
        data, after = sent(task, Update(number, 1, change), memory, accepted=number - 1)
        found = unpack_update(data, layout, number).values
        wanted, arrived, memory = wanted + change, arrived + found, after
    assert np.allclose(wanted, arrived + memory.after, atol=1e-4)
    assert np.array_equal(memory.left(29), memory.after) and np.array_equal(memory.left(28), memory.before)
    again = Memory.from_bytes(memory.to_bytes())
    assert again.round == 29 and np.array_equal(again.after, memory.after)


RUN: dict[str, Any] = {
    "local": LOCAL,
    "update": Quantized(4) | TopK(0.2),
    "strategy": FedAdam(0.02),
    "fraction": 0.75,
}


def killed(folder: Path) -> None:
    """Four rounds; the process kills itself at the end of the third, before that is stored."""
    calls = iter(range(10))

    def evaluate(graph: Graph) -> float:
        if next(calls) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return -cross_entropy(graph)

    federate(net(), CLIENTS, 4, checkpoint=folder, evaluate=evaluate, **RUN)


def test_a_server_that_was_killed_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    def evaluate(graph: Graph) -> float:
        return -cross_entropy(graph)

    def whole(rounds: int, folder: Path | None) -> Federated:
        return federate(net(), CLIENTS, rounds, checkpoint=folder, evaluate=evaluate, **RUN)

    process = multiprocessing.get_context("fork").Process(target=killed, args=(tmp_path,))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    resumed, uninterrupted = whole(4, tmp_path), whole(4, None)
    assert same(resumed.model, uninterrupted.model)
    assert resumed.history == uninterrupted.history
    assert same(whole(5, tmp_path).model, whole(5, None).model)


def test_a_checkpoint_is_of_one_run(tmp_path: Path) -> None:
    federate(net(), CLIENTS, 1, LOCAL, checkpoint=tmp_path)
    for options, message in [
        ({"seed": 1}, "seed was"),
        ({"update": Quantized(8)}, "update was"),
        ({"strategy": FedAdam()}, "strategy was"),
        ({"clients": CLIENTS[:2]}, "clients was"),
        ({"graph": changed(net(), "head.bias", lambda array: array + 1)}, "weights was"),
    ]:
        with pytest.raises(InvalidInput, match=f"of another run: {message}"):
            federate(
                **{"graph": net(), "clients": CLIENTS, "rounds": 1, "local": LOCAL, "checkpoint": tmp_path, **options}
            )
