"""A function of C on int32_t, int64_t and uint32_t as bit vectors of z3: declarations, if, return, and expressions.

All that C leaves undefined (signed overflow, shifts beyond the width, shifts of a negative number to the left) becomes
an obligation: a condition that must be proved as well. A right shift of a negative number is arithmetic.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import z3

TOKEN = re.compile(r"/\*.*?\*/|\s+|(\w+|<<|>>|<=|>=|==|!=|[-+*/<>&?:;,(){}=])", re.DOTALL)
WIDTHS = {"int32_t": 32, "int64_t": 64, "uint32_t": 32}
LEVELS = (("&",), ("<", ">", "<=", ">="), ("<<", ">>"), ("+", "-"), ("*",))
"""Binary operators, the weakest first."""

COMPARE: dict[str, Callable[[z3.BitVecRef, z3.BitVecRef], z3.BoolRef]] = {
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


@dataclass(frozen=True)
class Unsigned:
    """A uint32_t, which wraps around."""

    bits: z3.BitVecRef


Number: TypeAlias = z3.BitVecRef | Unsigned
Value: TypeAlias = Number | z3.BoolRef
Product = Callable[[z3.BitVecRef, z3.BitVecRef], z3.BitVecRef]


def widened(x: z3.BitVecRef, width: int) -> z3.BitVecRef:
    """A signed number in a type of another width; a narrower one keeps the lower bits."""
    have = x.size()
    return z3.SignExt(width - have, x) if width > have else z3.Extract(width - 1, 0, x)


@dataclass
class Run:
    """The translation of one function, for given arguments."""

    tokens: list[str]
    product: Product
    """What stands for a product in 64 bits: no solver multiplies unknown numbers of that width."""
    names: dict[str, Number] = field(default_factory=dict)
    obligations: list[z3.BoolRef] = field(default_factory=list)
    guard: z3.BoolRef = field(default_factory=lambda: z3.BoolVal(True))
    """What holds where the translation stands."""

    def take(self, *wanted: str) -> str:
        token = self.tokens.pop(0)
        assert not wanted or token in wanted, f"{token!r} where {wanted} stands in this part of C"
        return token

    def must(self, condition: z3.BoolRef) -> None:
        self.obligations.append(z3.Implies(self.guard, condition))

    def block(self) -> z3.BitVecRef:
        """Statements up to the one that returns, and what they return."""
        match self.tokens[0]:
            case "return":
                self.take()
                value = self.expression()
                self.take(";")
                return number(value)
            case "if":
                return self.branch()
        if self.tokens[0] == "const":
            self.take()
        kind, name = self.take(*WIDTHS), self.take()
        self.take("=")
        self.names[name] = self.converted(self.expression(), kind)
        self.take(";")
        return self.block()

    def branch(self) -> z3.BitVecRef:
        """An if whose block returns, and what follows it."""
        self.take("if"), self.take("(")
        condition = self.expression()
        self.take(")"), self.take("{")
        assert isinstance(condition, z3.BoolRef)
        outside, names = self.guard, dict(self.names)
        self.guard = z3.And(outside, condition)
        then = self.block()
        self.take("}")
        self.guard, self.names = z3.And(outside, z3.Not(condition)), names
        return z3.If(condition, then, self.block())

    def expression(self) -> Value:
        """A conditional expression, or one of binary operators."""
        condition = self.binary(0)
        if self.tokens[0] != "?":
            return condition
        assert isinstance(condition, z3.BoolRef)
        self.take("?")
        outside = self.guard
        self.guard = z3.And(outside, condition)
        then = number(self.expression())
        self.take(":")
        self.guard = z3.And(outside, z3.Not(condition))
        other = number(self.expression())
        self.guard = outside
        width = max(then.size(), other.size())
        return z3.If(condition, widened(then, width), widened(other, width))

    def binary(self, level: int) -> Value:
        if level == len(LEVELS):
            return self.unary()
        left = self.binary(level + 1)
        while self.tokens[0] in LEVELS[level]:
            left = self.applied(self.take(), left, self.binary(level + 1))
        return left

    def unary(self) -> Value:
        token = self.take()
        if token == "(" and self.tokens[0] in WIDTHS:
            kind = self.take()
            self.take(")")
            return self.converted(self.unary(), kind)
        if token == "(":
            inner = self.expression()
            self.take(")")
            return inner
        if not token[0].isdigit():
            return self.names[token]
        literal = z3.BitVecVal(int(token.rstrip("u"), 0), 32)
        return Unsigned(literal) if token.endswith("u") else literal

    def converted(self, value: Value, kind: str) -> Number:
        """A number in another type; what that cannot hold, an implementation may make of it what it likes."""
        if kind == "uint32_t":
            return Unsigned(value.bits if isinstance(value, Unsigned) else widened(number(value), 32))
        if isinstance(value, Unsigned):
            self.must(value.bits >= 0)
            return widened(value.bits, WIDTHS[kind])
        return widened(number(value), WIDTHS[kind])

    def wrapped(self, op: str, a: z3.BitVecRef, b: z3.BitVecRef) -> z3.BitVecRef:
        """An operator on unsigned numbers."""
        if op == ">>":
            self.must(z3.And(b >= 0, b < 32))
            return z3.LShR(a, b)
        assert op in ("&", "*"), f"{op!r} of unsigned numbers"
        return a & b if op == "&" else self.product(a, b)

    def applied(self, op: str, left: Value, right: Value) -> Value:
        if isinstance(left, Unsigned):
            return Unsigned(self.wrapped(op, left.bits, right.bits if isinstance(right, Unsigned) else number(right)))
        a, b = number(left), number(right)
        if op in ("<<", ">>"):
            by = widened(b, a.size())
            self.must(z3.And(by >= 0, by < a.size()))
            if op == ">>":
                return a >> by
            self.must(z3.And(a >= 0, (a << by) >> by == a, a << by >= 0))
            return a << by
        width = max(a.size(), b.size())
        a, b = widened(a, width), widened(b, width)
        if op in COMPARE:
            return COMPARE[op](a, b)
        if op == "*":
            return self.product(a, b)
        if op == "+":
            self.must(z3.And(z3.BVAddNoOverflow(a, b, True), z3.BVAddNoUnderflow(a, b)))
            return a + b
        self.must(z3.And(z3.BVSubNoOverflow(a, b), z3.BVSubNoUnderflow(a, b, True)))
        return a - b


def number(x: Value) -> z3.BitVecRef:
    assert isinstance(x, z3.BitVecRef), "a condition, or an unsigned number, stands for a signed one"
    return x


def returned(text: str, arguments: dict[str, z3.BitVecRef], product: Product) -> tuple[z3.BitVecRef, z3.BoolRef]:
    """What a function returns for arguments by name, and the obligations that it makes."""
    head, _, body = text.partition("\n{\n")
    declared = re.findall(r"int32_t (\w+)[,)]", head)
    assert declared == list(arguments), f"the parameters are {declared}"
    run = Run([t for t in TOKEN.findall(body) if t], product, dict(arguments))
    assert "".join(run.tokens) == re.sub(r"/\*.*?\*/|\s+", "", body, flags=re.DOTALL), "not all of it was read"
    value = run.block()
    assert run.tokens == ["}"], f"{run.tokens} is left over"
    return value, z3.And(run.obligations)
