"""Operators that move elements without computing on them."""

from __future__ import annotations

import numpy as np

from graphopt.errors import InvalidGraph
from graphopt.ir import Array, Dim, Op, Sampler, Shape, TensorType, Trait, Value, expect, numel
from graphopt.ops.elementwise import broadcast

__all__ = ["Concat", "Expand", "Pad", "Reshape", "Resize", "Slice", "Split", "Transpose"]


class Reshape(Op, name="reshape"):
    """The same elements in row-major order with another shape. No -1 and no 0: frontends resolve them."""

    traits = Trait.MOVE | Trait.PER_SAMPLE

    shape: Shape

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        expect(numel(x.shape) == numel(self.shape), f"{x} cannot be reshaped to {self.shape}")
        return x.with_shape(self.shape)

    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(inputs[0], order="C").reshape(TensorType("bool", self.shape).static_shape)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if x.type.rank < 2:
            return None
        at = draw.integer(1, x.type.rank - 1)
        tail = numel(x.type.shape[at:])
        options: list[tuple[Dim, ...]] = [(tail,), (tail, 1), (1, tail)]
        if isinstance(tail, int):
            options += [(f, tail // f) for f in (2, 3) if tail and tail % f == 0]
        return cls(shape=(*x.type.shape[:at], *draw.choice(options)))(x)


class Transpose(Op, name="transpose"):
    """Axes permuted: axis i of the result is axis perm[i] of x."""

    traits = Trait.MOVE

    perm: tuple[int, ...]

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        expect(sorted(self.perm) == list(range(x.rank)), f"perm {self.perm} of {x}")
        return x.with_shape(x.shape[p] for p in self.perm)

    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(inputs[0].transpose(self.perm), order="C")

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        rest = list(range(1, x.type.rank))
        perm = [rest.pop(draw.integer(0, len(rest) - 1)) for _ in range(len(rest))]
        return cls(perm=(0, *perm))(x) if x.type.rank > 1 else None


class Concat(Op, name="concat"):
    """The operands, one after the other along an axis."""

    traits = Trait.MOVE

    axis: int

    def infer(self, *inputs: TensorType) -> TensorType:
        first = inputs[0]
        expect(0 <= self.axis < first.rank, f"concat along {self.axis} of {first}")
        total: Dim = first.shape[self.axis]
        for other in inputs[1:]:
            expect(other.dtype == first.dtype and other.rank == first.rank, f"concat of {first} and {other}")
            for axis, (a, b) in enumerate(zip(first.shape, other.shape, strict=True)):
                expect(axis == self.axis or a == b, f"concat along {self.axis} of {first} and {other}")
            total = total + other.shape[self.axis]
        return first.with_shape((*first.shape[: self.axis], total, *first.shape[self.axis + 1 :]))

    def evaluate(self, *inputs: Array) -> Array:
        return np.concatenate(inputs, axis=self.axis)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if x.type.rank < 2:
            return None
        axis = draw.integer(1, x.type.rank - 1)
        width = draw.choice([x.type.shape[axis], draw.integer(1, 3)])
        other = draw.value(x.type.with_shape((*x.type.shape[:axis], width, *x.type.shape[axis + 1 :])))
        return cls(axis=axis)(*draw.choice([(x, other), (other, x), (x, other, x), (x, x)]))


class Slice(Op, name="slice"):
    """x[start:stop:step] along one axis; 0 <= start < stop <= size and step > 0: frontends resolve other forms."""

    traits = Trait.MOVE

    axis: int
    start: int
    stop: int
    step: int = 1

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        expect(0 <= self.axis < x.rank and self.step > 0, f"slice of axis {self.axis} of {x} by {self.step}")
        size = x.shape[self.axis]
        if not isinstance(size, int):
            raise InvalidGraph(f"slice along the batch axis of {x}")
        expect(0 <= self.start < self.stop <= size, f"slice {self.start}:{self.stop} of {size} elements")
        length = -(-(self.stop - self.start) // self.step)
        return x.with_shape((*x.shape[: self.axis], length, *x.shape[self.axis + 1 :]))

    def evaluate(self, *inputs: Array) -> Array:
        at = (slice(None),) * self.axis + (slice(self.start, self.stop, self.step),)
        return np.asarray(inputs[0][at], order="C")

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        axes = [a for a, d in enumerate(x.type.shape) if isinstance(d, int) and d > 0 and a > 0]
        if not axes:
            return None
        axis = draw.choice(axes)
        size = x.type.with_shape(x.type.shape[1:]).static_shape[axis - 1]
        start = draw.integer(0, size - 1)
        return cls(axis=axis, start=start, stop=draw.integer(start + 1, size), step=draw.integer(1, 2))(x)


class Split(Op, name="split"):
    """Consecutive parts of the given sizes along an axis; one result for each part."""

    traits = Trait.MOVE

    axis: int
    sizes: tuple[int, ...]

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        (x,) = inputs
        expect(0 <= self.axis < x.rank and min(self.sizes, default=0) > 0, f"split of {x} into {self.sizes}")
        expect(sum(self.sizes) == x.shape[self.axis], f"split of {x} into {self.sizes}")
        before, after = x.shape[: self.axis], x.shape[self.axis + 1 :]
        return tuple(x.with_shape((*before, size, *after)) for size in self.sizes)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        return tuple(map(np.ascontiguousarray, np.split(inputs[0], np.cumsum(self.sizes)[:-1], axis=self.axis)))

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        stops = np.cumsum(self.sizes).tolist()
        starts = [0, *stops[:-1]]
        return tuple(Slice(axis=self.axis, start=a, stop=b)(*inputs) for a, b in zip(starts, stops, strict=True))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        axes = [a for a, d in enumerate(x.type.shape) if isinstance(d, int) and d > 1 and a > 0]
        if not axes:
            return None
        axis = draw.choice(axes)
        size = x.type.with_shape(x.type.shape[1:]).static_shape[axis - 1]
        first = draw.integer(1, size - 1)
        return draw.choice(cls(axis=axis, sizes=(first, size - first)).apply(x).results)


class Pad(Op, name="pad"):
    """ONNX Pad in constant mode: ``pads`` elements of ``value`` before every axis, then after every axis."""

    traits = Trait.PER_SAMPLE

    pads: tuple[int, ...]
    value: float = 0.0

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        expect(len(self.pads) == 2 * x.rank and min(self.pads, default=0) >= 0, f"pads {self.pads} of {x}")
        expect(x.is_float or self.fits(x.dtype), f"pad of {x} with {self.value}")
        extra = [a + b for a, b in zip(self.pads[: x.rank], self.pads[x.rank :], strict=True)]
        return x.with_shape(d + e if e else d for d, e in zip(x.shape, extra, strict=True))

    def fits(self, dtype: str) -> bool:
        """Whether an integer dtype, or bool, holds the value."""
        low, high = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        return float(self.value).is_integer() and low <= self.value <= high

    def evaluate(self, *inputs: Array) -> Array:
        (x,) = inputs
        pairs = list(zip(self.pads[: x.ndim], self.pads[x.ndim :], strict=True))
        return np.pad(x, pairs, constant_values=self.value) if pairs else x

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if x.type.rank < 2 or not x.type.is_float:
            return None
        rank = x.type.rank
        pads = tuple(0 if a % rank == 0 else draw.integer(0, 2) for a in range(2 * rank))
        return cls(pads=pads, value=draw.choice([0.0, 0.0, -1.5]))(x)


class Expand(Op, name="expand"):
    """x broadcast to a shape."""

    traits = Trait.MOVE | Trait.PER_SAMPLE

    shape: Shape

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        expect(broadcast(x.shape, self.shape) == self.shape, f"{x} does not expand to {self.shape}")
        return x.with_shape(self.shape)

    def evaluate(self, *inputs: Array) -> Array:
        shape = TensorType("bool", self.shape).static_shape
        return np.asarray(np.broadcast_to(inputs[0], shape), order="C")

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        shape = tuple(draw.integer(1, 3) if d == 1 and a else d for a, d in enumerate(x.type.shape))
        return cls(shape=shape)(x) if x.type.rank else None


class Resize(Op, name="resize"):
    """ONNX Resize in nearest mode: x [n, c, *s] -> [n, c, *sizes].

    ``coordinates`` is ``asymmetric`` (i * s / size) or ``half_pixel`` ((i + 0.5) * s / size - 0.5);
    ``rounding`` is ``floor`` or ``round_prefer_floor``.
    """

    traits = Trait.WINDOW | Trait.PER_SAMPLE

    sizes: tuple[int, ...]
    coordinates: str = "asymmetric"
    rounding: str = "floor"

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        expect(x.rank == len(self.sizes) + 2 and min(self.sizes, default=0) > 0, f"resize of {x} to {self.sizes}")
        expect(self.coordinates in ("asymmetric", "half_pixel"), f"unknown coordinates {self.coordinates!r}")
        expect(self.rounding in ("floor", "round_prefer_floor"), f"unknown rounding {self.rounding!r}")
        return x.with_shape((*x.shape[:2], *self.sizes))

    def source(self, axis: int, size: int) -> list[int]:
        """For each element of a spatial axis of the result, the element of the input (of ``size``) that it copies."""
        i = np.arange(self.sizes[axis], dtype=np.float64)
        half = 0.5 if self.coordinates == "half_pixel" else 0.0
        at = (i + half) * size / self.sizes[axis] - half
        at = np.floor(at) if self.rounding == "floor" else np.ceil(at - 0.5)
        return [int(a) for a in np.clip(at, 0, size - 1)]

    def evaluate(self, *inputs: Array) -> Array:
        (y,) = inputs
        for axis in range(len(self.sizes)):
            y = np.take(y, self.source(axis, y.shape[axis + 2]), axis=axis + 2)
        return np.asarray(y, order="C")

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if x.type.rank not in (3, 4):
            return None
        sizes = tuple(draw.integer(1, 6) for _ in range(x.type.rank - 2))
        kind = draw.choice([("asymmetric", "floor"), ("half_pixel", "round_prefer_floor")])
        return cls(sizes=sizes, coordinates=kind[0], rounding=kind[1])(x)
