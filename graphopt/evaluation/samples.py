"""Labelled data: counted, some of it chosen, cut into batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.ir import Array
from graphopt.passes.data import Batch as Given
from graphopt.passes.data import Data, by_name

Prepare = Callable[[dict[str, Array]], dict[str, Array]]
"""Makes of the inputs of a batch what the model takes."""
MAX_BYTES = 64 << 20
"""Of the inputs of a batch that is cut from all samples."""


@dataclass(frozen=True)
class Part:
    """Consecutive samples: inputs by name, labels if there are any, and how many there are of these."""

    inputs: dict[str, Array]
    labels: Array | None
    count: int

    @property
    def windows(self) -> int:
        """The samples of a label."""
        return len(next(iter(self.inputs.values()))) // self.count

    def at(self, places: Array) -> Part:
        """The samples of some labels."""
        rows = (places[:, None] * self.windows + np.arange(self.windows)).ravel()
        labels = None if self.labels is None else self.labels[places]
        return Part({name: data[rows] for name, data in self.inputs.items()}, labels, len(places))


@dataclass(frozen=True)
class Labelled:
    """Data as passes take it, and its labels: an array, or the name of one in the data."""

    data: Data
    labels: Array | str | None
    names: Sequence[str]

    def parts(self) -> Iterator[Part]:
        """All of it, as it is given. Raises ``InvalidInput`` for what cannot be read, or be counted."""
        if isinstance(self.data, np.ndarray | Mapping):
            yield self.part(self.data, self.labels)
            return
        if self.labels is not None and not isinstance(self.labels, str):
            raise InvalidInput("labels apart from batches", advice="give them in every batch, under a name: labels='y'")
        if isinstance(self.data, str) or not isinstance(self.data, Iterable):
            advice = "give arrays, such as numpy.load(file) has, or batches of them"
            raise InvalidInput(f"a {type(self.data).__name__} is no data", where="data", advice=advice)
        if iter(self.data) is self.data:
            raise InvalidInput("the data can be read but once", advice="give a list, or what can be iterated anew")
        for batch in self.data:
            yield self.part(batch, self.labels)

    def part(self, batch: Given, labels: Array | str | None) -> Part:
        given = {name: np.asarray(data) for name, data in by_name(batch, list(self.names)).items()}
        if isinstance(labels, str):
            if labels not in given:
                raise InvalidInput(f"the data has no {labels!r}", where="labels", why=f"it has {', '.join(given)}")
            labels = given[labels]
        labels = None if labels is None else np.asarray(labels)
        if missing := [name for name in self.names if name not in given]:
            what = f"nothing for {', '.join(missing)}"
            raise InvalidInput(what, where="data", why=f"it has {', '.join(given) or 'nothing'}")
        inputs = {name: given[name] for name in self.names}
        counts = {len(data) if data.ndim else 0 for data in inputs.values()}
        if len(counts) != 1 or 0 in counts:
            shapes = ", ".join(f"{name} {list(data.shape)}" for name, data in inputs.items())
            advice = "an input that is the same for all samples can be frozen: load(..., constants=...), --constant"
            what = "the first axis must count samples, alike for all inputs"
            raise InvalidInput(what, where="data", why=shapes, advice=advice)
        return Part(inputs, labels, self.counted(counts.pop(), labels))

    def counted(self, samples: int, labels: Array | None) -> int:
        """How many labels there are, or samples without them; of a label may be several samples."""
        if labels is None:
            return samples
        if not labels.ndim or not len(labels) or samples % len(labels):
            what = f"labels of the shape {list(labels.shape)} for {samples} samples"
            raise InvalidInput(what, where="labels", advice="a label for each sample is needed")
        return len(labels)


def chosen_places(total: int, wanted: int | None) -> Array:
    """So many places, spread evenly over all; all of them without a number.

    One is drawn from each of as many equal stretches, always the same: a fixed stride would fall in step with classes
    that take turns.
    """
    if wanted is not None and (not isinstance(wanted, int) or wanted < 1):
        raise InvalidInput(f"{wanted} samples", where="samples", advice="a whole number from 1 is needed")
    if wanted is None or wanted >= total:
        return np.arange(total)
    bounds = np.arange(wanted + 1) * total // wanted
    return bounds[:-1] + (np.random.default_rng(0).random(wanted) * np.diff(bounds)).astype(np.int64)


def batches_of(data: Labelled, chosen: Array, step: int, chunk: int) -> Iterator[tuple[Part, Array]]:
    """The chosen samples in batches, with their places among all.

    Each has a multiple of ``step`` samples, and about ``chunk`` of them; what does not fill the last one of a part is
    left out.
    """
    start = 0
    for part in data.parts():
        own = chosen[(chosen >= start) & (chosen < start + part.count)] - start
        row_bytes = sum(x[:1].nbytes for x in part.inputs.values())
        unit = step // np.gcd(step, part.windows)
        most = min(chunk, MAX_BYTES // max(1, row_bytes)) // part.windows
        size = int(max(1, most // unit) * unit)
        whole = len(own) - len(own) % unit
        for at in range(0, whole, size):
            places = own[at : min(at + size, whole)]
            yield part.at(places), places + start
        start += part.count
