"""Operators on integers along rows: a sweep over the row for each reduction, and one for the result, in vectors.

Numbers are held in int32, or where they are proved to need more bits in float64, which has all integers up to 2^53 and
as many lanes on every machine. What a table gives is kept in scratch for later sweeps; all else is computed again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from tvm import tirx

from graphopt.ir import Array, Constant, Input, Node, Op, Value
from graphopt.ops import Add, Cast, Clip, Div, IntegerSqrt, Lookup, Maximum, Minimum, Mul, Sub, WeightedSum
from graphopt.rewrite import Decline
from graphopt.targets.forms import formed_body
from graphopt.targets.kernels.base import Frame, Kernel, Scratch, Task, kernel_rule
from graphopt.targets.kernels.nest import REDUCE
from graphopt.targets.kernels.order import result_of
from graphopt.targets.kernels.rows import Row, as_one, merging, side_by_side
from graphopt.targets.region import elements_of, tables_of
from graphopt.targets.row_chain import REDUCTIONS, Proof, RowChain, proof_of
from graphopt.targets.scalars import clamp
from graphopt.targets.tir import Expr, Locals, Point, Tensor, cast, loop

MOST_DIVIDEND = 1 << 50
"""Up to which a product with a reciprocal is exact, once a half is added."""
HELD = "float64"
"""The dtype of quotients and roots."""
Rule = Callable[..., Expr]


def weighted_sum(op: WeightedSum, *operands: Expr) -> Expr:
    total: Expr = None
    for x, factor in zip(operands, op.factors, strict=True):
        term = x if factor == 1 else x * tirx.const(factor, str(x.ty))
        total = term if total is None else total + term
    return total + tirx.const(op.offset, str(total.ty)) if op.offset else total


RULES: Mapping[type[Op], Rule] = {
    WeightedSum: weighted_sum,
    Add: lambda op, a, b: a + b,
    Sub: lambda op, a, b: a - b,
    Mul: lambda op, a, b: a * b,
    Minimum: lambda op, a, b: tirx.min(a, b),
    Maximum: lambda op, a, b: tirx.max(a, b),
    Clip: lambda op, x: clamp(x, op.low, op.high),
    Cast: lambda op, x: x,
}
"""What is exact in any dtype that has room for it."""


@dataclass
class Sweeps:
    """Writes the sweeps over one row after the other; what is known of the row at hand."""

    frame: Frame
    proof: Proof
    row: Row
    tensors: Mapping[Value, Tensor]
    kept: Mapping[Value, Tensor]
    lead: tuple[Expr, ...] = ()
    singles: dict[Value, Expr] = field(default_factory=dict)
    inverses: dict[Value, Expr] = field(default_factory=dict)
    filled: set[Value] = field(default_factory=set)

    def at(self, position: Expr) -> Point:
        return Point((*self.lead, position), len(self.lead), self.row.lanes)

    def single(self, value: Value) -> Expr:
        """A number for the row, in its own dtype."""
        if value.constant is not None and value.constant.size == 1:
            return tirx.const(value.constant.item(), value.type.dtype)
        if value not in self.singles:
            self.singles[value] = self.tensors[value].load(Point((*self.lead, 0)))
        return self.singles[value]

    def numbers(self) -> None:
        """Compute all that there is one of for the row."""
        for node in self.proof.compute:
            if not self.proof.along(node.results[0]):
                self.number(node)
            elif isinstance(node.op, Div) and not self.proof.along(node.inputs[1]):
                self.inverse(node.inputs[1])

    def number(self, node: Node) -> None:
        """Compute what a node gives for the row."""
        (value,) = node.results
        made = Locals("number", 1, value.type.dtype)
        if isinstance(node.op, REDUCTIONS):
            dtype, (neutral, combine) = self.proof.dtype(value), REDUCE[type(node.op)]
            row = replace(self.row, dtype=dtype)
            found = row.fold(neutral(dtype), combine, lambda i: cast(self.elements(node.inputs[0], i), dtype))
            self.filled |= needed(self.proof, node.inputs[0])
        else:
            operands = [self.single(v) for v in elements_of(node)]
            found = self.frame.scalar(node.op, *operands, *(self.tensors[v] for v in tables_of(node)))
        made[0] = cast(found, value.type.dtype)
        self.singles[value] = made[0]

    def inverse(self, value: Value) -> Expr:
        """The reciprocal of a number for the row, in every lane."""
        if value not in self.inverses:
            made = Locals("inverse", 1, HELD)
            made[0] = tirx.const(1.0, HELD) / cast(self.single(value), HELD)
            self.inverses[value] = made[0]
        return self.row.spread(self.inverses[value])

    def elements(self, value: Value, position: Expr, known: dict[Value, Expr] | None = None) -> Expr:
        """A vector of a value at a position of the row, in the dtype in which it is held."""
        known, dtype = {} if known is None else known, self.proof.dtype(value)
        if not self.proof.along(value):
            return self.row.spread(cast(self.single(value), dtype))
        if value not in known:
            made = Locals("elements", 1, dtype, self.row.lanes)
            if value in self.tensors:
                made[0] = cast(self.tensors[value].load(self.at(position)), dtype)
            elif value in self.kept and value in self.filled:
                made[0] = self.kept[value].load(Point((position,), 0, self.row.lanes))
            else:
                made[0] = cast(self.computed(value.node, position, known), dtype)
                if value in self.kept:
                    self.kept[value].store(Point((position,), 0, self.row.lanes), made[0])
            known[value] = made[0]
        return known[value]

    def computed(self, node: Node, position: Expr, known: dict[Value, Expr]) -> Expr:
        """What a node computes at a position."""
        operands = [self.elements(v, position, known) for v in elements_of(node)]
        match node.op:
            case Lookup():
                place = cast(operands[0], node.inputs[0].type.dtype)
                return self.frame.scalar(node.op, place, *(self.tensors[v] for v in tables_of(node)))
            case IntegerSqrt():
                return tirx.trunc(tirx.sqrt(cast(operands[0], HELD)))
            case Div():
                return self.quotient(node, *(cast(x, HELD) for x in operands))
            case op:
                working = self.proof.working(node)
                return RULES[type(op)](op, *(cast(x, working) for x in operands))

    def quotient(self, node: Node, a: Expr, b: Expr) -> Expr:
        """a / b, truncated, of b > 0.

        Of |a| + 1/2 the quotient is nearer to no integer than 1 / 2b, so that rounding a reciprocal and a product,
        by less than |a| / b * 2^-51, does not reach any. Where that is not enough, a division rounds to none.
        """
        dividend, divisor = node.inputs
        if self.proof.along(divisor) or self.proof.most(dividend) > MOST_DIVIDEND:
            result = a / b
        else:
            half = tirx.const(0.5, str(a.ty))
            if self.proof.intervals[dividend][0] < 0:
                half = tirx.call_llvm_pure_intrin(str(a.ty), "llvm.copysign", half, a)
            result = (a + half) * self.inverse(divisor)
        # a cast to int32 truncates
        return cast(result, "int32") if self.proof.dtype(node.results[0]) == "int32" else tirx.trunc(result)


def needed(proof: Proof, value: Value) -> set[Value]:
    """What is computed along the row for a value, with itself."""
    found, waiting = set[Value](), [value]
    while waiting:
        one = waiting.pop()
        if proof.along(one) and one not in found and not isinstance(one.op, Input | Constant):
            found.add(one)
            waiting += elements_of(one.node)
    return found


def looked_up_again(proof: Proof) -> list[Value]:
    """What tables give for more than one sweep."""
    swept = [*(n.inputs[0] for n in proof.compute if isinstance(n.op, REDUCTIONS)), proof.result]
    count = Counter(v for one in swept for v in needed(proof, one) if isinstance(v.op, Lookup))
    return [v for v, sweeps in count.items() if sweeps > 1]


def row_view(task: Task[RowChain]) -> Callable[[Tensor], Tensor]:
    """Tensors of the shape of the result with the axes of its rows as one; raises ``Decline`` where no strides do."""
    shape, axes = task.result.type.static_shape, task.op.axes
    ones = [task.strided(v).broadcast(shape) for v in (*task.inputs, *task.region.epilogue_operands)]
    whole = [task.strided(v) for v in task.inputs if v.type.shape == shape]
    if not all(side_by_side(t, axes) for t in (*whole, result_of(task))) or not all(as_one(t, axes) for t in ones):
        raise Decline("the elements of a row do not stand side by side")
    return merging([*([a] for a in range(axes[0])), axes])


def arrays_of(proof: Proof, tables: Collection[Value]) -> dict[Value, Array]:
    """The constants of a chain that are no single numbers, and its tables."""
    found = {n.results[0]: n.op.value for n in proof.op.body.nodes if isinstance(n.op, Constant)}
    return {v: data for v, data in found.items() if v in tables or data.size > 1}


@kernel_rule(RowChain, isa="llvm", strided=True)
def row_chain(task: Task[RowChain]) -> Kernel:
    """In vectors along the rows."""
    view, (body, _) = row_view(task), formed_body(task.op.body, task.target)
    proof = proof_of(replace(task.op, body=body))
    shape, tables = task.result.type.static_shape, {v for node in proof.compute for v in tables_of(node)}
    row = Row.of(math.prod(shape[axis] for axis in task.op.axes), task.target.lanes, "int32")
    arrays = {f"constant{i}": one for i, one in enumerate(arrays_of(proof, tables).items())}
    kept = {f"kept{i}": v for i, v in enumerate(looked_up_again(proof))}

    def emit(frame: Frame) -> None:
        read = {v: frame.tensors[given] for v, given in zip(body.inputs, task.inputs, strict=True)}
        read |= {v: frame.packed[name] for name, (v, _) in arrays.items()}
        tensors = {v: tensor if v in tables else view(tensor.broadcast(shape)) for v, tensor in read.items()}
        stored = {v: frame.scratch[name] for name, v in kept.items()}
        out, epilogue = view(frame.out), frame.epilogue(view)
        with ExitStack() as loops:
            lead = tuple(loops.enter_context(loop(f"i{a}", 0, n)) for a, n in enumerate(out.shape[:-1]))
            sweeps = Sweeps(frame, proof, row, tensors, stored, lead)
            sweeps.numbers()

            def store(position: Expr) -> None:
                result = cast(sweeps.elements(proof.result, position), proof.result.type.dtype)
                out.store(sweeps.at(position), epilogue(result, sweeps.at(position)))

            row.each(store)

    scratch = {name: Scratch(proof.dtype(v), row.size) for name, v in kept.items()}
    return Kernel("row_chain", emit, {name: data for name, (_, data) in arrays.items()}, scratch=scratch)
