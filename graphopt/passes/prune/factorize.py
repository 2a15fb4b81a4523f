"""Low-rank factors in place of layers. "Quantum-inspired" tensor-network compression amounts to the same.

A linear, or a 1x1 convolution, becomes two layers by singular value decomposition. A larger convolution becomes three
by Tucker-2 (Kim et al., "Compression of Deep Convolutional Neural Networks", ICLR 2016): 1x1 down to the rank of the
inputs, the core, and 1x1 up from the rank of the outputs. The factors come from the decompositions of both unfoldings
(HOSVD).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.ir import Array, Graph, Node, Value, cast_floats, constant, rebuild
from graphopt.ops import Conv, Linear
from graphopt.passes.base import Context, Note, Pass
from graphopt.passes.contract import Masked
from graphopt.passes.prune.names import named_layers


@dataclass(frozen=True, eq=False)
class Factors:
    """Orthonormal bases [outputs, rank] and [inputs, rank] of the kept subspaces of a weight's outputs and inputs."""

    outputs: Array
    inputs: Array

    def core(self, weight: Array) -> Array:
        """The weight in these bases: [rank of outputs, rank of inputs, taps]."""
        return np.asarray(np.einsum("oct,or,cs->rst", as_taps(weight), self.outputs, self.inputs))

    def project(self, weight: Array) -> Array:
        """The projection of the weight onto the bases, in its own shape."""
        full = np.einsum("rst,or,cs->oct", self.core(weight), self.outputs, self.inputs)
        return np.asarray(full.reshape(weight.shape))


class Factorize(Pass, name="factorize", contract=Masked()):
    """Replace linear and convolution layers by low-rank factors where that saves multiply-accumulates.

    Ranks are ``rank``, or the smallest that keep ``energy``, a fraction of the sum of the squared singular values (of
    each unfolding of a convolution). The contract compares with the old graph with its weights projected.

    Declines: groups, weights that are not constant, and layers whose factors would not cost less.
    """

    tells_users = True
    energy: float = 0.95
    rank: int | None = None
    keep: tuple[str, ...] | list[str] = ()

    def __post_init__(self) -> None:
        if not 0 < self.energy <= 1:
            raise InvalidInput(f"energy {self.energy} is not in (0, 1]", where=self.name)
        if self.rank is not None and self.rank < 1:
            raise InvalidInput(f"rank {self.rank} is less than 1", where=self.name)

    def run(self, graph: Graph, context: Context) -> Graph:
        return self.factorization(graph, context).apply()

    def removals(self, graph: Graph) -> Iterator[Factorization]:
        yield self.factorization(graph, Context())

    def factorization(self, graph: Graph, context: Context) -> Factorization:
        kept = named_layers(graph, self.keep)
        chosen: dict[Node, Factors] = {}
        for node in graph.nodes:
            if not isinstance(node.op, Conv | Linear):
                continue
            found = f"kept: keep={kept[node]!r}" if node in kept else self.factors(node)
            if isinstance(found, str):
                context.notes.append(Note(self.name, graph.names[node], found, declined=True))
            else:
                chosen[node] = found
                context.notes.append(Note(self.name, graph.names[node], told(node, found)))
        return Factorization(graph, chosen)

    def factors(self, node: Node) -> Factors | str:
        """The factors of a layer, or the reason why it has none."""
        weight = node.inputs[1].constant
        if weight is None:
            return "its weight is not constant"
        if isinstance(node.op, Conv) and node.op.group > 1:
            return f"it has {node.op.group} groups"
        taps = as_taps(weight.astype(np.float64))
        outputs = self.basis(taps.reshape(taps.shape[0], -1))
        inputs = self.basis(taps.swapaxes(0, 1).reshape(taps.shape[1], -1))
        if taps.shape[2] == 1:
            inputs = np.linalg.qr(taps[:, :, 0].T @ outputs)[0]
        found = Factors(outputs, inputs)
        before, after = layer_cost(node), factor_cost(node, found)
        if after < before:
            return found
        return f"factors of ranks {ranks(found)} would cost {after:,} MACs a sample for {before:,}"

    def basis(self, matrix: Array) -> Array:
        """The left singular vectors to keep."""
        u, s, _ = np.linalg.svd(matrix, full_matrices=False)
        share = np.cumsum(s**2) / max(float((s**2).sum()), np.finfo(float).tiny)
        rank = self.rank or int(np.searchsorted(share, self.energy - 1e-12)) + 1
        return u[:, : min(rank, len(s))]


