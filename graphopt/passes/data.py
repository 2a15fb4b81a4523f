"""Data that passes run a graph on: for calibration, for scores, for measurements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.ir import Array, Graph

Batch = Mapping[str, Array] | Array
Data = Iterable[Batch]
"""Batches, each a mapping from input name to array, or a lone array for one input; read as often as it takes."""


def batches(data: Data, graph: Graph) -> Iterator[dict[str, Array]]:
    """Every batch as a mapping by input name. A lone array or mapping is one batch.

    Raises ``InvalidInput`` for a generator, which can be read but once, and for no data at all.
    """
    whole = [data] if isinstance(data, np.ndarray | Mapping) else data
    if iter(whole) is whole:
        raise InvalidInput(
            "the data can be read only once", advice="give a list, or an object that can be iterated anew"
        )
    names = [graph.names[v.node] for v in graph.inputs]
    count = 0
    for count, batch in enumerate(whole, 1):  # noqa: B007
        if isinstance(batch, Mapping):
            yield dict(batch)
        elif len(names) == 1:
            yield {names[0]: np.asarray(batch)}
        else:
            raise InvalidInput(f"a lone array for {len(names)} inputs", advice=f"give a mapping of {', '.join(names)}")
    if not count:
        raise InvalidInput("there is no data")
