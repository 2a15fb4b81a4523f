"""Reductions along axes, which are constant."""

from __future__ import annotations

from graphopt import ops
from graphopt.errors import Unsupported
from graphopt.frontends import normal
from graphopt.frontends.emit import cast
from graphopt.frontends.tflite.node import RANK, TO_FIRST, TfliteNode, tflite_rule
from graphopt.ir import Value

REDUCTIONS: dict[str, type[ops.Reduction]] = {
    "MEAN": ops.ReduceMean,
    "REDUCE_MAX": ops.ReduceMax,
    "REDUCE_MIN": ops.ReduceMin,
    "REDUCE_PROD": ops.ReduceProd,
    "SUM": ops.ReduceSum,
}
KEPT = ("REDUCE_MAX", "REDUCE_MIN")
"""The reductions that give one of their elements."""


@tflite_rule(*REDUCTIONS, layout="either")
def reduce(at: TfliteNode) -> Value:
    keep, rank = bool(at.options("ReducerOptions").KeepDims()), at.rank(0)
    axes = normal.axes_of(at.integers(1), rank)
    if not keep and not in_order(rank, axes):
        at.first = False
    (x,) = at.kept(0) if at.op in KEPT else [at.real(0)]
    if at.op == "MEAN" and not x.type.is_float:
        raise Unsupported(f"a mean of {x.type.dtype}", advice="cast it to float32 before")
    return normal.reduce(at, REDUCTIONS[at.op], x, [at.axis(a, rank) for a in axes], keep)


def in_order(rank: int, axes: tuple[int, ...]) -> bool:
    """Whether the axes that are left are in the order of the file with channels in front, too."""
    left = [a for a in TO_FIRST if a not in axes]
    return rank != RANK or left == sorted(left)


@tflite_rule("REDUCE_ANY", "REDUCE_ALL")
def reduce_bools(at: TfliteNode) -> Value:
    op = ops.ReduceMax if at.op == "REDUCE_ANY" else ops.ReduceMin
    keep, x = bool(at.options("ReducerOptions").KeepDims()), cast(at, at.raw(0), "uint8", "number")
    return cast(at, normal.reduce(at, op, x, at.integers(1), keep), "bool")


@tflite_rule("ARG_MAX", "ARG_MIN")
def arg_extreme(at: TfliteNode) -> Value:
    """Of what is stored: integers are in the order of what they stand for."""
    x, (axis,) = at.raw(0), at.integers(1)
    kind = ops.ArgMax if at.op == "ARG_MAX" else ops.ArgMin
    y = at.emit(kind(axis=normal.axis_of(axis, x.type.rank), keepdims=False), x, part="place")
    return cast(at, y, at.outputs[0].dtype)


@tflite_rule("CUMSUM", layout="either")
def cumulative_sum(at: TfliteNode) -> Value:
    options, x, (axis,) = at.options("CumsumOptions"), at.real(0), at.integers(1)
    op = ops.CumSum(
        axis=at.axis(axis, x.type.rank), exclusive=bool(options.Exclusive()), reverse=bool(options.Reverse())
    )
    return at.emit(op, x)
