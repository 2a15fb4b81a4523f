"""The same as apps of Flower: its simulation on Ray, and what a SuperLink and its SuperNodes run.

Flower carries the bytes that the local engine carries, and what a client keeps is in its context.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from graphopt.errors import ToolFailed
from graphopt.extras import optional_packages
from graphopt.federated.client import Memory, reason
from graphopt.federated.driver import Plan, Work
from graphopt.federated.engine import Answer, Engine, asked
from graphopt.federated.history import Federated
from graphopt.federated.recipe import plan_of_recipe, read_federated, saved

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # who learns together tells nobody
with optional_packages():
    from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid, ServerApp

RECORD, INDEX = "graphopt", "partition-id"
"""The record of a message that is ours, and what a node's configuration calls the number of its client."""
JOIN = 600.0
"""Seconds that the server waits for the clients to be there."""


def client_of(work: Callable[[], Work]) -> ClientApp:
    """What runs at a client: it says which it is when asked, and answers orders.

    Its work is had in its process. Its number is ``partition-id`` in the node's configuration.
    """

    def who(message: Message, context: Context) -> Message:
        return reply(message, {"index": number_of(context)})

    def train(message: Message, context: Context) -> Message:
        own, index = work(), number_of(context)
        kept = context.state.config_records.get(RECORD, ConfigRecord())
        order, memory = bytes_of(message.content, "order"), Memory.from_bytes(bytes(kept.get("memory", b"")))
        try:
            data, memory = asked(own.task, own.clients[index], index, order, memory, own.time_limit)
        except (Exception, SystemExit) as error:  # whatever a client's code raises is told to the server
            return reply(message, {"failed": reason(error)})
        context.state[RECORD] = ConfigRecord({"memory": memory.to_bytes()})
        return reply(message, {"update": data})

    app = ClientApp()
    app.query()(who)
    app.train()(train)
    return app


def number_of(context: Context) -> int:
    return int(context.node_config.get(INDEX, -1))


def reply(message: Message, told: Mapping[str, Any]) -> Message:
    return Message(RecordDict({RECORD: ConfigRecord(dict(told))}), reply_to=message)


def bytes_of(content: RecordDict, name: str) -> bytes:
    """These bytes of a message; empty for anything else."""
    found = content.config_records.get(RECORD, {}).get(name, b"")
    return found if isinstance(found, bytes) else b""


@dataclass(eq=False)
class FlowerEngine:
    """Carries orders and answers by Flower's grid. ``patience`` is how many seconds a round may take."""

    grid: Grid
    count: int
    patience: float | None = None
    nodes: dict[int, int] = field(default_factory=dict)
    """The node of each client."""

    def ask(self, round: int, orders: Mapping[int, bytes]) -> dict[int, Answer]:
        self.find(orders)
        sent = {
            self.nodes[i]: self.message(self.nodes[i], MessageType.TRAIN, {"order": order}, str(round))
            for i, order in orders.items()
            if i in self.nodes
        }
        found = {m.metadata.src_node_id: m for m in self.grid.send_and_receive(sent.values(), timeout=self.patience)}
        return {i: self.answer_of(found, self.nodes.get(i)) for i in orders}

    def answer_of(self, found: Mapping[int, Message], node: int | None) -> Answer:
        if node is None:
            return Answer(failed="it is not there")
        message = found.get(node)
        if message is None:
            return Answer(failed="no answer" if self.patience is None else f"no answer in {self.patience:g} seconds")
        if message.has_error():
            return Answer(failed=f"Flower: {message.error.reason}")
        failed = message.content.config_records.get(RECORD, {}).get("failed")
        return Answer(bytes_of(message.content, "update"), None if failed is None else str(failed))

    def find(self, wanted: Mapping[int, bytes]) -> None:
        """Learn which node is which client: at first wait until all are there, later ask those that are new."""
        end = time.monotonic() + (0 if self.nodes else JOIN)
        while True:
            there = set(self.grid.get_node_ids())
            self.nodes = {i: node for i, node in self.nodes.items() if node in there}
            new = there - set(self.nodes.values())
            questions = [self.message(node, MessageType.QUERY, {"who": True}, "who") for node in new]
            for message in self.grid.send_and_receive(questions, timeout=60) if questions else ():
                index = message.content.config_records.get(RECORD, {}).get("index") if message.has_content() else None
                if isinstance(index, int) and 0 <= index < self.count:
                    self.nodes[index] = message.metadata.src_node_id
            if all(i in self.nodes for i in wanted) or time.monotonic() > end:
                return
            time.sleep(1)

    def message(self, node: int, kind: str, told: Mapping[str, Any], group: str) -> Message:
        return Message(RecordDict({RECORD: ConfigRecord(dict(told))}), node, kind, group_id=group)

    def memories(self) -> list[bytes]:
        return []  # clients have their own

    def restore(self, memories: Sequence[bytes]) -> None:
        pass


