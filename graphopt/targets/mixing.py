"""Axes of which each element becomes a sum of a few others, as in bilinear resizing, as an operator of their own.

In graphs they are products with matrices that are nearly all zeros, or gathers that are weighted and added. As one
operator they are neither: the elements are read where they are, in any layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from graphopt.ir import Array, Constant, Graph, Input, Node, Op, TensorType, Value, arg, constant, rebuild
from graphopt.ops import Add, Fused, Gather, Linear, LinearInteger, Mul, Slice, Transpose
from graphopt.targets.absorb import as_fused

MOST_TAPS = 4
"""Elements in a sum."""
LEAST_SAVED = 4
"""Times the multiplications that a matrix has, to be taken apart."""

Places = tuple[tuple[int, ...], ...]
"""For each element of an axis those that it sums."""


class MixAxis(Op):
    """y[..., i, ...] = sum over k of (x[..., places[i][k], ...] - zero_point) * weights[i, k], along one axis.

    Operands are x and weights [elements, taps]; the sums are in ``to``. It stands in graphs that are lowered for LLVM,
    and has therefore no name of its own in the text form.
    """

    name: ClassVar[str] = "mix_axis"

    axis: int
    places: Places
    to: str
    zero_point: int = 0

    def infer(self, *inputs: TensorType) -> TensorType:
        shape = inputs[0].shape
        mixed = inputs[0].with_shape((*shape[: self.axis], len(self.places), *shape[self.axis + 1 :]))
        return mixed.with_dtype(self.to)

    def evaluate(self, *inputs: Array) -> Array:
        x, weights = inputs[0].astype(self.to) - np.asarray(self.zero_point, self.to), inputs[1].astype(self.to)
        apart = (1,) * (x.ndim - 1 - self.axis)
        taps = range(weights.shape[1])
        picked = (np.take(x, [row[k] for row in self.places], self.axis) for k in taps)
        terms = [one * weights[:, k].reshape(-1, *apart) for k, one in zip(taps, picked, strict=True)]
        return np.asarray(sum(terms[1:], start=terms[0]))


@dataclass(frozen=True)
class Mixture:
    """A value as a sum of elements of another one along an axis, each times a weight."""

    source: Value
    axis: int
    places: tuple[Sequence[int], ...]
    weights: tuple[Array, ...]

    def scaled(self, factor: Array, rank: int) -> Mixture | None:
        """With all weights times a factor, which is one number or has those of the axis."""
        shape = (*(1,) * (rank - factor.ndim), *factor.shape)
        if any(size > 1 for axis, size in enumerate(shape) if axis != self.axis):
            return None
        return replace(self, weights=tuple(w * factor.reshape(-1) for w in self.weights))

    def plus(self, other: Mixture) -> Mixture | None:
        if self.source is not other.source or self.axis != other.axis:
            return None
        return replace(self, places=self.places + other.places, weights=self.weights + other.weights)

    @property
    def operands(self) -> tuple[Value, Value]:
        return self.source, constant(np.stack(self.weights, axis=1))

    @property
    def op(self) -> MixAxis:
        return MixAxis(axis=self.axis, places=tuple(zip(*self.places, strict=True)), to=self.source.type.dtype)


def mix_axes(graph: Graph) -> Graph:
    """The graph with one operator for what mixes elements along an axis."""

    def mix(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if isinstance(node.op, Transpose):
            return between_swaps(graph, node, inputs[0].node)
        if not isinstance(node.op, Add | Fused | Linear | LinearInteger):
            return None
        new = node.with_inputs(inputs)
        if isinstance(node.op, Add | Fused) and (summed := of_sums(new)):
            return summed
        axis = node.types[0].rank - 1
        return None if swapped_behind(graph, node) else of_matrix(new, inputs[0], axis)

    return rebuild(graph, mix)


def swapped_behind(graph: Graph, node: Node) -> bool:
    """Whether a node stands between equal exchanges of an axis with the last one, and nothing else reads it."""
    readers = graph.uses[node.results[0]]
    if len(readers) != 1 or graph.use_count(node.results[0]) != 1:
        return False
    before, behind = node.inputs[0].op if node.inputs else None, readers[0].op
    return isinstance(before, Transpose) and before == behind and swapped_axis(before.perm) is not None


def swapped_axis(perm: Sequence[int]) -> int | None:
    """The axis that is exchanged with the last one, if that is all."""
    axis = perm[-1]
    swap = [*range(len(perm))]
    swap[axis], swap[-1] = swap[-1], swap[axis]
    return axis if swap == list(perm) else None


def between_swaps(graph: Graph, behind: Node, product: Node) -> Sequence[Value] | None:
    """A matrix along an axis that is the last one between two transposes."""
    (old,) = behind.inputs
    if not swapped_behind(graph, old.node) or not isinstance(product.inputs[0].op, Transpose):
        return None  # the first of them may have become a sum itself
    assert isinstance(behind.op, Transpose)
    axis = swapped_axis(behind.op.perm)
    assert axis is not None
    return of_matrix(product, product.inputs[0].node.inputs[0], axis, behind)


def of_matrix(product: Node, source: Value, axis: int, behind: Node | None = None) -> Sequence[Value] | None:
    """A product with a matrix of few weights in a row, as sums of elements of a source along an axis."""
    body, given = as_fused(product).body, product.inputs
    first = next(n for n in body.nodes if not isinstance(n.op, Input | Constant))
    if not isinstance(first.op, Linear | LinearInteger):
        return None
    outer = dict(zip(body.inputs, given, strict=True))
    x, w, b = (outer.get(v, v) for v in first.inputs)
    weight, bias = w.constant, b.constant
    if x is not given[0] or weight is None or bias is None or bias.any() or x.type.dtype == "int16":
        return None
    taken = few_weights(weight)
    rest = [v for v in given if v not in (x, w, b)]
    moved = [along(v, axis, x.type.rank) for v in rest]
    if taken is None or len(given) != len({x, w, b}) + len(rest) or None in moved:
        return None
    zero_point = first.op.zero_point if isinstance(first.op, LinearInteger) else 0
    op = MixAxis(axis=axis, places=taken[0], to=first.types[0].dtype, zero_point=zero_point)
    others = {old: new for old, new in zip(rest, moved, strict=True) if new is not None}
    replaced = {inner: others[v] for inner, v in outer.items() if v in others}
    return fused(op, (source, constant(taken[1])), body, first.results[0], replaced, behind or product)


def few_weights(weight: Array) -> tuple[Places, Array] | None:
    """The places and values of the weights that are not zero, as many in each row; None if there are many."""
    taps = max(1, int((weight != 0).sum(axis=1).max()))
    if taps > MOST_TAPS or LEAST_SAVED * taps > weight.shape[1]:
        return None
    places = np.sort(np.argsort(weight == 0, axis=1, kind="stable")[:, :taps], axis=1)
    return tuple(map(tuple, places.tolist())), np.take_along_axis(weight, places, axis=1)


def along(value: Value, axis: int, rank: int) -> Value | None:
    """A constant that broadcasts to a product, or has one element for each of its columns, along another axis."""
    data = value.constant
    if data is None or data.size != (data.shape[-1] if data.ndim else 1):
        return None
    return value if data.size == 1 else constant(data.reshape(-1, *(1,) * (rank - 1 - axis)), like=value)


def fused(
    op: MixAxis, operands: tuple[Value, Value], body: Graph, head: Value, outer: Mapping[Value, Value], like: Node
) -> Sequence[Value]:
    """An operator in the place of a value of a body, and what that still computes of it."""
    parameters = {v: arg(f"x{i}", v.type.dtype, v.type.shape) for i, v in enumerate((*operands, *outer.values()))}
    new = {inner: parameters[v] for inner, v in outer.items()}
    new[head] = op(*(parameters[v] for v in operands), name=head.node.name, origins=head.node.origins)

    def built(value: Value) -> Value:
        if value not in new:
            made = value.node.with_inputs([built(v) for v in value.node.inputs])
            new.update(zip(value.node.results, made.results, strict=True))
        return new[value]

    result = built(body.outputs[0])
    read = {v for node in Graph((), (result,)).nodes for v in node.inputs}
    kept = {v: p for v, p in parameters.items() if p in read}
    whole = Fused(body=Graph(tuple(kept.values()), (result,), name="body"))
    return (whole(*kept, name=like.name, origins=like.origins),)


def of_sums(node: Node) -> Sequence[Value] | None:
    """Elements that are picked, weighted and added, as the last such sum in a node."""
    body = as_fused(node).body
    outer = dict(zip(body.inputs, node.inputs, strict=True))
    for inner in reversed(body.nodes):
        found = mixture(inner.results[0], outer) if isinstance(inner.op, Add) else None
        if found is not None and 1 < len(found.places) <= MOST_TAPS:
            return fused(found.op, found.operands, body, inner.results[0], outer, node)
    return None


def mixture(value: Value, outer: Mapping[Value, Value]) -> Mixture | None:
    """A value as a mixture, if it is one; ``outer`` has what the inputs of a body stand for."""
    value = outer.get(value, value)
    given = [outer.get(v, v) for v in value.node.inputs]
    match value.op:
        case Fused(body=body):
            return mixture(body.outputs[0], dict(zip(body.inputs, given, strict=True)))
        case Gather(axis=axis) if given[0].constant is None and (places := given[1].constant) is not None:
            size = given[0].type.static_shape[axis]
            return picked(given[0], axis, [int(i) % size for i in places.reshape(-1)]) if places.ndim == 1 else None
        case Slice(axis=axis, start=start, stop=stop, step=step) if given[0].constant is None:
            return picked(given[0], axis, range(start, stop, step))
        case Mul():
            terms = [(mixture(a, outer), b.constant) for a, b in (given, given[::-1])]
            return next((m.scaled(data, value.type.rank) for m, data in terms if m and data is not None), None)
        case Add():
            a, b = (mixture(v, outer) for v in given)
            return a.plus(b) if a and b else None
        case _:
            return None


def picked(source: Value, axis: int, places: Sequence[int]) -> Mixture | None:
    """Elements as they are."""
    return (
        Mixture(source, axis, (places,), (np.ones(len(places), source.type.dtype),)) if source.type.is_float else None
    )
