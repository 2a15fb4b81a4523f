"""The elementary functions of float32 as expressions of TIR for LLVM, on scalars and on vectors of lanes.

LLVM fuses a product and a sum, of which it would round the sum alone. A fence around each product stops it, without an
instruction, so that the bits are those of the evaluator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx

from graphopt.ops.arithmetic import Arithmetic, Number
from graphopt.ops.elementary import FUNCTIONS
from graphopt.targets.tir import Expr, Locals, at_least, at_most, is_float, lanes_of, when

FENCE = "llvm.arithmetic.fence"


@dataclass(frozen=True)
class Lanes:
    """An expression of TIR with the operators of Python; numbers beside it take its dtype and lanes."""

    expr: Expr

    @property
    def dtype(self) -> str:
        return str(self.expr.ty)

    def like(self, other: Number) -> Expr:
        return other.expr if isinstance(other, Lanes) else tirx.const(other, self.dtype)

    def __add__(self, other: Number) -> Lanes:
        return Lanes(self.expr + self.like(other))

    def __sub__(self, other: Number) -> Lanes:
        return Lanes(self.expr - self.like(other))

    def __rsub__(self, other: Number) -> Lanes:
        return Lanes(self.like(other) - self.expr)

    def __neg__(self) -> Lanes:
        return 0.0 - self

    def __mul__(self, other: Number) -> Lanes:
        result = self.expr * self.like(other)
        return Lanes(tirx.call_llvm_pure_intrin(self.dtype, FENCE, result) if is_float(result) else result)

    def __truediv__(self, other: Number) -> Lanes:
        return Lanes(tirx.div(self.expr, self.like(other)))

    def __rtruediv__(self, other: Number) -> Lanes:
        return Lanes(tirx.div(self.like(other), self.expr))

    def __lt__(self, other: Number) -> Lanes:
        return Lanes(tirx.LT(self.expr, self.like(other)))

    def __gt__(self, other: Number) -> Lanes:
        return Lanes(tirx.GT(self.expr, self.like(other)))

    def __and__(self, other: Number) -> Lanes:
        return Lanes(tirx.bitwise_and(self.expr, self.like(other)))

    def __or__(self, other: Number) -> Lanes:
        return Lanes(tirx.bitwise_or(self.expr, self.like(other)))

    def __lshift__(self, other: Number) -> Lanes:
        return Lanes(tirx.shift_left(self.expr, self.like(other)))

    def __rshift__(self, other: Number) -> Lanes:
        return Lanes(tirx.shift_right(self.expr, self.like(other)))


class InLanes(Arithmetic):
    """On expressions in so many lanes; what is kept is a local variable of the function that is being written."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes

    def dtype(self, element: str) -> str:
        return element if self.lanes == 1 else f"{element}x{self.lanes}"

    def keep(self, x: Number) -> Number:
        """Expressions are trees: what is used twice would be written twice at each use."""
        if x.dtype.startswith("bool"):
            return x
        kept = Locals("kept", 1, x.dtype.partition("x")[0], self.lanes)
        kept[0] = x.expr
        return Lanes(kept[0])

    def either(self, condition: Number, yes: Callable[[], Number], no: Callable[[], Number]) -> Number:
        a, b = (v.expr if isinstance(v, Lanes) else tirx.const(v, self.dtype("float32")) for v in (yes(), no()))
        return Lanes(tirx.Select(condition.expr, a, b))

    def rarely(
        self, condition: Number, others: Callable[[], tuple[Number, ...]], usual: tuple[Number, ...]
    ) -> tuple[Number, ...]:
        results = [Locals("result", 1, one.dtype.partition("x")[0], self.lanes) for one in usual]
        for result, one in zip(results, usual, strict=True):
            result[0] = one.expr
        anywhere = condition.expr
        if self.lanes > 1:
            anywhere = tirx.call_llvm_pure_intrin("bool", "llvm.vector.reduce.or", anywhere)
        with when(anywhere):
            for result, other in zip(results, others(), strict=True):
                result[0] = tirx.Select(condition.expr, other.expr, result[0])
        return tuple(Lanes(result[0]) for result in results)

    def at_least(self, x: Number, bound: float) -> Number:
        return Lanes(at_least(x.expr, x.like(bound)))

    def at_most(self, x: Number, bound: float) -> Number:
        return Lanes(at_most(x.expr, x.like(bound)))

    def bits(self, x: Number) -> Number:
        return Lanes(tirx.reinterpret(self.dtype("int32"), x.expr))

    def of_bits(self, i: Number) -> Number:
        return Lanes(tirx.reinterpret(self.dtype("float32"), i.expr))

    def as_float(self, i: Number) -> Number:
        return Lanes(tirx.Cast(self.dtype("float32"), i.expr))


def in_lanes(name: str, *operands: Expr) -> Expr:
    """A function of ``FUNCTIONS`` of expressions of float32, in their lanes."""
    m = InLanes(lanes_of(operands[0]))
    result: Lanes = FUNCTIONS[name](m, *(m.keep(Lanes(x)) for x in operands))
    return result.expr
