"""No pair of a pass and a criterion does nothing without saying so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from graphopt.errors import InvalidInput
from graphopt.ir import Graph
from graphopt.passes import Context, Pass, PruneChannels, PruneWeights
from graphopt.passes.prune import (
    CRITERIA,
    Activation,
    BatchNormScale,
    Importance,
    ScoreFunction,
    Sensitivity,
)
from graphopt.training import Hessian, Taylor
from pruning.nets import residual_net

X = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype("float32")
DATA = [{"x": X}]


def square(outputs: torch.Tensor | tuple[torch.Tensor, ...], _: object) -> torch.Tensor:
    assert isinstance(outputs, torch.Tensor)
    return outputs.square().mean()


IMPORTANCES: dict[str, str | Importance | ScoreFunction] = {
    **{name: name for name in CRITERIA},
    "activation": Activation(DATA),
    "taylor": Taylor(square, DATA),
    "hessian": Hessian(square, DATA),
    "sensitivity": Sensitivity(lambda g: -float(np.abs(g(X)[0]).sum())),
    "silence": lambda g: {},
}
PASSES: dict[str, Callable[[str | Importance | ScoreFunction], Pass]] = {
    "channels": lambda i: PruneChannels(ratio=0.3, importance=i),
    "channels, locally": lambda i: PruneChannels(ratio=0.3, importance=i, scope="local"),
    "weights": lambda i: PruneWeights(sparsity=0.3, importance=i),
    "weights, 2:4": lambda i: PruneWeights(pattern="2:4", importance=i),
}


def small_net() -> Graph:
    return residual_net(8)


@pytest.mark.parametrize("chosen", PASSES)
@pytest.mark.parametrize("importance", IMPORTANCES)
def test_it_prunes_or_is_refused(chosen: str, importance: str) -> None:
    graph, pass_ = small_net(), PASSES[chosen](IMPORTANCES[importance])
    try:
        assert pass_(graph) is not graph
    except InvalidInput as refusal:
        assert any(what in str(refusal) for what in ("says nothing", "does not speak of single weights"))


def test_activations_have_no_say_in_single_weights() -> None:
    with pytest.raises(InvalidInput, match="says nothing of the weights of layers"):
        PruneWeights(importance=Activation(DATA))(small_net())


def test_what_a_criterion_says_nothing_of_is_told() -> None:
    context = Context()
    PruneChannels(ratio=0.5, importance=BatchNormScale()).run(small_net(), context)
    told = [n.node for n in context.notes if "says nothing of its channels" in n.text]
    assert told == ["block.1"]


def test_layers_without_a_mask_are_told() -> None:
    context = Context()
    PruneWeights(pattern="2:4").run(small_net(), context)
    told = [n.node for n in context.notes if n.text.startswith("left alone")]
    assert told == ["stem.weight"]
