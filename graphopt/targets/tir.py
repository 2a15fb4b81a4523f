"""A thin layer over TVM's IRBuilder in which kernels are written: named loops, accumulators, strided tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as builder

Expr = Any
"""A TIR expression, or a Python number; TVM has no types for a type checker."""


@contextmanager
def loop(name: str, start: Expr, stop: Expr) -> Iterator[Expr]:
    """``for name in range(start, stop)``; a single iteration is written without a loop."""
    if isinstance(start, int) and isinstance(stop, int) and stop - start == 1:
        yield start
        return
    with builder.serial(start, stop) as variable:
        IRBuilder.name(name, variable)
        yield variable


@contextmanager
def when(condition: Expr) -> Iterator[None]:
    """``if condition``; no ``if`` is written for Python's True."""
    if condition is True:
        yield
        return
    with builder.If(condition), builder.Then():
        yield


class Locals:
    """Accumulators in registers: ``lanes``-wide variables, read and written by a constant index."""

    def __init__(self, name: str, count: int, dtype: str, lanes: int = 1) -> None:
        kind = dtype if lanes == 1 else f"{dtype}x{lanes}"
        self.buffer = builder.alloc_buffer((count,), kind, scope="local")
        IRBuilder.name(name, self.buffer)
        self.dtype = kind

    def __getitem__(self, index: int) -> Expr:
        return self.buffer[index]

    def __setitem__(self, index: int, value: Expr) -> None:
        builder.buffer_store(self.buffer, value, [index])

    def constant(self, value: float) -> Expr:
        return tirx.const(value, self.dtype)


def lanes_of(x: Expr) -> int:
    """The number of lanes of an expression; 1 for a scalar."""
    return int(x.ty.dtype.lanes) if "x" in str(x.ty) else 1


def joined(vectors: Sequence[Expr]) -> Expr:
    """Vectors of equally many lanes as one, one behind the other."""
    count = len(vectors) * lanes_of(vectors[0])
    return vectors[0] if len(vectors) == 1 else tirx.Shuffle(list(vectors), list(range(count)))


def lanewise(function: Callable[..., Expr]) -> Callable[..., Expr]:
    """A function that LLVM has only for scalars, applied to each lane of vectors."""

    def apply(*operands: Expr) -> Expr:
        lanes = lanes_of(operands[0])
        if lanes == 1:
            return function(*operands)
        parts = [function(*(tirx.Shuffle([x], [i]) for x in operands)) for i in range(lanes)]
        return tirx.Shuffle(parts, list(range(lanes)))

    return apply


def cast(x: Expr, dtype: str) -> Expr:
    """An expression in another dtype, lane by lane."""
    lanes = lanes_of(x)
    kind = dtype if lanes == 1 else f"{dtype}x{lanes}"
    return x if str(x.ty) == kind else tirx.Cast(kind, x)


def is_float(x: Expr) -> bool:
    return str(x.ty).startswith("float")


def at_least(x: Expr, bound: Expr) -> Expr:
    """max(x, bound); NaN if x is NaN.

    ``tirx.max(a, b)`` is a > b ? a : b both in C and in LLVM, which gives b if either is NaN. So this order of operands
    keeps a NaN of x in one instruction (on x86 ``maxps``, which is defined in the same way).
    """
    return tirx.max(bound, x)


def at_most(x: Expr, bound: Expr) -> Expr:
    """min(x, bound); NaN if x is NaN."""
    return tirx.min(bound, x)


def largest(a: Expr, b: Expr) -> Expr:
    """The larger of two; NaN if either is NaN."""
    return tirx.Select(tirx.isnan(a), a, tirx.max(a, b)) if is_float(a) else tirx.max(a, b)


def smallest(a: Expr, b: Expr) -> Expr:
    """The smaller of two; NaN if either is NaN."""
    return tirx.Select(tirx.isnan(a), a, tirx.min(a, b)) if is_float(a) else tirx.min(a, b)


