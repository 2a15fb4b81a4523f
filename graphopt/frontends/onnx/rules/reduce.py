"""The rules of the ONNX operators that reduce along axes, pick extremes, or add up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphopt import ops
from graphopt.frontends import normal
from graphopt.frontends.emit import cast, emit
from graphopt.frontends.onnx.node import OnnxNode, onnx_rule
from graphopt.ir import Value

Map = Callable[[OnnxNode, Value], Value]


def reduction(
    op: type[ops.Reduction], before: Map | None = None, after: Map | None = None
) -> Callable[[OnnxNode], Value]:
    """The rule of a reduction; without axes it is over all of them, unless the model says otherwise."""

    def rule(at: OnnxNode) -> Value:
        x, (axes, keep) = at.value(0), settings(at)
        dtype = x.type.dtype
        if dtype == "bool":
            x = cast(at, x, "int32", "number")
        if before is not None:
            x = before(at, x)
        x = reduce(at, op, x, axes, keep, whole=after is None and dtype != "bool")
        return cast(at, x if after is None else after(at, x), dtype)

    return rule


def settings(at: OnnxNode) -> tuple[Sequence[int], bool]:
    """The axes and whether they stay."""
    axes = at.integers("axes", 1)
    if not axes:
        axes = [] if at.flag("noop_with_empty_axes") else list(range(at.value(0).type.rank))
    return axes, at.flag("keepdims")


def reduce(at: OnnxNode, op: type[ops.Reduction], x: Value, axes: Sequence[int], keep: bool, whole: bool) -> Value:
    """A reduction; ``whole`` says that it alone makes the node."""
    if not axes:
        return x
    return at.emit(op(axes=normal.axes_of(axes, x.type.rank), keepdims=keep), x, part="" if whole else "reduce")


def square(at: OnnxNode, x: Value) -> Value:
    return at.emit(ops.Mul(), x, x, part="square")


def magnitude(at: OnnxNode, x: Value) -> Value:
    return at.emit(ops.Abs(), x, part="magnitude")


def root(at: OnnxNode, x: Value) -> Value:
    """The square root; of integers, rounded down."""
    if x.type.is_float:
        return at.emit(ops.Sqrt(), x)
    return at.emit(ops.Sqrt(), cast(at, x, "float64", "wide"), part="root")


def logarithm(at: OnnxNode, x: Value) -> Value:
    return at.emit(ops.Log(), x)


onnx_rule("ReduceMean")(reduction(ops.ReduceMean))
onnx_rule("ReduceSum")(reduction(ops.ReduceSum))
onnx_rule("ReduceMax")(reduction(ops.ReduceMax))
onnx_rule("ReduceMin")(reduction(ops.ReduceMin))
onnx_rule("ReduceProd")(reduction(ops.ReduceProd))
onnx_rule("ReduceL1")(reduction(ops.ReduceSum, before=magnitude))
onnx_rule("ReduceL2")(reduction(ops.ReduceSum, before=square, after=root))
onnx_rule("ReduceSumSquare")(reduction(ops.ReduceSum, before=square))
onnx_rule("ReduceLogSum")(reduction(ops.ReduceSum, after=logarithm))


@onnx_rule("ReduceLogSumExp")
def log_sum_exp(at: OnnxNode) -> Value:
    """max + log(sum(exp(x - max))), with a finite maximum so that infinities stay what they are."""
    x, (axes, keep) = at.value(0), settings(at)
    if not axes:
        return x
    over = normal.axes_of(axes, x.type.rank)
    top = at.emit(ops.ReduceMax(axes=over), x, part="max")
    top = at.emit(ops.Clip(low=-LARGEST[x.type.dtype], high=LARGEST[x.type.dtype]), top, part="finite")
    inner = at.emit(ops.Exp(), at.emit(ops.Sub(), x, top, part="shifted"), part="exp")
    inner = at.emit(ops.ReduceSum(axes=over, keepdims=keep), inner, part="sum")
    kept = inner.type.shape
    return at.emit(ops.Add(), at.emit(ops.Log(), inner, part="log"), normal.reshape(at, top, kept, "shift"))


LARGEST = {"float16": 65504.0, "float32": 3.4028234663852886e38, "float64": 1.7976931348623157e308}


def extreme(op: type[ops.ArgMax] | type[ops.ArgMin]) -> Callable[[OnnxNode], Value]:
    def rule(at: OnnxNode) -> Value:
        x = at.value(0)
        axis = normal.axis_of(at.whole("axis"), x.type.rank)
        keep, last = at.flag("keepdims"), at.flag("select_last_index")
        return at.emit(op(axis=axis, keepdims=keep, last=last), x)

    return rule


onnx_rule("ArgMax")(extreme(ops.ArgMax))
onnx_rule("ArgMin")(extreme(ops.ArgMin))


def running(op: type[ops.CumSum] | type[ops.CumProd]) -> Callable[[OnnxNode], Value]:
    def rule(at: OnnxNode) -> Value:
        x = at.value(0)
        axis = normal.axis_of(int(at.known(1).item()), x.type.rank)
        exclusive, reverse = at.flag("exclusive"), at.flag("reverse")
        return at.emit(op(axis=axis, exclusive=exclusive, reverse=reverse), x)

    return rule


onnx_rule("CumSum")(running(ops.CumSum))
onnx_rule("CumProd")(running(ops.CumProd))


@onnx_rule("TopK")
def top_k(at: OnnxNode) -> Sequence[Value]:
    x = at.value(0)
    k = int(at.known(1).item()) if at.opset >= 10 else at.whole("k")
    axis = normal.axis_of(at.whole("axis"), x.type.rank)
    return at.emit_all(ops.TopK(k=k, axis=axis, largest=bool(at.whole("largest", 1))), x)


@onnx_rule("GlobalLpPool")
def global_lp_pool(at: OnnxNode) -> Value:
    """The p-norm over all spatial axes."""
    x, p = at.value(0), at.whole("p")
    axes = tuple(range(2, x.type.rank))
    powered = powers(at, x, p)
    return rooted(at, at.emit(ops.ReduceSum(axes=axes), powered, part="sum"), p)


def powers(at: OnnxNode, x: Value, p: int) -> Value:
    """|x|^p."""
    if p == 2:
        return square(at, x)
    size = magnitude(at, x)
    return size if p == 1 else emit(at, ops.Pow(), size, p, part="power")


def rooted(at: OnnxNode, x: Value, p: int) -> Value:
    """x^(1/p)."""
    if p == 2:
        return at.emit(ops.Sqrt(), x)
    return x if p == 1 else emit(at, ops.Pow(), x, 1 / p)
