"""What a run learns from: batches as tensors by name, in an order of the seed's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphopt.errors import InvalidInput
from graphopt.ir import Graph

LABEL = "label"
"""What an array is called that a batch without names has beside the inputs."""

BATCH_SIZE = 32


@dataclass(frozen=True, eq=False)
class Samples:
    """Data for training, of a net whose inputs have these names.

    ``data`` is one mapping of names to arrays of all samples (or a lone array, for one input), which every epoch
    shuffles and cuts into batches, the last of which is left out if it is short; a sequence of batches, which every
    epoch shuffles; or anything that can be iterated anew, such as a ``DataLoader``, taken as it comes. A batch is a
    mapping of names to arrays or tensors, a lone one, or a tuple: the inputs in order, then the ``label``.
    """

    data: Any
    inputs: tuple[str, ...]
    batch_size: int = BATCH_SIZE

    def __post_init__(self) -> None:
        if not isinstance(self.data, Iterable) or isinstance(self.data, Iterator):
            advice = "give arrays, a list of batches, a DataLoader, or what can be iterated anew"
            raise InvalidInput(
                f"{type(self.data).__name__} can be read but once or not at all", where="data", advice=advice
            )
        if self.count == 0:
            raise InvalidInput("there is no data, or not enough for one batch", where="data")

    @cached_property
    def whole(self) -> dict[str, Tensor] | None:
        """All samples by name, where the data is not in batches yet."""
        return self.named(self.data) if isinstance(self.data, Mapping | np.ndarray | Tensor) else None

    @property
    def count(self) -> int | None:
        """How many batches an epoch has, where that is known."""
        if (whole := self.whole) is not None:
            total = size_of(whole)
            return max(total // self.batch_size, int(total > 0))
        return len(self.data) if isinstance(self.data, Sized) else None

    def epoch(self, seed: int, epoch: int, rank: int = 0, of: int = 1) -> Iterator[dict[str, Tensor]]:
        """The batches of an epoch; of several processes each gets as many, and none that another gets."""
        turn = []
        for batch in self.shuffled(np.random.default_rng([seed, epoch])):
            turn.append(batch)
            if len(turn) == of:
                yield turn[rank]
                turn = []

    def shuffled(self, rng: np.random.Generator) -> Iterator[dict[str, Tensor]]:
        if (whole := self.whole) is not None:
            order: Tensor = torch.from_numpy(rng.permutation(size_of(whole)))
            for chosen in torch.split(order, self.batch_size)[: self.count]:
                yield {name: tensor[chosen] for name, tensor in whole.items()}
        elif isinstance(self.data, Sequence):
            yield from (self.named(self.data[i]) for i in rng.permutation(len(self.data)))
        else:
            yield from map(self.named, self.data)

    def named(self, batch: Any) -> dict[str, Tensor]:
        """A batch as tensors by name; raises ``InvalidInput`` for what is none."""
        if isinstance(batch, tuple | list):
            names = (*self.inputs, LABEL)
            if not len(self.inputs) <= len(batch) <= len(names):
                what = f"a batch of {len(batch)} arrays without names, for {', '.join(names)}"
                raise InvalidInput(what, where="data", advice="give mappings of names to arrays")
            batch = dict(zip(names, batch, strict=False))
        if not isinstance(batch, Mapping):
            if len(self.inputs) != 1:
                advice = f"give mappings of {', '.join(self.inputs)}"
                raise InvalidInput(f"a lone array for {len(self.inputs)} inputs", where="data", advice=advice)
            batch = {self.inputs[0]: batch}
        if missing := [name for name in self.inputs if name not in batch]:
            raise InvalidInput(f"a batch of {', '.join(batch)} has no input {missing[0]!r}", where="data")
        return {name: as_tensor(array) for name, array in batch.items()}


def size_of(whole: Mapping[str, Tensor]) -> int:
    """How many samples the arrays have in common; ``InvalidInput`` where they disagree."""
    sizes = {name: len(t) if t.ndim else 0 for name, t in whole.items()}
    if len(set(sizes.values())) != 1:
        raise InvalidInput(f"arrays of {sizes} samples", where="data", advice="give as many of each")
    return next(iter(sizes.values()))


def as_tensor(array: Any) -> Tensor:
    return array if isinstance(array, Tensor) else torch.from_numpy(np.require(array, requirements="W"))


def fixed_batch(graph: Graph) -> int | None:
    """The size of the batches that a graph takes, where that is not free."""
    sizes = [v.type.shape[0] for v in graph.inputs if v.type.rank]
    return sizes[0] if sizes and isinstance(sizes[0], int) else None
