"""Operators that pick elements by computed positions, and put them there."""

from __future__ import annotations

import math

import numpy as np

from graphopt.errors import InvalidGraph
from graphopt.ir import Array, Op, Sampler, TensorType, Trait, Value, constant, expect
from graphopt.ops.logic import Cast

__all__ = ["Gather", "GatherElements", "GatherNd", "ScatterElements", "ScatterNd", "Tile", "TopK", "TopKIndices"]

INDEX_DTYPES = ("int32", "int64")


def _indices(draw: Sampler, shape: tuple[int, ...], size: int) -> Value:
    """A constant of random positions in an axis, some of them counted from its end."""
    picked = [draw.integer(-size, size - 1) for _ in range(math.prod(shape))]
    return constant(np.asarray(picked, np.int64).reshape(shape))


def _static_axes(x: TensorType) -> list[int]:
    return [a for a, d in enumerate(x.shape) if a > 0 and isinstance(d, int) and d > 0]


def _wrapped(indices: Array, size: int) -> Array:
    """Positions counted from the start; raises ``InvalidGraph`` for one outside the axis."""
    if ((indices < -size) | (indices >= size)).any():
        raise InvalidGraph(f"an index is outside an axis of {size}")
    return np.where(indices < 0, indices + size, indices)


class Gather(Op, name="gather"):
    """x's elements at the indices along one axis; the shape of the indices replaces this axis.

    Negative indices count from the end; an index outside the axis is undefined.
    """

    traits = Trait.MOVE

    axis: int = 0

    def infer(self, *inputs: TensorType) -> TensorType:
        x, indices = inputs
        expect(
            0 <= self.axis < x.rank and indices.dtype in INDEX_DTYPES, f"gather of axis {self.axis} of {x} by {indices}"
        )
        return x.with_shape((*x.shape[: self.axis], *indices.shape, *x.shape[self.axis + 1 :]))

    def evaluate(self, *inputs: Array) -> Array:
        x, indices = inputs
        return np.asarray(np.take(x, _wrapped(indices, x.shape[self.axis]), axis=self.axis), order="C")

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if not (axes := _static_axes(x.type)):
            return None
        axis = draw.choice(axes)
        shape = draw.choice([(), (2,), (1, 3)])
        size = x.type.shape[axis]
        return cls(axis=axis)(x, _indices(draw, shape, size if isinstance(size, int) else 1))


class GatherElements(Op, name="gather_elements"):
    """y[i, j, ...] = x[i, indices[i, j, ...], ...], with the index along one axis."""

    traits = Trait.MOVE

    axis: int = 0

    def infer(self, *inputs: TensorType) -> TensorType:
        x, indices = inputs
        expect(x.rank == indices.rank and 0 <= self.axis < x.rank, f"gather_elements of {x} by {indices}")
        expect(indices.dtype in INDEX_DTYPES, f"gather_elements by {indices}")
        for axis, (a, b) in enumerate(zip(x.shape, indices.shape, strict=True)):
            fits = axis == self.axis or a == b or (isinstance(a, int) and isinstance(b, int) and b <= a)
            expect(fits, f"gather_elements of {x} by {indices}")
        return x.with_shape(indices.shape)

    def evaluate(self, *inputs: Array) -> Array:
        x, indices = inputs
        kept = tuple(slice(None) if a == self.axis else slice(0, n) for a, n in enumerate(indices.shape))
        return np.take_along_axis(x[kept], _wrapped(indices, x.shape[self.axis]), axis=self.axis)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        shape = tuple(d for d in x.type.shape if isinstance(d, int) and d)
        if len(shape) != x.type.rank or x.type.rank < 2:
            return None
        axis = draw.integer(0, len(shape) - 1)
        return cls(axis=axis)(x, _indices(draw, shape, shape[axis]))


