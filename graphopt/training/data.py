"""Losses, and batches as tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from graphopt.errors import InvalidInput
from graphopt.exporters.torch.module import TorchGraph
from graphopt.passes.data import Data, batches

Outputs = Tensor | tuple[Tensor, ...]
Loss = Callable[[Outputs, Mapping[str, Tensor]], Tensor]
"""From the outputs of a module (a tensor if it is one) and the batch as tensors, to a scalar."""


def tensors(data: Data, module: TorchGraph) -> Iterator[dict[str, Tensor]]:
    """The batches as tensors by name: the inputs of the graph, and what else a loss reads (labels)."""
    for batch in batches(data, module.plan.graph):
        yield {name: torch.from_numpy(np.array(array)) for name, array in batch.items()}


def loss_of(module: TorchGraph, loss: Loss, batch: Mapping[str, Tensor], where: str) -> Tensor:
    """The loss of a batch. Raises ``InvalidInput`` unless it is a finite scalar that gradients can be taken of."""
    missing = [name for name in module.input_names if name not in batch]
    if missing:
        raise InvalidInput(f"a batch of {', '.join(batch)} has no input {missing[0]!r}", where=where)
    value = loss(module(**{name: batch[name] for name in module.input_names}), batch)
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
        what = f"the loss gives {value!r}"
        raise InvalidInput(what, where=where, advice="a scalar tensor, computed from the outputs, is needed")
    if not torch.isfinite(value).all():
        raise InvalidInput(f"the loss of a batch is {value.item()}", where=where)
    return value.reshape(())
