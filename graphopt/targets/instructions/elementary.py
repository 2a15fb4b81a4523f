"""The elementary functions of float32, in C: the operations of ``graphopt.ops.elementary`` in their order."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from graphopt.ir import Array
from graphopt.ops.arithmetic import Arithmetic, Number
from graphopt.ops.elementary import FUNCTIONS, InNumpy
from graphopt.targets.c_types import C_TYPES, c_literal
from graphopt.targets.instructions.base import Instruction, instruction

ATOM, UNARY, TIMES, PLUS, LEAST = 20, 14, 12, 11, 2
"""How tightly parts of an expression of C bind."""

BITS_OF_FLOAT = instruction(
    Instruction(
        "bits_of_float",
        None,
        {"value": "float32"},
        "int32",
        """\
    const union {
        float value;
        int32_t bits;
    } word = {value};
    return word.bits;""",
        lambda value: value.view(np.int32),
    )
)
FLOAT_OF_BITS = instruction(
    Instruction(
        "float_of_bits",
        None,
        {"bits": "int32"},
        "float32",
        """\
    const union {
        int32_t bits;
        float value;
    } word = {bits};
    return word.value;""",
        lambda bits: bits.view(np.float32),
    )
)


@dataclass(frozen=True)
class Text:
    """An expression of C with the operators of Python, its dtype, and how tightly it binds."""

    c: str
    dtype: str = "float32"
    binds: int = ATOM

    def within(self, binds: int) -> str:
        """As an operand of what binds so tightly."""
        return self.c if self.binds >= binds else f"({self.c})"

    def like(self, other: Number) -> Text:
        if isinstance(other, Text):
            return other
        literal = c_literal(other, self.dtype)
        return Text(literal, self.dtype, UNARY if literal.startswith("-") else ATOM)

    def plus(self, symbol: str, other: Number) -> Text:
        return Text(f"{self.within(PLUS)} {symbol} {self.like(other).within(PLUS + 1)}", self.dtype, PLUS)

    def times(self, symbol: str, other: Number) -> Text:
        return Text(f"{self.within(TIMES)} {symbol} {self.like(other).within(TIMES + 1)}", self.dtype, TIMES)

    def loose(self, symbol: str, other: Number, dtype: str = "int32") -> Text:
        """By an operator whose operands compilers want in parentheses wherever they are not atoms."""
        return Text(f"{self.within(UNARY)} {symbol} {self.like(other).within(UNARY)}", dtype, LEAST)

    def __add__(self, other: Number) -> Text:
        return self.plus("+", other)

    def __sub__(self, other: Number) -> Text:
        return self.plus("-", other)

    def __rsub__(self, other: Number) -> Text:
        return self.like(other).plus("-", self)

    def __neg__(self) -> Text:
        return Text(f"-{self.within(UNARY)}", self.dtype, UNARY)

    def __mul__(self, other: Number) -> Text:
        return self.times("*", other)

    def __truediv__(self, other: Number) -> Text:
        return self.times("/", other)

    def __rtruediv__(self, other: Number) -> Text:
        return self.like(other).times("/", self)

    def __lt__(self, other: Number) -> Text:
        return self.loose("<", other, "bool")

    def __gt__(self, other: Number) -> Text:
        return self.loose(">", other, "bool")

    def __and__(self, other: Number) -> Text:
        return self.loose("&", other)

    def __or__(self, other: Number) -> Text:
        return self.loose("|", other)

    def __lshift__(self, other: Number) -> Text:
        """Of an unsigned number: of a negative one, C leaves it undefined."""
        return Text(f"(int32_t)((uint32_t){self.within(UNARY)} << {self.like(other).within(UNARY)})", "int32", UNARY)

    def __rshift__(self, other: Number) -> Text:
        return self.loose(">>", other)


class InC(Arithmetic):
    """Writes statements: ``lines`` has them, and the result is an expression."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.count = 0

    def name(self) -> str:
        self.count += 1
        return f"t{self.count}"

    def keep(self, x: Number) -> Number:
        if x.binds == ATOM:
            return x
        name = self.name()
        self.lines.append(f"const {C_TYPES[x.dtype]} {name} = {x.c};")
        return Text(name, x.dtype)

    def branch(self, value: Callable[[], Number]) -> tuple[Text, list[str]]:
        """The value, and the statements before it."""
        outer, self.lines = self.lines, []
        result = Text("").like(value())
        lines, self.lines = self.lines, outer
        return result, lines

    def either(self, condition: Number, yes: Callable[[], Number], no: Callable[[], Number]) -> Number:
        (a, before_a), (b, before_b) = self.branch(yes), self.branch(no)
        if not before_a and not before_b:
            return Text(f"{condition.within(LEAST + 1)} ? {a.within(LEAST + 1)} : {b.within(LEAST)}", binds=LEAST)
        name = self.name()
        parts = [*before_a, f"{name} = {a.c};"], [*before_b, f"{name} = {b.c};"]
        inner = [[f"    {line}" for line in part] for part in parts]
        self.lines += [f"float {name};", f"if ({condition.c}) {{", *inner[0], "} else {", *inner[1], "}"]
        return Text(name)

    def rarely(
        self, condition: Number, others: Callable[[], tuple[Number, ...]], usual: tuple[Number, ...]
    ) -> tuple[Number, ...]:
        results = [Text(self.name(), one.dtype) for one in usual]
        self.lines += [f"{C_TYPES[y.dtype]} {y.c} = {one.c};" for y, one in zip(results, usual, strict=True)]
        outer, self.lines = self.lines, []
        changed = [f"{y.c} = {other.c};" for y, other in zip(results, others(), strict=True)]
        inner = [f"    {line}" for line in (*self.lines, *changed)]
        self.lines = [*outer, f"if ({condition.c}) {{", *inner, "}"]
        return tuple(results)

    def at_least(self, x: Number, bound: float) -> Number:
        return self.limited("<", x, bound)

    def at_most(self, x: Number, bound: float) -> Number:
        return self.limited(">", x, bound)

    def limited(self, beyond: str, x: Number, bound: float) -> Text:
        x = self.keep(x)
        limit = x.like(bound).c
        return Text(f"{x.c} {beyond} {limit} ? {limit} : {x.c}", binds=LEAST)

    def bits(self, x: Number) -> Number:
        return Text(f"{BITS_OF_FLOAT.name}({x.c})", "int32", UNARY)

    def of_bits(self, i: Number) -> Number:
        return Text(f"{FLOAT_OF_BITS.name}({i.c})", binds=UNARY)

    def as_float(self, i: Number) -> Number:
        return Text(f"(float){i.within(UNARY)}", binds=UNARY)


