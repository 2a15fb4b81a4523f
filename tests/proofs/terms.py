"""Arrays of real terms, on which graphopt's own operators and rules run, so that z3 can prove what they give equal.

A ``Term`` is an expression of z3 over the reals; ``Terms`` is an array of them that says it is of float64. Where a
computation asks which of two terms is larger, or whether one is zero, it is run once for each answer that is possible
(``paths``). Over the reals everything is finite. While a path grants it, divisors are assumed not to be zero, and
radicands not to be negative; afterwards that must follow from what is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np
import z3

T = TypeVar("T")
Facts = Callable[[z3.ArithRef], list[z3.BoolRef]]


class Path:
    """One way through a computation: what is assumed on it, and the other ways that branch off it."""

    def __init__(self, plan: tuple[bool, ...]) -> None:
        self.plan, self.taken, self.grants = plan, list[bool](), True
        self.branches: list[tuple[bool, ...]] = []
        self.solver = z3.Solver()
        self.solver.set("timeout", 20_000)
        self.known: dict[tuple[str, int], tuple[z3.ArithRef, z3.ArithRef]] = {}

    def possible(self, condition: z3.BoolRef) -> bool:
        return bool(self.solver.check(condition) != z3.unsat)

    def decide(self, condition: z3.BoolRef) -> bool:
        """Whether a condition holds here; where it may and may not, both ways are gone."""
        simple = z3.simplify(condition)
        if z3.is_true(simple) or z3.is_false(simple):
            return bool(z3.is_true(simple))
        ways = [w for w in (True, False) if self.possible(condition if w else z3.Not(condition))]
        choice = ways[0]
        if len(ways) == 2:
            at = len(self.taken)
            if at < len(self.plan):
                choice = self.plan[at]
            else:
                self.branches.append((*self.taken, False))
            self.taken.append(choice)
        self.solver.add(condition if choice else z3.Not(condition))
        return choice

    def function(self, name: str, x: z3.ArithRef, domain: z3.BoolRef, facts: Facts) -> z3.ArithRef:
        """The one number that a function has for a term of its domain; no more is known of it than the facts."""
        key = name, x.get_id()
        if key not in self.known:
            assert self.grants or not self.possible(z3.Not(domain)), f"{name} of {x}, which may be out of its domain"
            # x is kept, or its number would go to another term
            self.known[key] = z3.Real(f"{name}({x})"), x
            self.solver.add(*facts(self.known[key][0]))
        return self.known[key][0]


class Current:
    """The path that is being gone."""

    path = Path(())


def paths(run: Callable[[], T]) -> Iterator[tuple[Path, T]]:
    """Every way through a computation, with what it gives."""
    todo: list[tuple[bool, ...]] = [()]
    while todo:
        Current.path = Path(todo.pop())
        yield Current.path, run()
        todo += Current.path.branches


def lifted(x: Any) -> z3.ArithRef:
    if isinstance(x, Term):
        return x.real
    return z3.RealVal(Fraction(x.item() if isinstance(x, np.generic) else x))


def infinite(x: Any) -> bool:
    return isinstance(x, float | np.floating) and math.isinf(x)


class Term:
    """A real number that is not known, with Python's arithmetic; comparisons are decided on the current path."""

    __slots__ = ("real",)

    def __init__(self, real: z3.ArithRef) -> None:
        self.real = real

    def __add__(self, other: Any) -> Term:
        return Term(self.real + lifted(other))

    def __sub__(self, other: Any) -> Term:
        return Term(self.real - lifted(other))

    def __rsub__(self, other: Any) -> Term:
        return Term(lifted(other) - self.real)

    def __mul__(self, other: Any) -> Term:
        return Term(self.real * lifted(other))

    __radd__, __rmul__ = __add__, __mul__

    def inverse(self) -> Term:
        """1 / x, for x that is not zero."""
        x = z3.simplify(self.real)
        return Term(Current.path.function("1/", x, x != 0, lambda y: [y * x == 1]))

    def __truediv__(self, other: Any) -> Term:
        return self * (other.inverse() if isinstance(other, Term) else 1 / Fraction(other))

    def __rtruediv__(self, other: Any) -> Term:
        return self.inverse() * other

    def __pow__(self, other: Any) -> Term:
        power = z3.Function("power", z3.RealSort(), z3.RealSort(), z3.RealSort())(self.real, lifted(other))
        Current.path.solver.add(z3.Implies(lifted(other) == 1, power == self.real))
        return Term(power)

    def __neg__(self) -> Term:
        return Term(-self.real)

    def __abs__(self) -> Term:
        return self if self >= 0 else -self

    def sqrt(self) -> Term:
        """The root, of which ``numpy.sqrt`` asks."""
        x = z3.simplify(self.real)
        return Term(Current.path.function("sqrt", x, x >= 0, lambda y: [y >= 0, y * y == x]))

    def exp(self) -> Term:
        """All that is known of an exponential: it is positive."""
        return Term(Current.path.function("exp", z3.simplify(self.real), z3.BoolVal(True), lambda y: [y > 0]))

    def __lt__(self, other: Any) -> bool:
        return bool(other > 0) if infinite(other) else Current.path.decide(self.real < lifted(other))

    def __gt__(self, other: Any) -> bool:
        return bool(other < 0) if infinite(other) else Current.path.decide(self.real > lifted(other))

    def __le__(self, other: Any) -> bool:
        return not self > other

    def __ge__(self, other: Any) -> bool:
        return not self < other

    def __eq__(self, other: object) -> bool:
        return not infinite(other) and Current.path.decide(self.real == lifted(other))

    def __bool__(self) -> bool:
        return self != 0

    def __hash__(self) -> int:
        return hash(self.real)


