"""The masked graph, the oracle of pruning: the old graph in full size, whose sums read zeros for removed elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from graphopt.ir import Array, Graph, Node, Value, constant, rebuild
from graphopt.ops import Where
from graphopt.passes.prune.relations import ChannelAxis, Relations

Marks = Callable[[ChannelAxis], Array]
"""Which indices of an axis are removed."""


def masked_graph(relations: Relations, marks: Marks, seed: int | None) -> Graph:
    """The graph with zeros before every sum, for the removed indices of its axes.

    With a seed, every removed weight becomes random; then the outputs show whether anything still reads it.
    """
    rng = np.random.default_rng(seed)
    axes: dict[tuple[Node, int], list[int]] = {}
    for c in relations.contractions:
        axes.setdefault((c.node, c.position), []).append(c.axis)

    def transform(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if seed is not None and node.results[0].constant is not None:
            return [drawn_anew(node.results[0], marks, rng)]
        read = list(inputs)
        for position, old in enumerate(node.inputs):
            for axis in axes.get((node, position), ()):
                gone = marks(ChannelAxis(old, axis))
                read[position] = zeroed(read[position], axis, gone) if gone.any() else read[position]
        return node.with_inputs(read).results

    return rebuild(relations.graph, transform)


def zeroed(x: Value, axis: int, gone: Array) -> Value:
    """x with zeros at some indices of an axis, whatever the elements are."""
    shape = [1] * x.type.rank
    shape[axis] = len(gone)
    return Where()(constant(~gone.reshape(shape)), x, constant(np.zeros((), x.type.dtype)))


def drawn_anew(weight: Value, marks: Marks, rng: np.random.Generator) -> Value:
    """A constant with random positive numbers of order one in its removed elements."""
    data = weight.constant
    assert data is not None
    if not weight.type.is_float:
        return weight
    gone = np.zeros(data.shape, bool)
    for axis in range(data.ndim):
        gone |= marks(ChannelAxis(weight, axis)).reshape(-1, *[1] * (data.ndim - 1 - axis))
    new = np.where(gone, rng.uniform(1, 3, data.shape), data).astype(data.dtype)
    return constant(new, like=weight) if gone.any() else weight