class GatherNd(Op, name="gather_nd"):
    """Slices of x at the positions in the last axis of the indices, after ``batch_dims`` common axes."""

    traits = Trait.MOVE

    batch_dims: int = 0

    def infer(self, *inputs: TensorType) -> TensorType:
        x, indices = inputs
        expect(indices.rank > self.batch_dims and indices.dtype in INDEX_DTYPES, f"gather_nd of {x} by {indices}")
        depth = indices.shape[-1]
        if not isinstance(depth, int):
            raise InvalidGraph(f"gather_nd by {indices}")
        expect(0 < depth <= x.rank - self.batch_dims, f"gather_nd of {x} by {indices}")
        expect(x.shape[: self.batch_dims] == indices.shape[: self.batch_dims], f"gather_nd of {x} by {indices}")
        return x.with_shape((*indices.shape[:-1], *x.shape[self.batch_dims + depth :]))

    def evaluate(self, *inputs: Array) -> Array:
        x, indices = inputs
        depth, batch = indices.shape[-1], x.shape[: self.batch_dims]
        flat = x.reshape(-1, *x.shape[self.batch_dims :])
        rows = indices.reshape(flat.shape[0], -1, depth)
        picks = [_wrapped(rows[..., i], flat.shape[1 + i]) for i in range(depth)]
        y = flat[(np.arange(flat.shape[0])[:, None], *picks)]
        return np.asarray(y.reshape((*batch, *indices.shape[self.batch_dims : -1], *y.shape[2:])), order="C")

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        sizes = [d for d in x.type.shape if isinstance(d, int) and d]
        if len(sizes) != x.type.rank or not sizes:
            return None
        depth = draw.integer(1, len(sizes))
        rows = [[draw.integer(-s, s - 1) for s in sizes[:depth]] for _ in range(2)]
        return cls()(x, constant(np.asarray(rows, np.int64)))


class ScatterElements(Op, name="scatter_elements"):
    """x with updates put (or added, multiplied, ...) at indices along one axis, in row-major order of the updates."""

    axis: int = 0
    reduction: str = "none"

    def infer(self, *inputs: TensorType) -> TensorType:
        x, indices, updates = inputs
        expect(x.rank == indices.rank and indices.shape == updates.shape, f"scatter_elements of {x} by {indices}")
        expect(x.dtype == updates.dtype and indices.dtype in INDEX_DTYPES, f"scatter_elements of {updates} into {x}")
        expect(0 <= self.axis < x.rank and self.reduction in REDUCTIONS, f"scatter_elements by {self.reduction!r}")
        return x

    def evaluate(self, *inputs: Array) -> Array:
        x, indices, updates = inputs
        at: list[Array] = list(np.indices(indices.shape))
        at[self.axis] = _wrapped(indices, x.shape[self.axis])
        return _scatter(x, tuple(at), updates, self.reduction)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        shape = tuple(d for d in x.type.shape if isinstance(d, int) and d)
        if len(shape) != x.type.rank or x.type.rank < 2 or not x.type.is_float:
            return None
        axis = draw.integer(0, len(shape) - 1)
        op = cls(axis=axis, reduction=draw.choice(list(REDUCTIONS)))
        return op(x, _indices(draw, shape, shape[axis]), draw.weights(*shape))


class ScatterNd(Op, name="scatter_nd"):
    """x with slices put (or added, multiplied, ...) at the positions in the last axis of the indices."""

    reduction: str = "none"

    def infer(self, *inputs: TensorType) -> TensorType:
        x, indices, updates = inputs
        depth = indices.shape[-1]
        if not isinstance(depth, int):
            raise InvalidGraph(f"scatter_nd by {indices}")
        expect(0 < depth <= x.rank, f"scatter_nd of {x} by {indices}")
        wanted = (*indices.shape[:-1], *x.shape[depth:])
        expect(updates == x.with_shape(wanted) and indices.dtype in INDEX_DTYPES, f"scatter_nd of {updates} into {x}")
        expect(self.reduction in REDUCTIONS, f"scatter_nd by {self.reduction!r}")
        return x

    def evaluate(self, *inputs: Array) -> Array:
        x, indices, updates = inputs
        at = tuple(_wrapped(indices[..., i], x.shape[i]) for i in range(indices.shape[-1]))
        return _scatter(x, at, updates, self.reduction)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        sizes = [d for d in x.type.shape if isinstance(d, int) and d]
        if len(sizes) != x.type.rank or not sizes or not x.type.is_float:
            return None
        depth = draw.integer(1, len(sizes))
        rows = [[draw.integer(-s, s - 1) for s in sizes[:depth]] for _ in range(2)]
        op = cls(reduction=draw.choice(list(REDUCTIONS)))
        return op(x, constant(np.asarray(rows, np.int64)), draw.weights(2, *sizes[depth:]))


