"""Reductions and running totals."""

from __future__ import annotations

from graphopt import ops
from graphopt.exporters.onnx.rule import At, export_rule
from graphopt.ops.reduction import ArgReduction, Cumulative

REDUCTIONS: dict[type[ops.Reduction], str] = {
    ops.ReduceMax: "ReduceMax",
    ops.ReduceMean: "ReduceMean",
    ops.ReduceMin: "ReduceMin",
    ops.ReduceProd: "ReduceProd",
    ops.ReduceSum: "ReduceSum",
}


@export_rule(*REDUCTIONS)
def reduction(op: ops.Reduction, at: At) -> None:
    """Without axes it is the operand, as in the graph: ONNX would take all."""
    if not op.axes:
        at.result("Identity", at.input(0))
        return
    at.result(REDUCTIONS[type(op)], at.input(0), at.constant(op.axes), keepdims=int(op.keepdims))


@export_rule(ops.ArgMax, ops.ArgMin)
def arg_reduction(op: ArgReduction, at: At) -> None:
    kind = "ArgMax" if isinstance(op, ops.ArgMax) else "ArgMin"
    at.result(kind, at.input(0), axis=op.axis, keepdims=int(op.keepdims), select_last_index=int(op.last))


@export_rule(ops.CumSum)
def cum_sum(op: ops.CumSum, at: At) -> None:
    at.result("CumSum", at.input(0), at.constant(op.axis), exclusive=int(op.exclusive), reverse=int(op.reverse))


@export_rule(ops.CumProd)
def cum_prod(op: Cumulative, at: At) -> None:
    """In log2(n) steps, each a product with itself moved along the axis, ones moving in. The opset has no CumProd."""
    x_type = at.types[0]
    size = x_type.with_shape((x_type.shape[op.axis],)).static_shape[0]
    one = at.constant(1, x_type.dtype)

    def moved(x: str, by: int) -> str:
        """x moved by so many places, toward the end of the axis or (in reverse) its start."""
        start, stop = (by, size) if op.reverse else (0, size - by)
        before, after = [0] * x_type.rank, [0] * x_type.rank
        (after if op.reverse else before)[op.axis] = by
        cut = at.emit("Slice", x, at.constant([start]), at.constant([stop]), at.constant([op.axis]))
        return at.emit("Pad", cut, at.constant([*before, *after]), one)

    y, step = moved(at.input(0), 1) if op.exclusive and size else at.input(0), 1
    while step < size:
        y = at.emit("Mul", y, moved(y, step))
        step *= 2
    at.result("Identity", y)
