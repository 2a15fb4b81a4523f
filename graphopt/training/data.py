"""Data and losses as training takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from graphopt.errors import InvalidInput
from graphopt.exporters.torch.module import TorchGraph
from graphopt.ir import Array

Batches = Iterable[Mapping[str, Array] | Array]
"""Batches, each the arrays of a graph's inputs by name, and what else a loss reads (labels); or the lone input.

It is read more than once, so it must be a list or the like, not a generator.
"""

Outputs = Tensor | tuple[Tensor, ...]
Loss = Callable[[Outputs, Mapping[str, Tensor]], Tensor]
"""From the outputs of a module (a tensor if it is one) and the batch as tensors, to a scalar."""


def check_repeatable(data: Batches, where: str) -> None:
    """Raise ``InvalidInput`` for data that can be read once only."""
    if iter(data) is data:
        raise InvalidInput("a generator can be read once only", where=where, advice="give a list")


def tensors(data: Batches, module: TorchGraph, where: str) -> Iterator[dict[str, Tensor]]:
    """The batches as tensors by name. Raises ``InvalidInput`` if there are none."""
    names = module.input_names
    empty = True
    for batch in data:
        empty = False
        if isinstance(batch, np.ndarray):
            if len(names) != 1:
                raise InvalidInput(f"a lone array for the inputs {', '.join(names)}", where=where)
            batch = {names[0]: batch}
        yield {name: torch.from_numpy(np.array(array)) for name, array in batch.items()}
    if empty:
        raise InvalidInput("there are no batches", where=where)


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
        raise InvalidInput(f"the loss of a batch is {float(value)}", where=where)
    return value.reshape(())