def as_taps(weight: Array) -> Array:
    """A weight as [outputs, inputs, taps]."""
    return weight.reshape(*weight.shape[:2], -1)


def ranks(factors: Factors) -> str:
    return f"{factors.outputs.shape[1]} and {factors.inputs.shape[1]}"


def told(node: Node, factors: Factors) -> str:
    weight = node.inputs[1].constant
    assert weight is not None
    data = weight.astype(np.float64)
    kept = float((factors.core(data) ** 2).sum() / max(float((data**2).sum()), np.finfo(float).tiny))
    cost = f"{layer_cost(node):,} to {factor_cost(node, factors):,} MACs a sample"
    return f"ranks {ranks(factors)} of {weight.shape[0]} and {weight.shape[1]}, {kept:.2%} of the energy, {cost}"


def layer_cost(node: Node) -> int:
    """The multiply-accumulates of a layer for one sample."""
    weight = node.inputs[1].type.static_shape
    return int(np.prod(weight)) * positions(node.results[0], node)


def factor_cost(node: Node, factors: Factors) -> int:
    """The same of its factors: down to the rank of the inputs, the core (not for matrices), up to the outputs."""
    o, c, *taps = node.inputs[1].type.static_shape
    r, s = int(factors.outputs.shape[1]), int(factors.inputs.shape[1])
    before, after = positions(node.inputs[0], node), positions(node.results[0], node)
    if math.prod(taps) == 1:
        return (c * r + r * o) * after
    return c * s * before + r * s * math.prod(taps) * after + r * o * after


def positions(value: Value, node: Node) -> int:
    """The number of positions at which a layer is applied in one sample: all axes but the channels and the batch."""
    channels = 1 if isinstance(node.op, Conv) else value.type.rank - 1
    return int(np.prod([d for a, d in enumerate(value.type.shape) if a != channels and isinstance(d, int)]))


@dataclass(frozen=True, eq=False)
class Factorization:
    """A graph and the factors of its layers."""

    graph: Graph
    factors: dict[Node, Factors]

    def apply(self) -> Graph:
        """The graph with a sequence of layers in place of each factorized layer."""
        return rebuild(self.graph, self.in_factors) if self.factors else self.graph

    def cast(self, dtype: str) -> Factorization:
        """The same factors of the graph with its float32 in ``dtype``."""
        new = cast_floats(self.graph, dtype)
        twin = dict(zip(self.graph.nodes, new.nodes, strict=True))
        return Factorization(new, {twin[node]: factors for node, factors in self.factors.items()})

    def in_factors(self, node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node not in self.factors:
            return None
        x, w, bias = inputs
        found, op, weight = self.factors[node], node.op, w.constant
        assert isinstance(op, Conv | Linear) and weight is not None
        core, ones = found.core(weight.astype(np.float64)), (1,) * (weight.ndim - 2)

        def apply(layer: Conv | Linear, x: Value, data: Array, part: str, bias: Value | None = None) -> Value:
            own = constant(data.astype(weight.dtype), name=f"{w.node.name}.{part}")
            zeros = constant(np.zeros(len(data), weight.dtype))
            name = node.name if bias is not None else f"{node.name}.{part}"
            return layer(x, own, zeros if bias is None else bias, name=name, origins=node.origins)

        plain = Conv() if isinstance(op, Conv) else op
        up = found.outputs.reshape(*found.outputs.shape, *ones)
        if core.shape[2] == 1:
            down = (core[:, :, 0] @ found.inputs.T).reshape(core.shape[0], -1, *ones)
            return [apply(plain, apply(op, x, down, "down"), up, "up", bias)]
        down = found.inputs.T.reshape(*found.inputs.T.shape, *ones)
        inner = core.reshape(*core.shape[:2], *weight.shape[2:])
        return [apply(plain, apply(op, apply(plain, x, down, "down"), inner, "core"), up, "up", bias)]

    def masked(self, seed: int | None = None) -> Graph:
        """The old graph with projected weights; with a seed, the part that the projection removes is random first."""
        rng = np.random.default_rng(seed)

        def project(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
            if node not in self.factors or (weight := inputs[1].constant) is None:
                return None
            data, factors = weight.astype(np.float64), self.factors[node]
            if seed is not None:
                noise = rng.standard_normal(data.shape)
                data = data + noise - factors.project(noise)
            new = constant(factors.project(data).astype(weight.dtype), like=inputs[1])
            return node.with_inputs((inputs[0], new, inputs[2])).results

        return rebuild(self.graph, project)
