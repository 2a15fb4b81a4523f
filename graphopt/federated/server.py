"""The server: it asks clients round by round, drops what it cannot use, and changes the model by the rest."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from graphopt.errors import InvalidInput
from graphopt.federated.client import Task, options_of
from graphopt.federated.engine import Answer, Engine
from graphopt.federated.history import Dropped, FederatedHistory, Round
from graphopt.federated.privacy import Privacy
from graphopt.federated.strategies import FedAvg, State, Strategy
from graphopt.federated.wire import Order, Refused, Update, pack_order, unpack_update
from graphopt.ir import Array
from graphopt.progress import counted
from graphopt.training.checkpoint import ANEW, Checkpoint, described
from graphopt.training.loop import rank
from graphopt.training.tune import Evaluate


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How the server goes about it.

    Attributes:
        rounds: how many.
        names: of the clients, in order.
        strategy: how updates become a change.
        fraction: of the clients that is asked in each round, drawn by the seed.
        least: how many usable updates a round needs; with fewer the run ends. With privacy any number will do.
        privacy: clip and noise.
        evaluate: how good a graph is, higher being better; the best round is then kept.
        checkpoint: a folder, from which a run goes on after its last round.
    """

    rounds: int
    names: tuple[str, ...]
    strategy: Strategy = field(default_factory=FedAvg)
    fraction: float = 1.0
    least: int = 1
    privacy: Privacy | None = None
    evaluate: Evaluate | None = None
    checkpoint: str | Path | None = None

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise InvalidInput(f"{self.rounds} rounds, 1 is the least", where="rounds")
        if not self.names:
            raise InvalidInput("there are no clients", where="clients")
        if not 0 < self.fraction <= 1:
            raise InvalidInput(f"the fraction {self.fraction} is not in (0, 1]", where="fraction")
        if not 1 <= self.least <= len(self.names):
            raise InvalidInput(f"{self.least} of {len(self.names)} clients", where="least")
        if self.privacy is not None and not self.strategy.linear:
            why = "its noise is made for a mean"
            raise InvalidInput("does not go with privacy", where=type(self.strategy).__name__, why=why)


