"""Pruning while a net is trained: what goes is chosen anew as it learns."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from graphopt.errors import InvalidInput
from graphopt.exporters import to_torch, with_parameters
from graphopt.exporters.torch.module import TorchGraph
from graphopt.ir import Array, Graph
from graphopt.passes.prune import PruneChannels, PruneWeights
from graphopt.passes.prune.criteria import layer_weights
from graphopt.training.companion import Companion, Moment
from graphopt.training.data import Loss
from graphopt.training.history import TrainedGraph
from graphopt.training.settings import Options, Settings
from graphopt.training.tune import Evaluate, on_outputs, tune

UNTIL = 0.75
"""The part of a run after which masks stay as they are, and what is left settles."""


def prune_while_training(
    graph: Graph,
    how: Gradual | Regrow | Soft,
    data: Any,
    loss: Loss,
    *,
    evaluate: Evaluate | None = None,
    **options: Unpack[Options],
) -> TrainedGraph:
    """The graph trained and pruned in one run, with zeros in place of the weights that went, or without its channels.

    ``how`` is ``Gradual``, ``Regrow`` or ``Soft``, of a ``PruneWeights`` (or ``PruneChannels``) that says how much
    goes. The best state is kept of those that are as sparse as that. The other arguments are those of ``fine_tune``.

    Raises ``InvalidInput`` for what cannot be used.
    """
    module = to_torch(graph)
    rate = (lambda trained: evaluate(how.result(trained))) if evaluate else None
    trained = tune(graph, module, data, on_outputs(module.input_names, loss), Settings(**options), rate, [how])
    return TrainedGraph.of(how.result(trained), trained.history)


class Sparsifier(Companion):
    """A companion of the module of a graph, whose weights it knows by name."""

    module: TorchGraph

    def start(self, module: nn.Module) -> None:
        assert isinstance(module, TorchGraph)
        self.module = module

    @property
    def graph(self) -> Graph:
        """The graph as it is now."""
        return with_parameters(self.module.plan.graph, self.module)

    def weight(self, name: str) -> Tensor:
        return self.module.tensor((name,))

    def lay(self, masks: dict[str, Tensor]) -> None:
        """Set to zero what is masked."""
        for name, mask in masks.items():
            self.weight(name).masked_fill_(~mask, 0)

    def on_device(self, masks: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: mask.to(self.weight(name).device) for name, mask in masks.items()}

    def result(self, graph: Graph) -> Graph:
        """What is made of the trained graph, to be evaluated and in the end."""
        return graph


@dataclass(eq=False, kw_only=True)
class Masking(Sparsifier):
    """Masks of weights, by name: true where one stays.

    They are chosen ``updates`` times, evenly over the part ``until`` of the run.
    """

    pruning: PruneWeights = field(kw_only=False)
    updates: int = 20
    until: float = UNTIL
    masks: dict[str, Tensor] = field(default_factory=dict, init=False)
    done: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        check_one_step(self.pruning)
        if self.updates < 1 or not 0 < self.until <= 1:
            what = f"{self.updates} updates until {self.until} of the run"
            raise InvalidInput(what, where=type(self).__name__, advice="at least 1, until a part of it above 0")

    def start(self, module: nn.Module) -> None:
        super().start(module)
        self.masks, self.done = {}, 0

    def choose(self, part: float) -> None:
        """Masks for a part of what is to go, by the weights as they are."""
        self.masks = self.on_device(weight_masks(self.graph, self.pruning, part))
        self.lay(self.masks)

    def is_due(self, at: Moment) -> bool:
        """Whether masks are to be chosen now; then that counts as done."""
        due = min(int(at.progress / self.until * self.updates), self.updates)
        before, self.done = self.done, max(self.done, due)
        return due > before

    def after_step(self, module: nn.Module, at: Moment) -> None:
        self.lay(self.masks)

    def state(self) -> dict[str, Tensor]:
        return {**self.masks, "": torch.tensor(self.done)}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.done = int(state[""])
        self.masks = self.on_device({name: mask for name, mask in state.items() if name})


@dataclass(eq=False, kw_only=True)
class Gradual(Masking):
    """More and more weights go: at the part t of the way 1 - (1 - t)^3 of all that are to (Zhu & Gupta, 2017).

    Of a threshold it is that part. The least weights are masked by the ``pruning`` after each of the ``updates``, the
    last at the part ``until`` of the run.
    """

    @property
    def ready(self) -> bool:
        return self.done == self.updates

    def before_step(self, module: nn.Module, at: Moment) -> None:
        if self.is_due(at):
            self.choose(1 - (1 - self.done / self.updates) ** 3)

    def after_epoch(self, module: nn.Module, at: Moment) -> None:
        self.before_step(module, at)


@dataclass(eq=False, kw_only=True)
class Regrow(Masking):
    """As many weights all along, but not the same: the least are dropped, and others grow from zero.

    Those grow whose gradients are largest (``by="gradient"``: RigL, Evci et al., 2020), or random ones of a ``seed``
    (``by="random"``: SET, Mocanu et al., 2018). Each update turns over a part of what is left of every layer, which
    is ``fraction`` at first and falls to nothing by a cosine.
    """

    by: str = "gradient"
    fraction: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.by not in ("gradient", "random") or not 0 < self.fraction < 1:
            what = f"growing by {self.by!r} of a fraction {self.fraction}"
            raise InvalidInput(what, where="Regrow", advice="by gradient or random, a fraction between 0 and 1")
        if self.pruning.pattern != "unstructured":
            raise InvalidInput("only single weights grow again", where="Regrow", advice="pattern='unstructured'")

    def start(self, module: nn.Module) -> None:
        super().start(module)
        self.choose(1.0)

    def before_step(self, module: nn.Module, at: Moment) -> None:
        if self.is_due(at):
            fraction = self.fraction / 2 * (1 + math.cos(math.pi * self.done / self.updates))
            generator = np.random.default_rng([self.seed, self.done])
            self.masks = {name: self.turned(name, mask, fraction, generator) for name, mask in self.masks.items()}
        for name, mask in self.masks.items():
            if (gradient := self.weight(name).grad) is not None:
                gradient.masked_fill_(~mask, 0)

    def turned(self, name: str, mask: Tensor, fraction: float, generator: np.random.Generator) -> Tensor:
        """A mask with a part of its weights dropped, and as many others in their place."""
        weight, gradient = self.weight(name), self.weight(name).grad
        promise = torch.from_numpy(generator.random(mask.shape)).to(mask.device)
        if self.by == "gradient":
            promise = torch.zeros_like(weight) if gradient is None else gradient.abs()
        count = min(int(fraction * int(mask.sum())), int((~mask).sum()))
        dropped = weight.abs().masked_fill(~mask, math.inf).flatten().topk(count, largest=False).indices
        grown = promise.masked_fill(mask, -1.0).flatten().topk(count).indices
        new = mask.flatten().clone()
        new[dropped], new[grown] = False, True
        return new.reshape(mask.shape)


@dataclass(eq=False)
class Soft(Sparsifier):
    """What goes may come back: it is set to zero after every epoch, and trained in the next (He et al., 2018).

    With ``PruneWeights`` these are single weights. With ``PruneChannels`` they are the filters of channels; those of
    the last choice are removed for good in the end, and every epoch is evaluated without its own.
    """

    pruning: PruneWeights | PruneChannels
    pruned: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        check_one_step(self.pruning)

    @property
    def ready(self) -> bool:
        return self.pruned

    def start(self, module: nn.Module) -> None:
        super().start(module)
        self.pruned = False

    def after_epoch(self, module: nn.Module, at: Moment) -> None:
        choose = weight_masks if isinstance(self.pruning, PruneWeights) else filter_masks
        self.lay(self.on_device(choose(self.graph, self.pruning)))  # type: ignore[arg-type]
        self.pruned = True

    def state(self) -> dict[str, Tensor]:
        return {"pruned": torch.tensor(self.pruned)}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.pruned = bool(state["pruned"])

    def result(self, graph: Graph) -> Graph:
        return self.pruning(graph) if isinstance(self.pruning, PruneChannels) else graph


def check_one_step(pruning: PruneWeights | PruneChannels) -> None:
    """Raises ``InvalidInput`` for a pass that goes its way by itself."""
    if pruning.steps > 1 or pruning.fine_tune is not None:
        raise InvalidInput("the run has its own steps", where=pruning.name, advice="leave out steps and fine_tune")


def weight_masks(graph: Graph, pruning: PruneWeights, part: float = 1.0) -> dict[str, Tensor]:
    """The masks that a pass would lay over the weights of layers, by their names."""
    with torch.enable_grad():  # that importances may ask for
        masking = pruning.masking(graph, part)
    return {graph.names[weight.node]: torch.from_numpy(mask) for weight, mask in masking.masks.items()}


def filter_masks(graph: Graph, pruning: PruneChannels) -> dict[str, Tensor]:
    """Masks of the filters of the channels that a pass would remove, by the names of the weights."""
    with torch.enable_grad():
        (removal,) = pruning.removals(graph)
    outputs = {removal.graph.names[weight.node]: axis for weight, axis in layer_weights(removal.graph)}
    masks: dict[str, Array] = {}
    for place, kept in removal.axes().items():
        name = removal.graph.names[place.value.node]
        if outputs.get(name) == place.axis:
            mask = np.zeros(place.value.type.static_shape, bool)
            np.moveaxis(mask, place.axis, 0)[kept] = True
            masks[name] = mask
    return {name: torch.from_numpy(mask) for name, mask in masks.items()}