def prefetch(address: Expr) -> None:
    """Have the line of an address brought near, for LLVM; it need not be one of a buffer."""
    read, near, data = (tirx.const(i, "int32") for i in (0, 2, 1))
    builder.evaluate(tirx.call_llvm_intrin("void", "llvm.prefetch", address, read, near, data))


def is_zero(x: Expr) -> bool:
    return isinstance(x, int) and x == 0


@dataclass(frozen=True)
class Point:
    """An index into a tensor, or ``lanes`` of them side by side along ``lane_axis``."""

    index: tuple[Expr, ...]
    lane_axis: int = 0
    lanes: int = 1


@dataclass(frozen=True)
class Points:
    """Points of equally many lanes, whose vectors count as one: one behind the other."""

    parts: tuple[Point, ...]

    @property
    def lanes(self) -> int:
        return sum(point.lanes for point in self.parts)

    def part(self, value: Expr, i: int) -> Expr:
        """What an expression of all lanes has for one of the points."""
        lanes = self.parts[i].lanes
        return tirx.Shuffle([value], list(range(i * lanes, (i + 1) * lanes)))


Places = Point | Points


@dataclass(frozen=True)
class Tensor:
    """A strided view of a flat buffer; strides in elements, 0 along broadcast axes."""

    buffer: tirx.Buffer
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: Expr = 0
    """Of its first element, in elements."""

    def address(self, index: Sequence[Expr]) -> Expr:
        """The offset of an index in elements."""
        terms = [i * s for i, s in zip(index, self.strides, strict=True) if s and not is_zero(i)]
        terms += [] if is_zero(self.offset) else [self.offset]
        return sum(terms[1:], start=terms[0]) if terms else 0

    def at(self, *index: Expr) -> Expr:
        """A pointer to an element."""
        return tirx.address_of(self.buffer[self.address(index)])

    def load(self, at: Places) -> Expr:
        if isinstance(at, Points):
            return joined([self.load(point) for point in at.parts])
        address = self.address(at.index)
        stride = self.strides[at.lane_axis] if at.lanes > 1 else 1
        if at.lanes > 1 and stride == 0:
            value = tirx.Broadcast(self.buffer[address], at.lanes)
        else:
            value = self.buffer[address if at.lanes == 1 else tirx.Ramp(address, stride, at.lanes)]
        # a bool is kept as a byte
        return tirx.NE(value, tirx.const(0, str(value.ty))) if self.dtype == "bool" else value

    def store(self, at: Point, value: Expr) -> None:
        address = self.address(at.index)
        if at.lanes > 1:
            address = tirx.Ramp(address, self.strides[at.lane_axis], at.lanes)
        value = cast(value, "uint8") if self.dtype == "bool" else value
        builder.buffer_store(self.buffer, value, [address])

    def broadcast(self, shape: tuple[int, ...]) -> Tensor:
        """This tensor viewed with the given shape, broadcast as numpy does."""
        extra = len(shape) - len(self.shape)
        strides = (0,) * extra + tuple(0 if d == 1 else s for d, s in zip(self.shape, self.strides, strict=True))
        return replace(self, shape=shape, strides=strides)

    def insert_axis(self, axis: int) -> Tensor:
        """This tensor with a new axis of one element."""
        shape = (*self.shape[:axis], 1, *self.shape[axis:])
        return replace(self, shape=shape, strides=(*self.strides[:axis], 0, *self.strides[axis:]))

    def merge_axes(self, axis: int) -> Tensor | None:
        """This tensor with ``axis`` merged into the next axis and left at one element; None if strides forbid it."""
        outer, inner = self.strides[axis], self.strides[axis + 1]
        sizes = self.shape[axis], self.shape[axis + 1]
        if sizes[0] > 1 and sizes[1] > 1 and outer != inner * sizes[1]:
            return None
        stride = inner if sizes[1] > 1 else outer
        shape = (*self.shape[:axis], 1, sizes[0] * sizes[1], *self.shape[axis + 2 :])
        return replace(self, shape=shape, strides=(*self.strides[:axis], 0, stride, *self.strides[axis + 2 :]))
