"""What the loops of a kernel do, by name and how often: found in its TIR, without compiling or running it.

Loops are not run through one turn at a time: a variable on which no bound, no test and no number for a routine depends
only multiplies what is inside. The others have all of their values at once, as arrays.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from types import CodeType
from typing import Any

import numpy as np
from tvm import tirx
from tvm.ir.expr import Call, TensorLoad, Var
from tvm.ir.expr import Expr as Expression

from graphopt.ir import Array
from graphopt.targets.instructions import INSTRUCTIONS, Instruction
from graphopt.targets.tir import Expr

MOST_POINTS = 1 << 18
"""Beyond so many turns of loops, bounds are taken in the middle of the loops around them."""
MODULI = (2, 4, 8, 16)
"""What routines do at once, in their loops: what is left over is done in another way."""
VECTOR = 16
"""Bytes of a vector, of which loops that predicate their tails do whole ones."""
FUNCTION = "function"
"""The name of what each kernel does once."""
AROUND, FLOATS = "around routines", "of floats"
"""Kinds of kernels, beside those of integers alone."""
WORDS = frozenset([FUNCTION, "loop", "turn", "if", "choice", "load", "store", "index", "argument", "arithmetic"])

ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    tirx.Add: np.add,
    tirx.Sub: np.subtract,
    tirx.Mul: np.multiply,
    tirx.FloorDiv: np.floor_divide,
    tirx.FloorMod: np.mod,
    tirx.Min: np.minimum,
    tirx.Max: np.maximum,
    tirx.LT: np.less,
    tirx.LE: np.less_equal,
    tirx.GT: np.greater,
    tirx.GE: np.greater_equal,
    tirx.EQ: np.equal,
    tirx.NE: np.not_equal,
    tirx.And: np.logical_and,
    tirx.Or: np.logical_or,
}
CHOICES = (tirx.Select, tirx.Min, tirx.Max)


@dataclass(frozen=True)
class Work:
    """How often something is ``done`` in one run, and how often it is ``written`` in the code.

    Names are those of routines and instructions, those of routines with one of their ``terms`` behind them, and some
    words for the rest: loop, turn, load, store, and so on. Compilers write other code for loops around routines, and
    for floats, than for integers, so these words have then that ``kind`` behind them.
    """

    done: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    written: Counter[str] = field(default_factory=Counter)
    kind: str = ""

    def of_kind(self, kind: str) -> Work:
        """With the words for a kind of kernel."""
        names = {name: f"{name} {kind}" if name in WORDS else name for name in self.done | self.written}
        done = {names[name]: times for name, times in self.done.items()}
        return Work(done, Counter({names[name]: times for name, times in self.written.items()}), kind)

    def of_loops(self, loops: Work) -> Work:
        """This work, a call of a routine, where ``loops`` are what the routine does: by the routines that it calls."""
        called = {name: times for name, times in loops.written.items() if (name, None) in INSTRUCTIONS}
        return Work(loops.done, self.written + Counter(called), loops.kind)


class Unknown(Exception):
    """An expression depends on what is in memory."""


@dataclass(frozen=True)
class Points:
    """The turns of the loops around a statement: how often each of them, and the values of variables in each."""

    weights: Array
    values: Mapping[Var, Array]

    @cached_property
    def times(self) -> float:
        return float(self.weights.sum())

    def where(self, test: Array) -> Points:
        test = np.broadcast_to(test, self.weights.shape).astype(bool)
        return Points(self.weights[test], {v: data[test] for v, data in self.values.items()})

    def within(self, variable: Var, start: Array, extent: Array, counted: bool) -> Points:
        """The turns of a loop over a variable."""
        start, extent = (np.broadcast_to(n, self.weights.shape).astype(np.int64) for n in (start, extent))
        extent = np.maximum(extent, 0)
        if not counted or extent.sum() > MOST_POINTS:
            return Points(self.weights * extent, {**self.values, variable: start + extent // 2})
        again = np.repeat(np.arange(len(extent)), extent)
        first = np.repeat(np.cumsum(extent) - extent, extent)
        values = {v: data[again] for v, data in self.values.items()}
        return Points(self.weights[again], {**values, variable: start[again] + np.arange(len(again)) - first})

    def evaluated(self, node: Expr) -> Array:
        """An expression at each point; raises ``Unknown`` if it depends on what is in memory."""
        if isinstance(node, int | bool):
            return np.asarray(node)
        match node:
            case tirx.IntImm():
                return np.asarray(int(node.value))
            case Var() if node in self.values:
                return self.values[node]
            case tirx.Cast():
                return self.evaluated(node.value)
            case tirx.Not():
                return np.logical_not(self.evaluated(node.a))
            case tirx.Select():
                parts = node.condition, node.true_value, node.false_value
                return np.where(*(self.evaluated(part) for part in parts))
        compute = ARITHMETIC.get(type(node))
        if compute is None:
            raise Unknown
        return np.asarray(compute(self.evaluated(node.a), self.evaluated(node.b)))


def work_of(function: tirx.PrimFunc) -> Work:
    """What a function does in one run."""
    stores = (node for node in nodes_of(function.body) if isinstance(node, tirx.BufferStore))
    walk = Walk(counted_variables(function.body), {str(node.buffer.name) for node in stores})
    walk.add(FUNCTION, 1.0)
    walk.statement(function.body, Points(np.ones(1), {}))
    if any((name, None) in INSTRUCTIONS and INSTRUCTIONS[name, None].spans for name in walk.work.written):
        return walk.work.of_kind(AROUND)
    return walk.work.of_kind(FLOATS) if any("float" in name for name in walk.work.written) else walk.work


class Walk:
    """Gathers what statements do; ``counted`` are the variables on which it depends how often they do it."""

    def __init__(self, counted: set[Var], written: Collection[str] = frozenset()) -> None:
        self.counted, self.written = counted, written
        self.work = Work()
        self.loops: list[tuple[Var, Points]] = []
        """Those around what is looked at, the outermost first, and the points at which each begins."""
        self.behind: dict[Var, set[Var]] = {}
        """The variables that the definition of another one names, and those behind these."""

    def add(self, name: str, times: float) -> None:
        self.work.done[name] += times
        self.work.written[name] += 1

    def statement(self, node: tirx.Stmt, points: Points) -> None:
        match node:
            case tirx.SeqStmt():
                for part in node.seq:
                    if isinstance(part, tirx.Bind):
                        points = self.bound(part, points)
                    else:
                        self.statement(part, points)
            case tirx.For():
                self.loop(node, points)
            case tirx.IfThenElse():
                self.branches(node, points)
            case tirx.BufferStore():
                if str(node.buffer.scope()) != "local":
                    self.add("store", points.times)
                    self.index(node.indices, points)
                self.expression(node.value, points)
            case tirx.Evaluate():
                self.expression(node.value, points)
            case tirx.Bind():
                self.bound(node, points)

    def bound(self, node: tirx.Bind, points: Points) -> Points:
        """The points behind a definition."""
        self.expression(node.value, points)
        self.behind[node.var] = self.named(node.value)
        try:
            value = np.broadcast_to(points.evaluated(node.value), points.weights.shape)
        except Unknown:
            return points
        return Points(points.weights, {**points.values, node.var: value})

    def loop(self, node: tirx.For, points: Points) -> None:
        try:
            start, extent = points.evaluated(node.min), points.evaluated(node.extent)
        except Unknown:
            start, extent = np.asarray(0), np.asarray(1)
        inside = points.within(node.loop_var, start, extent, node.loop_var in self.counted)
        self.add("loop", points.times)
        self.add("turn", inside.times)
        self.loops.append((node.loop_var, points))
        self.statement(node.body, inside)
        self.loops.pop()

    def named(self, *nodes: Expr) -> set[Var]:
        """The variables that expressions depend on."""
        return {inner for v in variables(*nodes) for inner in (v, *self.behind.get(v, ()))}

    def moved_out(self, node: TensorLoad, points: Points) -> Points:
        """Where compilers load an element: before the loops that neither count its index nor write to its buffer."""
        if str(node.source.name) in self.written:
            return points
        named = self.named(*node.indices)
        for variable, outside in reversed(self.loops):
            if variable in named:
                break
            points = outside if outside.times < points.times else points
        return points

    def branches(self, node: tirx.IfThenElse, points: Points) -> None:
        self.add("if", points.times)
        self.expression(node.condition, points)
        try:
            test = points.evaluated(node.condition)
        except Unknown:
            test = np.asarray(True)
        self.statement(node.then_case, points.where(test))
        if node.else_case is not None:
            self.statement(node.else_case, points.where(np.logical_not(test)))

    def index(self, indices: Sequence[Expr], points: Points) -> None:
        """An index that is no constant and no variable costs an addition, whatever is multiplied in it."""
        if any(not isinstance(i, tirx.IntImm | Var) for i in indices):
            self.add("index", points.times)

    def expression(self, node: Expr, points: Points) -> None:
        match node:
            case TensorLoad():
                if str(node.source.scope()) != "local":
                    where = self.moved_out(node, points)
                    self.add("load", where.times)
                    self.index(node.indices, where)
            case Call():
                self.call(node, points)
            case tirx.Cast():
                self.expression(node.value, points)
            case tirx.Select():
                self.add("choice", points.times)
                for part in (node.condition, node.true_value, node.false_value):
                    self.expression(part, points)
            case _ if hasattr(node, "a"):
                self.add("choice" if isinstance(node, CHOICES) else arithmetic(node), points.times)
                for part in (node.a, node.b) if hasattr(node, "b") else (node.a,):
                    self.expression(part, points)

    def call(self, node: Call, points: Points) -> None:
        name = getattr(node.op, "name", "").split(".")[-1]
        if name == "address_of":
            (place,) = node.args
            self.index(place.indices, points)
            return
        arguments = list(node.args)
        if name in ("call_extern", "call_pure_extern"):
            name, arguments = arguments[0].value, arguments[1:]
        self.add(name, points.times)
        routine = INSTRUCTIONS.get((name, None))
        for argument in arguments:
            if routine is not None and routine.spans:
                self.add("argument", points.times)
            self.expression(argument, points)
        if routine is not None and routine.spans:
            numbers = numbers_of(routine, arguments, points)
            for term, code in terms_of(routine):
                amount = np.broadcast_to(eval(code, {"__builtins__": {}}, numbers), points.weights.shape)
                self.work.done[f"{name} {term}"] += float((amount * points.weights).sum())


def arithmetic(node: Expr) -> str:
    """The name of what an operator does: floats and wide integers are apart, where cores compute them in calls."""
    kind = str(node.ty).partition("x")[0]
    return f"arithmetic in {kind}" if kind in ("float32", "float64", "int64", "uint64") else "arithmetic"


def numbers_of(routine: Instruction, arguments: Sequence[Expr], points: Points) -> dict[str, Array]:
    """The operands of a routine that are numbers; those that depend on what is in memory count as 1."""
    found: dict[str, Array] = {}
    for (name, dtype), argument in zip(routine.operands.items(), arguments, strict=True):
        if not dtype.endswith("*"):
            try:
                found[name] = points.evaluated(argument)
            except Unknown:
                found[name] = np.asarray(1)
    return found


Spans = tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


@cache
def term_texts(spans: Spans, depth: int, lanes: int) -> tuple[str, ...]:
    """The terms by the spans of a routine that sums so many products at once, in so many results."""
    texts: dict[str, None] = {}
    for size, repeats in spans:
        runs = [count for count, _ in repeats if not count.isdigit()]
        texts |= dict.fromkeys(product_of(runs[: i + 1]) for i in range(len(runs)))
        if re.search("[a-z]", size):
            texts[product_of([size, *runs])] = None
    if depth:
        sets = [frozenset(numbers_in(text)) for text in texts]
        together = {a | b for a in sets for b in sets} - set(sets)
        texts |= dict.fromkeys(sorted(" * ".join(sorted(one)) for one in together))
    for text in list(texts):
        blocks = re.sub(r"\bdepth\b", f"((depth + {depth - 1}) / {depth})", text) if depth else text
        texts[re.sub(r"\bchannels\b", f"((channels + {lanes - 1}) / {lanes})", blocks)] = None
    for text in list(texts):
        for number in numbers_in(text):
            others = [*(f"({number} % {n})" for n in MODULI), f"(({number} + {VECTOR - 1}) / {VECTOR})"]
            texts |= {re.sub(rf"\b{number}\b", other, text): None for other in others}
    return tuple(texts)


@cache
def compiled(texts: tuple[str, ...]) -> tuple[tuple[str, CodeType], ...]:
    return tuple((text, compile(text.replace("/", "//"), text, "eval")) for text in texts)


def product_of(factors: Sequence[str]) -> str:
    """A product in one form: without its numbers, and with its factors in order."""
    parts = [part for factor in factors for part in re.split(r" \* (?![^(]*\))", factor)]
    return " * ".join(sorted(part for part in parts if not part.isdigit()))


def terms_of(routine: Instruction) -> tuple[tuple[str, CodeType], ...]:
    """What the time of a routine is linear in, beside the number of calls: its ``counts``, or else what spans tell.

    The bytes and the runs of its spans come first; then what is summed in all, in whole blocks of depth and of
    channels, and the same of what is left over of each number, where a loop does several at once, and of its vectors.
    """
    if routine.counts:
        return compiled(tuple(routine.counts.values()))
    spans = tuple((span.size, span.repeats) for span in routine.spans.values())
    return compiled(term_texts(spans, routine.depth, routine.lanes))


def numbers_in(text: str) -> list[str]:
    """The operands that an expression names."""
    return sorted(set(re.findall("[a-z_]+", text)))


def counted_variables(body: tirx.Stmt) -> set[Var]:
    """The variables on which bounds, tests and the numbers of routines depend."""
    found: set[Var] = set()
    definitions: list[tuple[Var, Expr]] = []
    for node in nodes_of(body):
        match node:
            case tirx.For():
                found.update(variables(node.min, node.extent))
            case tirx.IfThenElse():
                found.update(variables(node.condition))
            case tirx.Bind():
                definitions.append((node.var, node.value))
            case Call() if getattr(node.op, "name", "").endswith("call_extern"):
                found.update(variables(*(a for a in list(node.args)[1:] if not isinstance(a, Call))))
    for variable, value in reversed(definitions):
        if variable in found:
            found.update(variables(value))
    return found


def variables(*nodes: Expr) -> Iterator[Var]:
    return (inner for node in nodes for inner in nodes_of(node) if isinstance(inner, Var))


STATEMENTS = "seq", "min", "extent", "body", "condition", "then_case", "else_case", "value", "indices"
PARTS = (*STATEMENTS, "a", "b", "true_value", "false_value", "args")
"""Where statements and expressions have others in them."""


def nodes_of(node: Any) -> Iterator[Any]:
    """A statement or an expression, and all within it, each before what is in it."""
    yield node
    if isinstance(node, tirx.IntImm | tirx.FloatImm | Var | int | float | str):
        return
    for name in PARTS:
        part = getattr(node, name, None)
        for inner in part if name in ("seq", "indices", "args") and part is not None else [part]:
            if isinstance(inner, tirx.Stmt | Expression):
                yield from nodes_of(inner)
