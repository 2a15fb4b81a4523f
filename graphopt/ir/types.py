"""Tensor types: a dtype and a shape whose dimensions are integers or multiples of the batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from graphopt.errors import InvalidGraph

DTYPES = frozenset(
    ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"]
)

MAX_BYTES = 1 << 40
"""The limit of a tensor at a batch of one: a larger one comes from a mistake or an attack."""
MAX_RANK = 32


@dataclass(frozen=True)
class Batch:
    """The one symbolic dimension: ``factor * N``, with N the batch size, unknown until it is bound.

    Arithmetic whose result has this form works; any other raises ``InvalidGraph``.
    """

    factor: int = 1

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise InvalidGraph(f"a batch dimension needs a positive factor, got {self.factor}")

    def __mul__(self, other: Dim) -> Dim:
        if isinstance(other, Batch):
            raise InvalidGraph(f"{self} * {other} is not a multiple of the batch N")
        return Batch(self.factor * other) if other else 0

    __rmul__ = __mul__

    def __add__(self, other: Dim) -> Dim:
        if isinstance(other, Batch):
            return Batch(self.factor + other.factor)
        if other == 0:
            return self
        raise InvalidGraph(f"{self} + {other} is not a multiple of the batch N")

    __radd__ = __add__

    def __floordiv__(self, other: Dim) -> Dim:
        divisor = other.factor if isinstance(other, Batch) else other
        if divisor <= 0 or self.factor % divisor:
            raise InvalidGraph(f"{self} / {other} is not a multiple of the batch N")
        quotient = self.factor // divisor
        return quotient if isinstance(other, Batch) else Batch(quotient)

    def __str__(self) -> str:
        return "N" if self.factor == 1 else f"{self.factor}*N"

    __repr__ = __str__


Dim = int | Batch
Shape = tuple[Dim, ...]


def bind_dim(dim: Dim, batch: int) -> int:
    """The dimension with N replaced by ``batch``."""
    return dim.factor * batch if isinstance(dim, Batch) else dim


def numel(shape: Iterable[Dim]) -> Dim:
    """The number of elements of a shape; may be a multiple of N."""
    total: Dim = 1
    for dim in shape:
        total = total * dim
    return total


@dataclass(frozen=True)
class TensorType:
    """The dtype (a numpy name) and shape of a value."""

    dtype: str
    shape: Shape

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InvalidGraph(f"unknown dtype {self.dtype!r}", advice=f"one of {', '.join(sorted(DTYPES))}")
        if len(self.shape) > MAX_RANK:
            raise InvalidGraph(f"a tensor of rank {len(self.shape)}", why=f"{MAX_RANK} is the highest")
        size = np.dtype(self.dtype).itemsize
        for dim in self.shape:
            if isinstance(dim, int) and dim < 0:
                raise InvalidGraph(f"negative dimension in shape {self.shape}")
            size *= dim.factor if isinstance(dim, Batch) else dim
        if size > MAX_BYTES:
            raise InvalidGraph(
                f"a tensor of shape {self.shape} has 2^{size.bit_length() - 1} bytes or more",
                why=f"{MAX_BYTES:,} are the most",
            )

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def is_float(self) -> bool:
        return self.dtype.startswith("float")

    @property
    def static_shape(self) -> tuple[int, ...]:
        """The shape, all integers; raises ``InvalidGraph`` while the batch is unbound."""
        dims = tuple(d for d in self.shape if isinstance(d, int))
        if len(dims) != len(self.shape):
            raise InvalidGraph(f"the batch of {self} is not bound", advice="bind it: graphopt.bind_batch(graph, 1)")
        return dims

    @property
    def nbytes(self) -> int:
        """Size in bytes of a row-major array of this type."""
        size = np.dtype(self.dtype).itemsize
        for dim in self.static_shape:
            size *= dim
        return size

    def with_shape(self, shape: Iterable[Dim]) -> TensorType:
        return TensorType(self.dtype, tuple(shape))

    def with_dtype(self, dtype: str) -> TensorType:
        return TensorType(dtype, self.shape)

    def bind(self, batch: int) -> TensorType:
        return self.with_shape(bind_dim(d, batch) for d in self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"
