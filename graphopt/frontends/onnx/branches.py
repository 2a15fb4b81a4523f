"""The rule of If: the branch taken where the condition is known, else both branches and a selection of results.

Both are computed for every input then, so that a branch may hold nothing that fails on numbers it was not written for.
What it makes of them, NaN too, is not selected.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from graphopt import ops
from graphopt.errors import GraphoptError, InvalidGraph, InvalidInput, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.onnx.node import FROM_SHAPES, OnnxNode, Tensor, freezing, onnx_rule
from graphopt.ir import Node, Op, Value, numel, topological


@onnx_rule("If", folded=False)
def branch(at: OnnxNode) -> Sequence[Tensor | None]:
    if at.is_known(0):
        known = at.known(0)
        if known.size != 1:
            raise InvalidInput(f"its condition has {known.size} elements, not one")
        return at.body("then_branch" if bool(known.item()) else "else_branch")
    condition = at.value(0)
    if condition.type.dtype != "bool" or numel(condition.type.shape) != 1:
        raise InvalidGraph(f"its condition is {condition.type}, not one bool")
    switches = at.switches(0)
    advice = f"freeze what the condition is computed from: {freezing(switches)}" if switches else FROM_SHAPES
    results = selected(at, normal.reshape(at, condition, (), "condition"), advice)
    instead = f"; to have one, freeze its condition: {freezing(switches)}" if switches else ""
    logging.getLogger("graphopt").warning("%s: both branches of this If are computed each time%s", at.name, instead)
    return results


def selected(at: OnnxNode, condition: Value, advice: str) -> list[Tensor | None]:
    """The results of both branches, selected by a condition of no axes. Raises ``Unsupported`` where that may fail."""
    before = at.computed_before
    try:
        then, other = at.body("then_branch"), at.body("else_branch")
    except GraphoptError as error:
        found = f"{error.where}: {error.what}" if error.where else error.what
        what = f"its condition is computed by the model, and a branch cannot be: {found}"
        raise type(error)(what, why=error.why, advice=advice) from error
    if len(then) != len(other):
        raise InvalidInput(f"its branches have {len(then)} and {len(other)} results")
    results: list[Tensor | None] = []
    for index, (yes, no) in enumerate(zip(then, other, strict=True)):
        if yes is None or no is None:
            raise Unsupported("its condition is computed by the model, and a branch cannot be imported", advice=advice)
        if same(yes, no):
            results.append(yes)
            continue
        a, b = (x if isinstance(x, Value) else at.constant(plain(x, advice), "branch") for x in (yes, no))
        if a.type != b.type:
            types = f"{a.type} and {b.type} for result {index}"
            what = f"its condition is computed by the model, and its branches give {types}"
            raise Unsupported(what, advice=advice)
        for node in topological((a, b), after=before):
            if fails := FAILING.get(type(node.op), never)(node):
                what = f"its condition is computed by the model, and so would be the branch not taken: {fails}"
                raise Unsupported(what, why=f"at {node.name!r}", advice=advice)
        results.append(at.emit(ops.Where(), condition, a, b))
    return results


def same(a: Tensor, b: Tensor) -> bool:
    """Whether both branches give one and the same: the same value, or equal numbers."""
    if isinstance(a, Value) or isinstance(b, Value):
        return a is b
    return a.dtype == b.dtype and np.array_equal(a, b)


def plain(data: np.ndarray, advice: str) -> np.ndarray:
    if data.dtype == object:
        raise Unsupported("its condition is computed by the model, and its branches give sizes", advice=advice)
    return data


def never(node: Node) -> str | None:
    return None


def by_zero(node: Node) -> str | None:
    """Integers divided by what may be zero."""
    divisor = node.inputs[1]
    if divisor.type.is_float or (divisor.constant is not None and divisor.constant.all()):
        return None
    return "integers may be divided by zero"


def by_negative(node: Node) -> str | None:
    """Integers to a power that may be negative."""
    power = node.inputs[1]
    fine = node.inputs[0].type.is_float or (power.constant is not None and bool((power.constant >= 0).all()))
    return None if fine else "integers may be raised to a negative power"


def by_many(node: Node) -> str | None:
    """Shifts by what may be more than the bits there are."""
    count, bits = node.inputs[1].constant, 8 * np.dtype(node.inputs[0].type.dtype).itemsize
    fine = count is not None and bool(((count >= 0) & (count < bits)).all())
    return None if fine else "a shift may be by more than all bits"


def outside(node: Node) -> str | None:
    """Positions that come from data."""
    return None if node.inputs[1].constant is not None else "an index may be outside its axis"


FAILING: dict[type[Op], Callable[[Node], str | None]] = {
    ops.Div: by_zero,
    ops.Mod: by_zero,
    ops.Pow: by_negative,
    ops.ShiftLeft: by_many,
    ops.ShiftRight: by_many,
    ops.Gather: outside,
    ops.GatherElements: outside,
    ops.GatherNd: outside,
    ops.ScatterElements: outside,
    ops.ScatterNd: outside,
}
"""The operators that are not defined for all numbers, and what may befall them."""