REDUCTIONS = {"none": None, "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def _scatter(x: Array, at: tuple[Array, ...], updates: Array, reduction: str) -> Array:
    y = x.copy()
    function = REDUCTIONS[reduction]
    if function is None:
        y[at] = updates
    else:
        function.at(y, at, updates)
    return y


class Tile(Op, name="tile"):
    """x repeated along every axis."""

    traits = Trait.MOVE

    repeats: tuple[int, ...]

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        expect(len(self.repeats) == x.rank and min(self.repeats, default=1) > 0, f"tile of {x} by {self.repeats}")
        return x.with_shape(d * r for d, r in zip(x.shape, self.repeats, strict=True))

    def evaluate(self, *inputs: Array) -> Array:
        return np.tile(inputs[0], self.repeats)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        repeats = tuple(draw.integer(1, 2) if a else 1 for a in range(x.type.rank))
        return cls(repeats=repeats)(x) if x.type.rank else None


class TopKIndices(Op, name="top_k_indices"):
    """The int64 positions of the k largest (or smallest) elements along an axis, in order; ties by lower position."""

    k: int
    axis: int = -1
    largest: bool = True

    def infer(self, *inputs: TensorType) -> TensorType | tuple[TensorType, ...]:
        (x,) = inputs
        expect(-x.rank <= self.axis < x.rank, f"{self.name} along {self.axis} of {x}")
        axis = self.axis % x.rank
        size = x.shape[axis]
        if not isinstance(size, int):
            raise InvalidGraph(f"{self.name} along the batch axis of {x}")
        expect(0 < self.k <= size, f"the {self.k} first along {self.axis} of {x}")
        return TensorType("int64", (*x.shape[:axis], self.k, *x.shape[axis + 1 :]))

    def evaluate(self, *inputs: Array) -> Array | tuple[Array, ...]:
        (x,) = inputs
        order = np.argsort(x, axis=self.axis, kind="stable")
        if self.largest:
            # the stable order of the flipped axis, read backwards, keeps the lower position first among equals
            size = x.shape[self.axis]
            order = np.flip(size - 1 - np.argsort(np.flip(x, self.axis), axis=self.axis, kind="stable"), self.axis)
        return np.asarray(np.take(order, range(self.k), axis=self.axis).astype(np.int64), order="C")

    @classmethod
    def drawn(cls, draw: Sampler, x: Value) -> Op | None:
        """This operator with drawn attributes that fit ``x``."""
        if not (axes := _static_axes(x.type)) or not x.type.is_float:
            return None
        axis = draw.choice(axes)
        size = x.type.shape[axis]
        k = draw.integer(1, size if isinstance(size, int) else 1)
        return cls(k=k, axis=axis, largest=draw.choice([True, False]))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        op = cls.drawn(draw, x)
        return None if op is None else Cast(to=x.type.dtype)(op(x))


class TopK(TopKIndices, name="top_k"):
    """The k largest (or smallest) elements along an axis, in order, and their positions; ties by lower position."""

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        indices = super().infer(*inputs)
        assert isinstance(indices, TensorType)
        return indices.with_dtype(inputs[0].dtype), indices

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        indices = np.asarray(super().evaluate(*inputs))
        return np.take_along_axis(inputs[0], indices, axis=self.axis), indices

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        (x,) = inputs
        indices = TopKIndices(k=self.k, axis=self.axis, largest=self.largest)(x)
        return GatherElements(axis=self.axis % x.type.rank)(x, indices), indices

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        op = cls.drawn(draw, x)
        return None if op is None else op.apply(x).results[0]
