"""Criteria that need no gradients: magnitude, geometric median, scales of norms, activations, chance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.ir import Array, Graph, Op, Value
from graphopt.ops import BatchNorm, Conv, ConvTranspose, Dequantize, Linear, MatMul, Recurrent
from graphopt.passes.data import Data, batches, inputs_of
from graphopt.passes.prune.importance import Importance, ScoreFunction, Scores
from graphopt.passes.prune.maps import relate

WEIGHTS: dict[type[Op], dict[int, int]] = {
    Conv: {1: 0},
    ConvTranspose: {1: 1},
    Linear: {1: 0},
    MatMul: {1: -1},
    Recurrent: {1: 1, 2: 1},
}
"""By operator, the operands that are weights, and the axis of the output channels in each."""


def layer_weights(graph: Graph) -> Iterator[tuple[Value, int]]:
    """The weights of layers, constant or dequantized constants, each once, with the axis of the output channels."""
    seen = set()
    for node in graph.nodes:
        for op, places in WEIGHTS.items():
            for position, axis in places.items() if isinstance(node.op, op) else ():
                weight = node.inputs[position]
                if is_fixed(weight) and weight not in seen:
                    seen.add(weight)
                    yield weight, axis % weight.type.rank


def is_fixed(value: Value) -> bool:
    """Whether a value is a constant, or one that is dequantized."""
    parts = value.node.inputs if isinstance(value.op, Dequantize) else (value,)
    return all(v.constant is not None for v in parts)


def elements(weight: Value) -> Array:
    """The numbers of a value that is fixed."""
    if isinstance(weight.op, Dequantize):
        parts = [v.constant for v in weight.node.inputs]
        return np.asarray(weight.op.evaluate(*(p for p in parts if p is not None)), np.float64)
    assert weight.constant is not None
    return weight.constant.astype(np.float64)


@dataclass(frozen=True)
class Magnitude:
    """|w|^p of the weights of layers (Li et al., ICLR 2017, for p = 1)."""

    p: float = 2

    def scores(self, graph: Graph) -> Scores:
        return {w: np.abs(elements(w)) ** self.p for w, _ in layer_weights(graph)}


@dataclass(frozen=True)
class GeometricMedian:
    """The distance of a filter to all others of its layer; one near their median adds little (He et al., CVPR 2019)."""

    def scores(self, graph: Graph) -> Scores:
        found: dict[Value, Array] = {}
        for weight, axis in layer_weights(graph):
            filters = np.moveaxis(elements(weight), axis, 0).reshape(weight.type.static_shape[axis], -1)
            squares = (filters**2).sum(1)
            distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * filters @ filters.T, 0)).sum(1)
            found[weight] = along(distances, axis, weight.type.rank)
        return found


@dataclass(frozen=True)
class BatchNormScale:
    """|scale| of batch norms (Liu et al., ICCV 2017). Channels without a batch norm after them get no score."""

    def scores(self, graph: Graph) -> Scores:
        scales = [n.inputs[1] for n in graph.nodes if isinstance(n.op, BatchNorm)]
        return {s: np.abs(elements(s)) for s in scales if s.constant is not None}


@dataclass(frozen=True)
class Random:
    """A random number in [0, 1) for every filter, from a seed: the baseline for other criteria."""

    seed: int = 0

    def scores(self, graph: Graph) -> Scores:
        rng = np.random.default_rng(self.seed)
        weights = layer_weights(graph)
        return {w: along(rng.random(w.type.static_shape[axis]), axis, w.type.rank) for w, axis in weights}


@dataclass(frozen=True, eq=False)
class Activation:
    """The mean of |a| over data, for the channels that the sums of a graph read, so after the activations."""

    data: Data

    def scores(self, graph: Graph) -> Scores:
        read = {c.node.inputs[c.position]: c.axis for c in relate(graph).contractions}
        read = {v: axis for v, axis in read.items() if v.constant is None}
        if not read:
            return {}
        wide = replace(graph, outputs=tuple(read), output_names=())
        means = []
        for sample in batches(self.data, graph):
            values = zip(wide(**inputs_of(graph, sample)), read.values(), strict=True)
            means.append([channel_means(y, axis) for y, axis in values])
        columns = zip(read.items(), zip(*means, strict=True), strict=True)
        return {v: along(np.mean(column, axis=0), axis, v.type.rank) for (v, axis), column in columns}


def channel_means(y: Array, axis: int) -> Array:
    """The mean of |y| for each index of an axis."""
    return np.asarray(np.abs(y.astype(np.float64)).mean(axis=tuple(a for a in range(y.ndim) if a != axis)))


def along(numbers: Array, axis: int, rank: int) -> Array:
    """Numbers reshaped to lie along one axis of an array of that rank; the other axes have size one."""
    return numbers.reshape([-1 if a == axis else 1 for a in range(rank)])


CRITERIA: dict[str, Callable[..., Importance]] = {
    "magnitude": Magnitude,
    "geometric-median": GeometricMedian,
    "batch-norm-scale": BatchNormScale,
    "random": Random,
}
"""The criteria that have names: those that need only the graph."""


def find_scores(importance: str | Importance | ScoreFunction, graph: Graph) -> Scores:
    """The scores by a criterion, given itself or by name. Raises ``InvalidInput`` for scores of the wrong shape."""
    if isinstance(importance, str):
        if importance not in CRITERIA:
            advice = f"one of {', '.join(CRITERIA)}; others are given as objects, in Python"
            raise InvalidInput(f"no criterion is called {importance!r}", where="importance", advice=advice)
        importance = CRITERIA[importance]()
    scores = importance.scores(graph) if isinstance(importance, Importance) else importance(graph)
    for value, array in scores.items():
        shape = value.type.shape
        fits = array.ndim == len(shape) and all(a in (1, d) for a, d in zip(array.shape, shape, strict=True))
        if not fits or not np.isfinite(array).all():
            what = f"scores of shape {array.shape} for {value!r}"
            raise InvalidInput(what, where="importance", why="they must be finite, and 1 or all of each axis")
    return scores