def server_of(
    plan: Callable[[], Plan], run: Callable[[Plan, Engine], None], patience: Callable[[Work], float | None]
) -> ServerApp:
    """What runs at the server: ``run`` gets the plan, and the engine that carries its messages."""

    def main(grid: Grid, context: Context) -> None:
        own = plan()
        run(own, FlowerEngine(grid, len(own.work.clients), patience(own.work)))

    app = ServerApp()
    app.main()(main)
    return app


def server_app(recipe: str | Path) -> ServerApp:
    """What a SuperLink runs by a recipe. A round waits for its ``time_limit`` and 30 seconds more."""

    def plan() -> Plan:
        return plan_of_recipe(read_federated(recipe))

    def run(plan: Plan, engine: Engine) -> None:
        saved(read_federated(recipe), plan.run(engine))

    def patience(work: Work) -> float | None:
        return None if work.time_limit is None else work.time_limit + 30

    return server_of(plan, run, patience)


def client_app(recipe: str | Path) -> ClientApp:
    """What a SuperNode runs by the same recipe; it reads its own data alone.

    The number of its file in the recipe is ``partition-id`` in the configuration of the node.
    """
    return client_of(lru_cache(lambda: plan_of_recipe(read_federated(recipe)).work))


def simulate(plan: Plan) -> Federated:
    """A run in Flower's simulation on this machine: Ray with an actor for each core.

    Raises what the run does, and ``ToolFailed`` where the simulation ends without a result.
    """
    with optional_packages():
        from flwr.simulation import run_simulation
        from ray import cloudpickle
    ended, context = list[Federated | BaseException](), copy_context()

    def run(plan: Plan, engine: Engine) -> None:
        try:
            ended.append(context.run(plan.run, engine))
        except BaseException as error:
            ended.append(error)

    def patience(work: Work) -> float | None:
        """All clients may have to wait for one core."""
        return None if work.time_limit is None else (work.time_limit + 30) * len(work.clients)

    with TemporaryDirectory(prefix="graphopt-") as folder, only_warnings():
        file = Path(folder) / "work"
        file.write_bytes(cloudpickle.dumps(plan.work))
        resources = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"log_to_driver": False}}
        server, client = server_of(lambda: plan, run, patience), client_of(partial(work_of, str(file)))
        try:
            run_simulation(server, client, len(plan.work.clients), backend_config=resources)
        except RuntimeError as error:
            ended.append(ToolFailed(f"Flower's simulation failed: {error}", where="flower"))
    if not ended:
        raise ToolFailed("Flower's simulation ended without a result", where="flower")
    if isinstance(ended[0], BaseException):
        raise ended[0]
    return ended[0]


@lru_cache(maxsize=1)
def work_of(file: str) -> Work:
    """In an actor: the work that ``simulate`` has stored on this machine."""
    from ray import cloudpickle

    work: Work = cloudpickle.loads(Path(file).read_bytes())
    return work


@contextmanager
def only_warnings() -> Iterator[None]:
    """Without what Flower and Ray tell of all that goes well."""
    loggers = [logging.getLogger(name) for name in ("flwr", "ray")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