class Real:
    """What ``Terms`` say their dtype is; numpy makes arrays of objects of it."""

    kind, dtype = "f", np.dtype(object)

    @staticmethod
    def type(x: T) -> T:
        return x

    def __str__(self) -> str:
        return "float64"


class Terms(np.ndarray):
    """An array of terms and numbers."""

    @property
    def dtype(self) -> Any:
        return Real()

    def astype(self, *_: Any, **__: Any) -> Any:
        return self

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **settings: Any) -> Any:
        if ufunc is np.isfinite:
            return np.ones(self.shape, bool)
        if out is not None:
            settings["out"] = bare(out)
        return wrapped(getattr(ufunc, method)(*bare(inputs), **settings))

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return wrapped(function(*bare(args), **{k: bare(v) for k, v in kwargs.items()}))


def bare(x: Any) -> Any:
    """Plain arrays of objects in place of terms, which numpy computes with."""
    if isinstance(x, tuple | list):
        return type(x)(bare(y) for y in x)
    return x.view(np.ndarray) if isinstance(x, Terms) else x


def wrapped(x: Any) -> Any:
    if isinstance(x, tuple | list):
        return type(x)(wrapped(y) for y in x)
    return x.view(Terms) if isinstance(x, np.ndarray) and bare(x).dtype == object else x


def unknowns(name: str, *shape: int) -> Terms:
    """An array of numbers of which nothing is known."""
    array = np.empty(shape, object)
    for index in np.ndindex(*shape):
        array[index] = Term(z3.Real(f"{name}[{', '.join(map(str, index))}]"))
    return array.view(Terms)


def difference(a: Any, b: Any) -> z3.BoolRef | None:
    """That two arrays differ; None where no element can, being the same polynomial."""
    assert a.shape == b.shape
    found = []
    for left, right in zip(bare(a).ravel(), bare(b).ravel(), strict=True):
        x, y = lifted(left), lifted(right)
        rest = z3.simplify(x - y, som=True)
        if not (z3.is_rational_value(rest) and rest.as_fraction() == 0):
            found.append(x != y)
    return z3.Or(found) if found else None
