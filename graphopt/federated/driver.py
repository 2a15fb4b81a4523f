"""Learning together: one call from a graph and clients to the program that is deployed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, Unpack

from graphopt.errors import InvalidInput
from graphopt.federated.client import Client, Local, Task, options_of
from graphopt.federated.compression import Compression
from graphopt.federated.engine import Engine, LocalEngine
from graphopt.federated.history import Federated
from graphopt.federated.layout import Layout
from graphopt.federated.privacy import Privacy
from graphopt.federated.server import Rules, Server
from graphopt.federated.strategies import FedAvg, Strategy
from graphopt.ir import Graph
from graphopt.passes import optimize
from graphopt.targets import Target, compile
from graphopt.training.data import Loss
from graphopt.training.objective import loss_of_labels
from graphopt.training.samples import LABEL
from graphopt.training.settings import Settings
from graphopt.training.tune import Evaluate

ENGINES = ("local", "flower")


class Options(TypedDict, total=False):
    """What else a run can be told.

    Attributes:
        loss: from the outputs and the batch as tensors to a scalar; by default that of an array ``label``.
        evaluate: how good a graph is, higher being better. The weights of the best round are kept, those of before
            included; without it the last.
        compress: what makes of the model what is deployed, such as ``Quantize(calibration=...)``.
        fraction: the part of the clients that is asked in each round, drawn by the seed.
        least: how many usable updates a round needs.
        time_limit: seconds that a client has for a round. With one, each learns in a process of its own.
        privacy: clip and noise, with the epsilon in ``history``.
    """

    loss: Loss | None
    evaluate: Evaluate | None
    compress: Callable[[Graph], Graph] | None
    fraction: float
    least: int
    time_limit: float | None
    privacy: Privacy | None


class Work(NamedTuple):
    """What clients do, who they are, and how many seconds each has for a round."""

    task: Task
    clients: tuple[Client, ...]
    time_limit: float | None = None


class Plan(NamedTuple):
    """All of a run but what carries its messages: what clients do, what the server does, and what is made of it."""

    work: Work
    rules: Rules
    compress: Callable[[Graph], Graph] | None = None
    deploy: str | Target | None = None

    def run(self, engine: Engine) -> Federated:
        """The run by an engine, to the program."""
        server = Server(self.work.task, self.rules, engine)
        history = server.finish()
        model = self.work.task.layout.graph_of(server.best)
        small = self.compress(model) if self.compress else model
        program = compile(optimize(small), self.deploy) if self.deploy else None
        return Federated(small, program, history, model)


def federate(
    graph: Graph,
    clients: Sequence[Any],
    rounds: int = 10,
    local: Local | None = None,
    update: Compression | None = None,
    strategy: Strategy | None = None,
    engine: str = "local",
    seed: int = 0,
    checkpoint: str | Path | None = None,
    deploy: str | Target | None = None,
    **options: Unpack[Options],
) -> Federated:
    """The model that clients learn together, each from its own data, and the program for their devices.

    In each round the server sends the weights to clients; each trains on its data, and sends by how much its weights
    have changed, compressed; the server adds a mean of that to the weights. In the end the model is compressed and
    compiled. A client that fails, takes too long, or sends what cannot be used is left out of the round, and
    ``history`` has its name and why. Weights of layers that are zero stay zero, and are not sent.

    Args:
        graph: any float graph that ``fine_tune`` takes.
        clients: for each its data, as for ``fine_tune``, or a ``Client``.
        rounds: how many.
        local: the options of ``fine_tune`` for a client in a round; or a function that gives them for the number of the
            round (from 1). By default one epoch, at a constant rate.
        update: what of an update is sent, ``Quantized(8)``, ``TopK(0.01)``, or both, ``Quantized(8) | TopK(0.1)``; by
            default all, as floats.
        strategy: ``FedAvg`` by default, ``FedProx``, ``FedAdam``, ``TrimmedMean``, ``Median``, or your own.
        engine: ``local``: here, the reference; ``flower``: Flower's simulation, to the same weights for the same seed.
        seed: of all random numbers, but the noise of privacy.
        checkpoint: a folder, from which an interrupted run goes on after its last round, to the weights that it would
            have had; with more ``rounds`` a finished run goes on too.
        deploy: a target to compile for.
        options: loss, evaluate, compress, fraction, least, time_limit, privacy; see ``Options``.

    Raises ``InvalidInput`` for arguments that cannot be used, and for a round with fewer than ``least`` updates; what
    ``fine_tune``, ``compress`` and ``compile`` do.
    """
    plan = planned(graph, clients, rounds, local, update, strategy, seed, checkpoint, deploy, **options)
    return run_by(engine, plan)


def run_by(engine: str, plan: Plan) -> Federated:
    """A run by the engine of this name. Raises ``InvalidInput`` for a name that there is not."""
    if engine not in ENGINES:
        raise InvalidInput(f"{engine!r} is none of {', '.join(ENGINES)}", where="engine")
    if engine == "flower":
        from graphopt.federated.flower import simulate

        return simulate(plan)
    return plan.run(LocalEngine(*plan.work))


def planned(
    graph: Graph,
    clients: Sequence[Any],
    rounds: int = 10,
    local: Local | None = None,
    update: Compression | None = None,
    strategy: Strategy | None = None,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    deploy: str | Target | None = None,
    **options: Unpack[Options],
) -> Plan:
    """The plan of a run; see ``federate``."""
    people = tuple(client if isinstance(client, Client) else Client(client) for client in clients)
    strategy, update, local = strategy or FedAvg(), update or Compression(), local or {}
    settings, privacy = Settings(**(options_of(local, 1) | {"seed": seed})), options.get("privacy")
    checked(people, strategy, update, options.get("time_limit"))
    task = Task(
        layout=Layout.of(graph, settings.frozen, settings.frozen_norms),
        loss=options.get("loss") or loss_of_labels(LABEL, graph),
        local=local,
        compression=update,
        proximal=strategy.proximal,
        clip=privacy.clip if privacy else None,
        seed=seed,
    )
    rules = Rules(
        rounds=rounds,
        names=tuple(client.name or f"client {i}" for i, client in enumerate(people)),
        strategy=strategy,
        fraction=options.get("fraction", 1.0),
        least=options.get("least", 1),
        privacy=privacy,
        evaluate=options.get("evaluate"),
        checkpoint=checkpoint,
    )
    return Plan(Work(task, people, options.get("time_limit")), rules, options.get("compress"), deploy)


def checked(clients: Sequence[Client], strategy: Strategy, update: Compression, time_limit: float | None) -> None:
    """Raises ``InvalidInput`` for what does not go together, and for no time."""
    if time_limit is not None and not time_limit > 0:
        raise InvalidInput(f"{time_limit:g} seconds are no time", where="time_limit")
    if own := next((c for c in clients if c.step is not None and strategy.proximal), None):
        why = "the proximal term is added to the loss of fine_tune alone"
        raise InvalidInput("a client with a step of its own", where=own.name or "FedProx", why=why)
    if update.fraction < 1 and not strategy.linear:
        why = "what is not sent counts as zero, and the middle of many zeros is zero"
        advice = "send all: Quantized()"
        raise InvalidInput("a part of an update", where=type(strategy).__name__, why=why, advice=advice)
