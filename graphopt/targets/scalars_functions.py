"""The scalar rules of elementary functions and of the activations made of them.

In float32 they are polynomials: functions of C by name, or vectors of LLVM. Other floats go by the C library.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

from tvm import tirx

from graphopt import ops
from graphopt.errors import Unsupported
from graphopt.ir import Op
from graphopt.ops.elementary import FUNCTIONS
from graphopt.rewrite import Decline
from graphopt.targets.functions import in_lanes
from graphopt.targets.instructions.elementary import ELEMENTARY
from graphopt.targets.scalars import ScalarRule, constant, product, scalar_rule
from graphopt.targets.target import Target
from graphopt.targets.tir import Expr, at_least, at_most, is_float, lanewise

Function = Callable[..., Expr]

PLAIN: dict[type[Op], str] = {
    ops.Cos: "cos",
    ops.Erf: "erf",
    ops.Exp: "exp",
    ops.Log: "log",
    ops.Mish: "mish",
    ops.Pow: "pow",
    ops.Sigmoid: "sigmoid",
    ops.Silu: "silu",
    ops.Sin: "sin",
    ops.Softplus: "softplus",
    ops.Tanh: "tanh",
}
"""The operators that are one function, without attributes."""


def library_sigmoid(x: Expr) -> Expr:
    one = constant(1.0, x)
    return one / (one + tirx.exp(constant(0.0, x) - x))


def library_pow(a: Expr, b: Expr) -> Expr:
    if not is_float(a):
        raise Unsupported(f"pow of {str(a.ty).partition('x')[0]} has no kernel", advice="cast to float32 before it")
    return tirx.power(a, b)


def library_softplus(x: Expr) -> Expr:
    """max(x, 0) + log(1 + t) with t = exp(-|x|), by the series of atanh, as in ``graphopt.ops.elementary``."""
    zero, two = constant(0.0, x), constant(2.0, x)
    t = tirx.exp(zero - tirx.abs(x))
    s = t / (two + t)
    series = zero
    for power in range(33, 0, -2):
        series = series * (s * s) + constant(1 / power, x)
    return at_least(x, zero) + two * s * series


def library_gelu(x: Expr) -> Expr:
    return constant(0.5, x) * x * (constant(1.0, x) + lanewise(tirx.erf)(x * constant(math.sqrt(0.5), x)))


def library_tanh_gelu(x: Expr) -> Expr:
    inner = constant(math.sqrt(8 / math.pi), x) * (x + constant(0.044715, x) * x * x * x)
    return x * library_sigmoid(inner)


LIBRARY: dict[str, Function] = {
    "cos": tirx.cos,
    "erf": lanewise(tirx.erf),
    "exp": tirx.exp,
    "expm1": lambda x: tirx.exp(x) - constant(1.0, x),
    "gelu": library_gelu,
    "log": tirx.log,
    "low_exp": tirx.exp,
    "mish": lambda x: x * tirx.tanh(library_softplus(x)),
    "pow": library_pow,
    "sigmoid": library_sigmoid,
    "silu": lambda x: x * library_sigmoid(x),
    "sin": tirx.sin,
    "softplus": library_softplus,
    "tanh": tirx.tanh,
    "tanh_gelu": library_tanh_gelu,
}
"""By the C library, for any float."""


def of_float32(function: Function) -> Function:
    """The function, which gives way for any other float."""

    def apply(*operands: Expr) -> Expr:
        if not str(operands[0].ty).startswith("float32"):
            raise Decline(f"there is no polynomial for {operands[0].ty}")
        return function(*operands)

    return apply


IN_C = {name: of_float32(one.call) for name, one in ELEMENTARY.items()}
IN_LANES = {name: of_float32(partial(in_lanes, name)) for name in FUNCTIONS}
BY_CODE: dict[str | None, Mapping[str, Function]] = {None: LIBRARY, "c": IN_C, "llvm": IN_LANES}
"""By code generator; None for floats without polynomials."""


def low_exp(x: Expr, target: Target) -> Expr:
    """exp(x) of what is not above 0, on a target."""
    return BY_CODE[target.codegen if str(x.ty).startswith("float32") else None]["low_exp"](x)


def elu(functions: Mapping[str, Function], x: Expr, alpha: float, scale: float = 1.0) -> Expr:
    """x above 0, alpha * (exp(x / scale) - 1) below."""
    zero = constant(0.0, x)
    below = product(constant(alpha, x), functions["expm1"](at_most(x, zero) / constant(scale, x)))
    return tirx.Select(x > zero, x, below)


def rules(functions: Mapping[str, Function]) -> dict[type[Op], ScalarRule]:
    """The rules of all operators, by functions on expressions."""

    def plain(name: str) -> ScalarRule:
        return lambda op, *operands: functions[name](*operands)

    return {
        **{op: plain(name) for op, name in PLAIN.items()},
        ops.Celu: lambda op, x: elu(functions, x, op.alpha, op.alpha),
        ops.Elu: lambda op, x: elu(functions, x, op.alpha),
        ops.Gelu: lambda op, x: functions["tanh_gelu" if op.tanh else "gelu"](x),
        ops.Selu: lambda op, x: product(constant(op.gamma, x), elu(functions, x, op.alpha)),
        ops.Swish: lambda op, x: x * functions["sigmoid"](product(constant(op.alpha, x), x)),
    }


for _isa, _functions in BY_CODE.items():
    for _op, _rule in rules(_functions).items():
        scalar_rule(_op, _isa)(_rule)
