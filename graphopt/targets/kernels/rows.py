"""Rows: elements side by side along one axis, taken in vectors. LLVM may not reorder float sums, so kernels do.

If vectors do not fill the row, the last one begins before the end of the one before it: what both have is the same in
both, and counts once in a sum.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tvm import tirx

from graphopt.targets.kernels.base import physical_loops
from graphopt.targets.tir import Expr, Locals, Tensor, loop

Combine = Callable[[Expr, Expr], Expr]


@dataclass(frozen=True)
class Row:
    """``size`` elements of a float dtype in vectors of ``lanes``, at most as many as a register of the target has."""

    size: int
    lanes: int
    dtype: str

    @staticmethod
    def of(size: int, lanes: int, dtype: str) -> Row:
        """The row with the widest vectors: float64 has half of the lanes, and a short row as many as fit into it."""
        lanes = max(1, lanes // 2) if dtype == "float64" else lanes
        return Row(size, min(lanes, 1 << size.bit_length() - 1), dtype)

    @property
    def full(self) -> int:
        """The vectors side by side."""
        return self.size // self.lanes

    @property
    def left(self) -> int:
        """The elements behind them."""
        return self.size % self.lanes

    def vector(self, value: float) -> Expr:
        """A number in every lane."""
        return tirx.const(value, self.dtype if self.lanes == 1 else f"{self.dtype}x{self.lanes}")

    def spread(self, x: Expr) -> Expr:
        """An expression in every lane."""
        return tirx.Broadcast(x, self.lanes) if self.lanes > 1 else x

    def each(self, emit: Callable[[Expr], None]) -> None:
        """Statements for the position of each vector; those of the last may repeat what is done."""
        with loop("i", 0, self.full) as i:
            emit(i * self.lanes)
        if self.left:
            emit(self.size - self.lanes)

    def fold(self, neutral: float, combine: Combine, value: Callable[[Expr], Expr], chains: int = 4) -> Expr:
        """All elements combined, of vectors by position: in so many chains, which are combined in the end, by halves.

        ``value`` gives a vector, and may write what it is made of.
        """
        chains = min(chains, self.full)
        acc = Locals("acc", chains, self.dtype, self.lanes)
        for c in range(chains):
            acc[c] = self.vector(neutral)
        with loop("i", 0, self.full // chains) as i:
            for c in range(chains):
                acc[c] = combine(acc[c], value((i * chains + c) * self.lanes))
        for c in range(self.full % chains):
            acc[c] = combine(acc[c], value((self.full - self.full % chains + c) * self.lanes))
        if self.left:
            new = tirx.GE(tirx.Ramp(0, 1, self.lanes), tirx.Broadcast(self.lanes - self.left, self.lanes))
            last = value(self.size - self.lanes)
            acc[0] = combine(acc[0], tirx.Select(new, last, self.vector(neutral)))
        for c in range(1, chains):
            acc[0] = combine(acc[0], acc[c])
        result = Locals("result", 1, self.dtype)
        result[0] = halved(acc[0], self.lanes, self.dtype, combine)
        return result[0]


def halved(vector: Expr, lanes: int, dtype: str, combine: Combine) -> Expr:
    """The lanes of a vector combined, the lower half with the upper half, until one is left."""
    while lanes > 1:
        lanes //= 2
        kept = Locals("half", 1, dtype, lanes)
        kept[0] = combine(*(tirx.Shuffle([vector], list(range(at, at + lanes))) for at in (0, lanes)))
        vector = kept[0]
    return vector


def as_one(tensor: Tensor, axes: Sequence[int]) -> bool:
    """Whether successive axes can be walked as one."""
    wide = [a for a in axes if tensor.shape[a] > 1]
    return all(tensor.strides[a] == tensor.strides[b] * tensor.shape[b] for a, b in itertools.pairwise(wide))


def side_by_side(tensor: Tensor, axes: Sequence[int]) -> bool:
    """Whether the elements along successive axes, of which the last has more than one, stand side by side."""
    return tensor.shape[axes[-1]] > 1 and tensor.strides[axes[-1]] == 1 and as_one(tensor, axes)


def merged_axes(out: Tensor, tensors: Sequence[Tensor] = ()) -> list[list[int]]:
    """The axes of more than one element in the order of memory of the result; those that lie as one are together."""
    axes = [a for a in physical_loops(out.shape, out.strides) if out.shape[a] > 1] or [len(out.shape) - 1]
    groups = [axes[:1]]
    for axis in axes[1:]:
        if all(as_one(t, (groups[-1][-1], axis)) for t in (out, *tensors)):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return groups


def merging(groups: Sequence[Sequence[int]]) -> Callable[[Tensor], Tensor]:
    """Views a tensor with one axis for each group of successive axes."""

    def view(tensor: Tensor) -> Tensor:
        shape = tuple(math.prod(tensor.shape[a] for a in group) for group in groups)
        return replace(tensor, shape=shape, strides=tuple(tensor.strides[group[-1]] for group in groups))

    return view
