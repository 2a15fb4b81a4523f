"""Fine-tuning: a graph goes to PyTorch, is trained, and comes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from graphopt.exporters import to_torch
from graphopt.ir import Graph
from graphopt.training.data import Loss
from graphopt.training.distill import distill
from graphopt.training.history import TrainedGraph
from graphopt.training.masks import check_zeros, held_zeros
from graphopt.training.settings import Options, Settings
from graphopt.training.softened import Kind
from graphopt.training.taps import Network
from graphopt.training.tune import Evaluate, on_outputs, tune


def fine_tune(
    graph: Graph,
    data: Any,
    loss: Loss,
    *,
    evaluate: Evaluate | None = None,
    teacher: Network | None = None,
    temperature: float = 4.0,
    alpha: float = 0.7,
    outputs: Sequence[Kind] | None = None,
    **options: Unpack[Options],
) -> TrainedGraph:
    """The graph with its float constants trained; zeros of the weights of layers stay zeros.

    Args:
        graph: any that ``to_torch`` takes; what of it is a parameter there is trained.
        data: arrays of all samples by name, which are shuffled and cut into batches; a sequence of batches; or what
            can be iterated anew, such as a ``DataLoader``. A batch is a mapping of names to arrays or tensors, or a
            tuple: the inputs in order, then the ``label``.
        loss: from the outputs (a tensor if it is one) and the batch as tensors, to a scalar.
        evaluate: how good a graph is, higher being better. The best state is kept, that before training included;
            without it the last.
        teacher: a graph, module or model file whose outputs are learned too.
        temperature, alpha, outputs: how they are learned; see ``distill``.
        options: epochs, optimizer, schedule, seed, checkpoint, fabric, frozen_norms, frozen, batch_size; see
            ``Settings``.

    Where the loss leaves its band training stops with a warning, ``history.stopped`` says why, and the best state is
    kept. Raises ``InvalidInput`` for arguments, data or a checkpoint that cannot be used, ``Unsupported`` where
    ``to_torch`` does.
    """
    if teacher is not None:
        return distill(
            teacher,
            graph,
            data,
            loss,
            temperature=temperature,
            alpha=alpha,
            outputs=outputs,
            evaluate=evaluate,
            **options,
        )
    module = to_torch(graph)
    held = held_zeros(module)
    trained = tune(graph, module, data, on_outputs(module.input_names, loss), Settings(**options), evaluate, [held])
    check_zeros(graph, trained)
    return trained
