"""Data that passes run a graph on: for calibration, for scores, for measurements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.ir import Array, Graph

Batch = Mapping[str, Array] | Array
Data = Iterable[Batch] | Batch
"""Batches, read as often as needed: each is a mapping from input names to arrays, or one array for a single input.
Or one such mapping or array with all samples."""

CHUNK = 32
"""The samples of a batch if the batch of the graph is symbolic."""


def batches(data: Data, graph: Graph) -> Iterator[dict[str, Array]]:
    """Every batch as a mapping by input name. A single array or mapping holds all samples, and is cut into batches.

    Raises ``InvalidInput`` for a generator, which can be read only once, and if there is no data.
    """
    names = [graph.names[v.node] for v in graph.inputs]
    parts: Iterable[Batch]
    parts = cut(by_name(data, names), graph) if isinstance(data, np.ndarray | Mapping) else data
    if iter(parts) is parts:
        raise InvalidInput("the data can be read but once", advice="give a list, or what can be iterated anew")
    empty = True
    for batch in parts:
        empty = False
        yield by_name(batch, names)
    if empty:
        raise InvalidInput("there is no data, or not enough for one batch")


def batch_count(data: Data, graph: Graph) -> int | None:
    """The number of batches, or None if it is not known before they are read."""
    if isinstance(data, np.ndarray | Mapping):
        return len(cut(by_name(data, [graph.names[v.node] for v in graph.inputs]), graph))
    return len(data) if isinstance(data, Sized) else None


def inputs_of(graph: Graph, batch: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays of a batch that the graph reads; a batch may have others, such as labels."""
    names = {graph.names[v.node] for v in graph.inputs}
    return {name: array for name, array in batch.items() if name in names}


def by_name(batch: Batch, names: list[str]) -> dict[str, Array]:
    if isinstance(batch, Mapping):
        return dict(batch)
    if len(names) != 1:
        raise InvalidInput(f"a lone array for {len(names)} inputs", advice=f"give a mapping of {', '.join(names)}")
    return {names[0]: np.asarray(batch)}


def cut(samples: Mapping[str, Array], graph: Graph) -> list[dict[str, Array]]:
    """Arrays of all samples as batches of the graph's batch size, or of ``CHUNK`` if that is symbolic."""
    sizes = [v.type.shape[0] for v in graph.inputs if v.type.rank]
    own = sizes[0] if sizes and isinstance(sizes[0], int) else None
    total = min((len(a) for a in samples.values() if np.ndim(a)), default=0)
    starts = range(0, total - total % own, own) if own else range(0, total, CHUNK)
    return [{name: a[i : i + (own or CHUNK)] for name, a in samples.items()} for i in starts]
