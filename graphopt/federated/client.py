"""A client: it learns from its own data, and sends by how much its weights have changed."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from graphopt.errors import GraphoptError, InvalidInput
from graphopt.exporters import to_torch
from graphopt.federated.compression import Compression
from graphopt.federated.layout import Layout
from graphopt.federated.privacy import clipped
from graphopt.federated.wire import Update, pack_update, unpack_order, unpack_update
from graphopt.ir import Array, Graph
from graphopt.progress import listening
from graphopt.training.companion import Companion, Moment
from graphopt.training.data import Loss
from graphopt.training.history import TrainedGraph
from graphopt.training.masks import held_zeros
from graphopt.training.samples import Samples, fixed_batch, size_of
from graphopt.training.settings import Options, Settings
from graphopt.training.tune import on_outputs, tune

Local = Mapping[str, Any] | Callable[[int], Mapping[str, Any]]
"""The options of ``fine_tune`` for every round, or for the round of a number."""

Step = Callable[[Graph, Any, Options], Graph]
"""From the global model, the data and the options of a round, to the model that was learned."""


@dataclass(frozen=True, eq=False)
class Client:
    """Who learns, and from what.

    Attributes:
        data: as for ``fine_tune``; or a function that gives it, called when the client first learns.
        name: how it is called where it is dropped; by default by its place.
        step: how it learns instead of by ``fine_tune``: from graph, data and options to a graph with the same
            weights. It may compress: prune while training, distil, train for int8 (``aware``). Weights of layers that
            come back as zeros are pruned: they are not sent, and the other clients decide on them.
        samples: how many it has, which is its weight; by default they are counted.
    """

    data: Any
    name: str | None = None
    step: Step | None = None
    samples: int | None = None

    @cached_property
    def own(self) -> Any:
        """Its data."""
        return self.data() if callable(self.data) else self.data


@dataclass(frozen=True, eq=False)
class Task:
    """What all clients do with an order of the server."""

    layout: Layout
    loss: Loss
    local: Local
    compression: Compression
    proximal: float = 0.0
    clip: float | None = None
    seed: int = 0

    def options(self, round: int, client: int) -> Options:
        """The options of a client in a round, with a seed of its own."""
        seed = int(np.random.SeedSequence([self.seed, round, client]).generate_state(1)[0])
        return options_of(self.local, round) | {"seed": seed}


def options_of(local: Local, round: int) -> Options:
    """The options of a round: one epoch unless said, at a constant rate. Raises ``InvalidInput`` for others."""
    told = dict(local(round) if callable(local) else local)
    if unknown := set(told) - set(Options.__annotations__) | set(told) & {"seed", "checkpoint", "fabric"}:
        raise InvalidInput(f"{', '.join(sorted(unknown))} is no option of a round", where="local")
    return {"epochs": 1, "schedule": "constant", **told}  # type: ignore[typeddict-item]


MEMORY = struct.Struct("<II")


@dataclass(frozen=True, eq=False)
class Memory:
    """What a client keeps: what it did not send, before and after its last round; None is nothing.

    The server says which round of it was the last to be accepted. If that is not the last, what is kept is as before.
    """

    round: int = 0
    before: Array | None = None
    after: Array | None = None

    def left(self, accepted: int) -> Array | None:
        return self.after if accepted >= self.round else self.before

    def to_bytes(self) -> bytes:
        parts = [b"" if part is None else part.astype("<f4").tobytes() for part in (self.before, self.after)]
        return MEMORY.pack(self.round, len(parts[0])) + b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Memory:
        if not data:
            return cls()
        number, size = MEMORY.unpack_from(data)
        parts = data[MEMORY.size :][:size], data[MEMORY.size + size :]
        before, after = (np.frombuffer(part, "<f4").astype(np.float32) if part else None for part in parts)
        return cls(number, before, after)


@dataclass(eq=False)
class Proximal(Companion):
    """Adds the gradient of mu/2 |w - w_global|²."""

    mu: float
    start_at: dict[str, torch.Tensor] = field(default_factory=dict)

    def start(self, module: nn.Module) -> None:
        self.start_at = {name: p.detach().clone() for name, p in module.named_parameters()}

    def before_step(self, module: nn.Module, at: Moment) -> None:
        for name, parameter in module.named_parameters():
            if parameter.grad is not None:
                parameter.grad.add_(parameter - self.start_at[name], alpha=self.mu)


def answer(task: Task, client: Client, index: int, order: bytes, memory: Memory) -> tuple[bytes, Memory]:
    """The update of a client, as bytes, for an order of the server, and what the client keeps.

    Raises ``Refused`` for an order that is none, and ``GraphoptError`` where the client cannot learn.
    """
    told = unpack_order(order, task.layout)
    options = task.options(told.round, index)
    with one_thread(), quiet():
        trained = learned(task, client, task.layout.graph_of(told.weights), options)
        count = samples_of(client, task, options)
    vector = task.layout.vector(trained)
    change = vector - told.weights
    pruned = (vector == 0) & (told.weights != 0) & task.layout.prunable
    known = ~pruned if pruned.any() else None
    return sent(task, Update(told.round, count, change, known), memory, told.accepted)


def sent(task: Task, update: Update, memory: Memory, accepted: int) -> tuple[bytes, Memory]:
    """An update as bytes, with what was left of earlier ones, and what is left of it."""
    left, values = memory.left(accepted), update.values
    if left is not None:
        values = values + left
    if update.known is not None:
        values = np.where(update.known, values, 0)
    if task.clip is not None:
        values = clipped(values, task.clip).astype(np.float32)
    data = pack_update(Update(update.round, update.samples, values, update.known), task.compression, task.layout)
    rest = None
    if task.compression.feedback and not task.compression.exact and np.isfinite(values).all():
        rest = values - unpack_update(data, task.layout, update.round).values
    return data, Memory(update.round, left, rest)


def learned(task: Task, client: Client, graph: Graph, options: Options) -> Graph:
    """The model after the client's own training. Raises ``InvalidInput`` where its loss ran away."""
    if client.step is not None:
        trained = client.step(graph, client.own, options)
        if not isinstance(trained, Graph):
            raise InvalidInput(f"its step gives {type(trained).__name__}, and no graph", where="step")
    else:
        module = to_torch(graph)
        companions: list[Companion] = [held_zeros(module)]
        if task.proximal:
            companions.append(Proximal(task.proximal))
        loss = on_outputs(module.input_names, task.loss)
        trained = tune(graph, module, client.own, loss, Settings(**options), None, companions)
    if isinstance(trained, TrainedGraph) and trained.history.stopped:
        raise InvalidInput(f"its training stopped: {trained.history.stopped}")
    return trained


def samples_of(client: Client, task: Task, options: Options) -> int:
    """How many samples a client has."""
    if client.samples is not None:
        return client.samples
    graph = task.layout.graph
    names = tuple(graph.names[value.node] for value in graph.inputs)
    size = fixed_batch(graph) or Settings(**options).batch_size
    samples = Samples(client.own, names, size)
    if samples.whole is not None:
        return size_of(samples.whole)
    return sum(len(batch[names[0]]) for batch in samples.epoch(0, 1))


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums of floats depend on how many threads share them; the same seed is to give the same weights everywhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the progress and the warnings of a client: the server tells of rounds, and of who is dropped."""
    with listening(lambda what, done, total: None), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def reason(error: BaseException) -> str:
    """What an error says, in one line."""
    text = str(error).replace("\n", " ") or "no message"
    return text if isinstance(error, GraphoptError | ValueError) else f"{type(error).__name__}: {text}"
