"""A graph while it is drawn: what operators and motifs draw themselves with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from graphopt.ir import Batch, Dim, TensorType, Value, arg, constant
from graphopt.ir.types import bind_dim

T = TypeVar("T")
Integers = Callable[[int, int], int]
"""A source of integers between two bounds, inclusive: Hypothesis, or a random generator."""

MAX_INPUTS = 3
MAX_ELEMENTS = 2048


@dataclass
class Drawing:
    """The graph while it is drawn, and the ``Sampler`` that operators draw themselves with.

    ``symbolic`` says whether the batch is N; ``values`` holds what further operators may read, of at most ``most``
    elements each.
    """

    integers: Integers
    dtype: str = "float32"
    symbolic: bool = False
    most: int = MAX_ELEMENTS
    inputs: list[Value] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    constants: list[tuple[Value, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.integer(0, 1 << 16))

    def integer(self, low: int, high: int) -> int:
        """An integer in [low, high]."""
        return self.integers(low, high)

    def choice(self, options: Sequence[T]) -> T:
        """One of the options."""
        return options[self.integers(0, len(options) - 1)]

    def chance(self, percent: int) -> bool:
        """True in about so many of a hundred cases."""
        return self.integers(0, 99) >= 100 - percent

    def weights(self, *shape: int, positive: bool = False) -> Value:
        """A constant; now and then all ones or zeros, or one that the graph has already."""
        same = [v for v, p in self.constants if v.type == TensorType(self.dtype, shape) and p >= positive]
        if same and self.chance(25):
            return self.choice(same)
        kind = self.choice(["any"] * 6 + ["ones", "zeros"])
        data = self.rng.uniform(0.5, 1.5, shape) if positive else self.rng.uniform(-1, 1, shape)
        if kind == "ones" or (kind == "zeros" and positive):
            data, positive = np.ones(shape), True
        elif kind == "zeros":
            data = np.zeros(shape)
        value = constant(data.astype(self.dtype))
        self.constants.append((value, positive))
        return value

    def value(self, type_: TensorType) -> Value:
        """A value of this type: one drawn before if there is one (mostly), a new input, or a constant."""
        known = [v for v in self.values if v.type == type_]
        if known and self.chance(70):
            return self.choice(known)
        static = tuple(d for d in type_.shape if isinstance(d, int))
        if len(static) == type_.rank and type_.dtype == self.dtype and (self.full or self.chance(50)):
            return self.weights(*static)
        return self.choice(known) if known and self.full else self.input(type_)

    @property
    def full(self) -> bool:
        return len(self.inputs) >= MAX_INPUTS

    def input(self, type_: TensorType) -> Value:
        """A new graph input."""
        value = arg(f"x{len(self.inputs)}", type_.dtype, type_.shape)
        self.inputs.append(value)
        self.values.append(value)
        return value

    def input_type(self) -> TensorType:
        """A type of rank two to four, small and of odd sizes."""
        batch: Dim = Batch() if self.symbolic else self.integer(1, 2)
        rank = self.choice([2, 3, 4, 4, 4])
        spatial = [self.integer(3, 8) for _ in range(rank - 2)]
        return TensorType(self.dtype, (batch, self.integer(1, 6), *spatial))

    def recent(self) -> Value:
        """A value to go on from: the last one mostly, so that graphs grow deep."""
        return self.values[-1] if self.chance(70) else self.choice(self.values)

    def keep(self, value: Value | None) -> bool:
        """Take all results of a value's node into the graph, unless it is too large."""
        if value is None or any(size(v.type) > self.most for v in value.node.results):
            return False
        # the value itself last: it is the one to go on from
        self.values += [v for v in value.node.results if v is not value] + [value]
        return True


def size(type_: TensorType) -> int:
    """The number of elements at a batch of one."""
    return int(np.prod([bind_dim(d, 1) for d in type_.shape]))