@dataclass(eq=False)
class Server:
    """A run: what it is of, and how far it is."""

    task: Task
    rules: Rules
    engine: Engine
    start: Array = field(init=False)
    weights: Array = field(init=False)
    best: Array = field(init=False)
    state: State = field(init=False, default_factory=dict)
    accepted: dict[int, int] = field(init=False, default_factory=dict)
    """By client the last round of which an update was used."""
    history: FederatedHistory = field(init=False, default_factory=FederatedHistory)

    def __post_init__(self) -> None:
        self.start = self.weights = self.best = self.task.layout.vector(self.task.layout.graph)
        self.epsilon(1)  # what it needs is missed now, and not after a round

    def finish(self) -> FederatedHistory:
        """Go on to the last round, from wherever the run is."""
        if not self.resumed():
            self.record(Round(0))
        missing = range(len(self.history.rounds), self.rules.rounds + 1)
        for number in counted(missing, "round", len(missing)):
            self.round(number)
            self.store()
        return self.history

    def round(self, number: int) -> None:
        """Ask clients, and change the weights by what they send. Raises ``InvalidInput`` where too few can be used."""
        started, layout = time.monotonic(), self.task.layout
        chosen = self.chosen(number)
        orders = {i: pack_order(Order(number, self.accepted.get(i, 0), self.weights), layout) for i in chosen}
        answers = self.engine.ask(number, orders) if orders else {}
        updates, dropped = self.sifted(number, chosen, answers)
        if len(updates) < self.rules.least and not self.rules.privacy:
            told = "; ".join(f"{d.client}: {d.why}" for d in dropped)
            what = f"{len(updates)} of {len(chosen)} clients gave an update that can be used"
            raise InvalidInput(what, where=f"round {number}", why=told)
        self.apply(number, updates)
        self.accepted |= dict.fromkeys(updates, number)
        up, down = sum(len(a.data) for a in answers.values()), sum(map(len, orders.values()))
        made = Round(number, None, len(chosen), up, down, dropped, self.epsilon(number))
        self.record(replace(made, seconds=time.monotonic() - started))

    def chosen(self, number: int) -> list[int]:
        """The clients of a round. With privacy each is in it by chance, as its accounting has it."""
        count, rng = len(self.rules.names), np.random.default_rng([self.task.seed, number])
        if self.rules.fraction == 1:
            return list(range(count))
        if self.rules.privacy is not None:
            return [int(i) for i in np.flatnonzero(rng.random(count) < self.rules.fraction)]
        some = rng.permutation(count)[: max(round(self.rules.fraction * count), self.rules.least)]
        return sorted(int(i) for i in some)

    def sifted(
        self, number: int, chosen: list[int], answers: Mapping[int, Answer]
    ) -> tuple[dict[int, Update], tuple[Dropped, ...]]:
        """The updates that can be used, by client, and who is dropped."""
        updates, dropped = dict[int, Update](), list[Dropped]()
        for index in chosen:
            found = answers.get(index, Answer(failed="no answer"))
            try:
                if found.failed is not None:
                    raise Refused(found.failed)
                updates[index] = unpack_update(found.data, self.task.layout, number)
            except Refused as error:
                dropped.append(Dropped(self.rules.names[index], str(error)))
        return updates, tuple(dropped)

    def apply(self, number: int, updates: Mapping[int, Update]) -> None:
        """Change the weights; what a norm has measured is averaged, and no variance gets below zero."""
        layout, strategy, privacy = self.task.layout, self.rules.strategy, self.rules.privacy
        given = [updates[i] for i in sorted(updates)]
        if privacy is not None:
            expected = self.rules.fraction * len(self.rules.names)
            change = privacy.change(given, layout.size, expected, number)
        else:
            change = strategy.change(given)
        step, self.state = strategy.step(change, self.state)
        new = self.weights + np.where(layout.measured, change, step)
        self.weights = np.where(layout.variances, np.maximum(new, 0), new).astype(np.float32)

    def epsilon(self, number: int) -> float | None:
        return self.rules.privacy.epsilon(number, self.rules.fraction) if self.rules.privacy else None

    def record(self, made: Round) -> None:
        """Add a round to the history, and keep its weights if no round before was better."""
        metric = None
        if self.rules.evaluate is not None:
            metric = float(self.rules.evaluate(self.task.layout.graph_of(self.weights)))
        made = replace(made, metric=metric)
        rounds, best = (*self.history.rounds, made), self.history.best
        if not self.history.rounds or metric is None or rank(metric) > rank(self.history.kept.metric):
            self.best, best = self.weights, made.number
        self.history = FederatedHistory(rounds, best)

    @property
    def checkpoint(self) -> Checkpoint | None:
        task, rules = self.task, self.rules
        if rules.checkpoint is None:
            return None
        told = {
            "weights": hashlib.sha256(task.layout.digest + self.start.tobytes()).hexdigest(),
            "clients": list(rules.names),
            "local": described(options_of(task.local, 1)),
            "private": described(rules.privacy),
        }
        names = {"loss": task.loss, "update": task.compression, "seed": task.seed, "strategy": rules.strategy}
        told |= {name: described(part) for name, part in names.items()} | {"fraction": described(rules.fraction)}
        return Checkpoint(Path(rules.checkpoint), told)

    def store(self) -> None:
        """Write the state after a round."""
        if (checkpoint := self.checkpoint) is not None:
            vectors = {"weights": self.weights, "best": self.best, **self.state}
            state: dict[str, Any] = {name: torch.from_numpy(np.array(v)) for name, v in vectors.items()}
            memories = [torch.from_numpy(np.frombuffer(m, np.uint8).copy()) for m in self.engine.memories()]
            accepted = [[index, number] for index, number in self.accepted.items()]
            checkpoint.write(
                {"vectors": state, "memories": memories, "accepted": accepted, "history": asdict(self.history)}
            )

    def resumed(self) -> bool:
        """Whether the run has been taken up from its checkpoint. Raises ``InvalidInput`` for one that does not fit."""
        checkpoint = self.checkpoint
        state = None if checkpoint is None else checkpoint.read()
        if state is None:
            return False
        try:
            vectors = {name: tensor.numpy() for name, tensor in state["vectors"].items()}
            if any(v.shape != self.weights.shape for v in vectors.values()):
                raise ValueError("its weights are of another size")
            self.weights, self.best = vectors.pop("weights"), vectors.pop("best")
            self.state, self.accepted = vectors, dict(state["accepted"])
            self.history = FederatedHistory.read(state["history"])
            self.engine.restore([memory.numpy().tobytes() for memory in state["memories"]])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidInput(f"it does not fit this run: {error}", where="checkpoint", advice=ANEW) from error
        return True