def parameters(name: str) -> list[str]:
    """Of a function, behind its arithmetic."""
    return list(inspect.signature(FUNCTIONS[name]).parameters)[1:]


def body(name: str) -> str:
    """The text of a function between its braces."""
    m = InC()
    result = FUNCTIONS[name](m, *map(Text, parameters(name)))
    return "\n".join(f"    {line}" for line in (*m.lines, f"return {result.c};"))


def meaning(*operands: Array, name: str) -> Array:
    return np.asarray(FUNCTIONS[name](InNumpy(), *operands))


MOST = {"expm1": 0.0, "low_exp": 43.0}
"""The largest first operand of which some functions are defined."""


def within(x: Array, *others: Array, most: float) -> Array:
    return np.logical_not(x > most)


def entered(name: str) -> Instruction:
    text = body(name)
    return instruction(
        Instruction(
            f"{name}_float32",
            None,
            dict.fromkeys(parameters(name), "float32"),
            "float32",
            text,
            partial(meaning, name=name),
            defined=partial(within, most=MOST.get(name, math.inf)),
            comment=(inspect.getdoc(FUNCTIONS[name]) or name).partition("\n")[0],
            includes=("math.h",) if "INFINITY" in text or "NAN" in text else (),
        )
    )


ELEMENTARY = {name: entered(name) for name in FUNCTIONS}
"""The functions of C, by the names of ``FUNCTIONS``."""
