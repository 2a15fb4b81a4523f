"""The lowering of elementwise operators: a table of expressions on scalars (or vectors of lanes)."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import tirx
from tvm_ffi import structural_equal

from graphopt.errors import Unsupported
from graphopt.ir import Op
from graphopt.ir.registry import Table
from graphopt.ops import (
    Abs,
    Add,
    Clip,
    Div,
    HardSigmoid,
    HardSwish,
    Identity,
    LeakyRelu,
    Maximum,
    Minimum,
    Mul,
    Neg,
    Relu,
    Sqrt,
    Sub,
)
from graphopt.targets.lookup import HasSets, RuleChoice, choose
from graphopt.targets.tir import Expr, at_least, at_most, is_float, largest, smallest

SUMS = (tirx.Add, tirx.Sub)
ScalarRule = Callable[..., Expr]
SCALARS: Table[tuple[type[Op], str | None], ScalarRule] = Table("a scalar rule")
"""The functions ``rule(op, *operands)``, by operator class and instruction set or code generator (None: for all).

Operands read at computed positions are tensors. An operator is elementwise if there is a rule for all.
"""


def scalar_rule(op: type[Op], isa: str | None = None) -> Callable[[ScalarRule], ScalarRule]:
    """Register the expression of an elementwise operator, a function of the operator and TIR operands.

    A rule with ``isa`` is preferred on targets that have it among their sets; it may raise ``Decline``.
    """

    def register(rule: ScalarRule) -> ScalarRule:
        SCALARS.enter(rule, (op, isa))
        return rule

    return register


def is_scalar(op: type[Op]) -> bool:
    """Whether an operator is elementwise."""
    return (op, None) in SCALARS


def scalar(op: Op, target: HasSets, *operands: Any) -> RuleChoice[Expr]:
    """What an elementwise operator computes of TIR operands on a target, and by which rule."""
    return choose(SCALARS, type(op), target, lambda rule: rule(op, *operands))


def constant(value: float, like: Expr) -> Expr:
    """A constant of the dtype and lanes of another expression."""
    return tirx.const(value, str(like.ty))


def limits(dtype: str) -> tuple[float, float]:
    """The lowest and the highest value of a dtype; infinities for floats."""
    if dtype.startswith("float"):
        return float("-inf"), float("inf")
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


def clamp(x: Expr, low: float, high: float) -> Expr:
    """x clamped to [low, high]; NaN stays NaN."""
    least, most = limits(str(x.ty).partition("x")[0])
    x = x if low <= least else at_least(x, constant(low, x))
    return x if high >= most else at_most(x, constant(high, x))


def wrapping(compute: Callable[[Expr, Expr], Expr]) -> ScalarRule:
    """The rule of an operator whose int32 results wrap around, as in numpy.

    TVM, LLVM and C all assume that an int32 never overflows. So int32 is computed in int64 and cut to 32 bits, and
    compilers find that 32 bits suffice. There is no wider type for int64, which must not overflow.
    """

    def rule(op: Op, a: Expr, b: Expr) -> Expr:
        dtype = str(a.ty)
        if dtype.partition("x")[0] != "int32":
            return compute(a, b)
        wide = dtype.replace("int32", "int64")
        return compute(a.astype(wide), b.astype(wide)).astype(dtype)

    return rule


def check_divisor(x: Expr) -> Expr:
    """The integer divisor x. Raises ``Unsupported`` if it is the constant 0."""
    one = x.value if isinstance(x, tirx.Broadcast) else x
    if isinstance(one, tirx.IntImm) and int(one) == 0:
        raise Unsupported("a division of integers by zero", advice="no machine gives it a value: mend the model")
    return x


def number(x: Expr) -> float | None:
    """The float of an expression that is constant and equal in all its lanes; None for any other."""
    x = x.value if isinstance(x, tirx.Broadcast) else x
    return float(x.value) if isinstance(x, tirx.FloatImm) else None


def product(a: Expr, b: Expr) -> Expr:
    """a * b. TVM simplifies x * 0 to 0, which is wrong for NaN and infinity; x / inf is right for all floats."""
    for x, factor in ((a, number(b)), (b, number(a))):
        if factor == 0:
            return x / constant(math.copysign(math.inf, factor), x)
    return a * b


def difference(a: Expr, b: Expr) -> Expr:
    """a - b. TVM simplifies (x + y) - y to x, although float sums are rounded; with a product it does not."""
    known = is_float(a) and (isinstance(a, SUMS) or isinstance(b, SUMS) or structural_equal(a, b))
    return a + product(b, constant(-1.0, b)) if known else a - b


def quotient(a: Expr, b: Expr) -> Expr:
    """a / b. TVM simplifies 0 / x to 0, and refuses x / 0."""
    divisor = number(b)
    if divisor == 0:
        return a * constant(math.copysign(math.inf, divisor), a)
    if number(a) == 0:
        return tirx.Select(tirx.abs(b) > constant(0.0, b), a, constant(math.nan, b))
    return tirx.div(a, check_divisor(b))


scalar_rule(Identity)(lambda op, x: x)
scalar_rule(Relu)(lambda op, x: at_least(x, constant(0.0, x)))
scalar_rule(LeakyRelu)(lambda op, x: tirx.Select(x >= constant(0.0, x), x, product(x, constant(op.alpha, x))))
scalar_rule(Clip)(lambda op, x: clamp(x, op.low, op.high))
scalar_rule(Sqrt)(lambda op, x: tirx.sqrt(x))
scalar_rule(Neg)(lambda op, x: wrapping(operator.sub)(op, constant(0.0, x), x))
scalar_rule(Abs)(lambda op, x: tirx.abs(x))
scalar_rule(Add)(wrapping(operator.add))
scalar_rule(Sub)(wrapping(difference))
scalar_rule(Mul)(wrapping(product))
scalar_rule(Div)(lambda op, a, b: quotient(a, b))
scalar_rule(Minimum)(lambda op, a, b: smallest(a, b))
scalar_rule(Maximum)(lambda op, a, b: largest(a, b))


@scalar_rule(HardSigmoid)
def hard_sigmoid(op: HardSigmoid, x: Expr) -> Expr:
    return clamp(product(x, constant(op.alpha, x)) + constant(op.beta, x), 0.0, 1.0)


@scalar_rule(HardSwish)
def hard_swish(op: HardSwish, x: Expr) -> Expr:
    return x * clamp(x * constant(1 / 6, x) + constant(0.5, x), 0.0, 1.0)
