"""The rules of quantisation and of operators on integers: standard ONNX operators, the same integers to the bit.

ConvInteger and MatMulInteger take bytes, here unsigned ones on both sides: engines that multiply unsigned by signed
bytes in pairs may saturate, which those of equal sign do not. Numbers of 16 bits are two bytes, the sums of the upper
counting 256 times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphopt import ops
from graphopt.errors import Unsupported
from graphopt.exporters.onnx.rule import At, export_parts, export_rule, filled, onnx_dtype
from graphopt.ir import Array, Node, Op, Value
from graphopt.ops.quantized import Quantization

Product = Callable[[str, str, str, str], str]
"""An ONNX product of unsigned bytes: (x, w, zero point of x, zero point of w) -> sums of int32."""


@export_parts(ops.Quantize, ops.Dequantize)
def arithmetic(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    """For parameters of every element, floats that ONNX does not quantize, zero points of int32."""
    x, scale, zero = inputs
    real = x if isinstance(node.op, ops.Quantize) else scale
    wide = x.type.dtype == "int32" and (zero.constant is None or bool(zero.constant.any()))
    if scale.type.rank > 1 or real.type.dtype != "float32" or wide:
        return node.op.decompose(*inputs)
    return None


WIDER: dict[type[Op], tuple[str, tuple[str, ...]]] = {
    ops.Maximum: ("int32", ("int8", "uint8", "int16")),
    ops.Minimum: ("int32", ("int8", "uint8", "int16")),
    ops.Where: ("int32", ("int8", "int16")),
    ops.ReduceMax: ("int32", ("int16",)),
    ops.ReduceMin: ("int32", ("int16",)),
    ops.MaxPool: ("float32", ("int16",)),
    ops.Resize: ("int32", ("int16",)),
}
"""The wider dtype by which operators are written that ONNX Runtime does not have for the narrow ones."""


@export_parts(*WIDER)
def in_wider_dtype(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    wide, narrow = WIDER[type(node.op)]
    dtype = node.types[0].dtype
    if dtype not in narrow:
        return None
    y = node.op(*(ops.Cast(to=wide)(v) if v.type.dtype == dtype else v for v in inputs))
    return (ops.Cast(to=dtype)(y),)


@export_rule(ops.Quantize, ops.Dequantize)
def quantization(op: Quantization, at: At) -> None:
    kind = "QuantizeLinear" if isinstance(op, ops.Quantize) else "DequantizeLinear"
    at.result(kind, *at.inputs, axis=op.axis)


def as_bytes(at: At, index: int, zero_point: int) -> list[tuple[str, str, int]]:
    """An operand as unsigned bytes: tensor, zero point and weight of each byte, the upper one first."""
    dtype, x = at.types[index].dtype, at.input(index)
    if dtype == "uint8":
        return [(x, at.constant(zero_point, "uint8"), 1)]
    if dtype == "int8":
        return [(shifted(at, x), at.constant(zero_point + 128, "uint8"), 1)]
    wide = at.emit("Add", at.emit("Cast", x, to=onnx_dtype("int32")), at.constant(1 << 15, "int32"))
    upper = at.emit("Div", wide, at.constant(256, "int32"))
    lower = at.emit("Sub", wide, at.emit("Mul", upper, at.constant(256, "int32")))
    zero = zero_point + (1 << 15)
    return [
        (at.emit("Cast", part, to=onnx_dtype("uint8")), at.constant(z, "uint8"), factor)
        for part, z, factor in ((upper, zero >> 8, 256), (lower, zero & 255, 1))
    ]


def shifted(at: At, x: str) -> str:
    """int8 plus 128, as uint8."""
    wide = at.emit("Add", at.emit("Cast", x, to=onnx_dtype("int32")), at.constant(128, "int32"))
    return at.emit("Cast", wide, to=onnx_dtype("uint8"))


def unsigned(w: Array) -> Array:
    return (w.astype(np.int16) + 128).astype(np.uint8)


def summed(at: At, x: list[tuple[str, str, int]], w: list[tuple[str, str, int]], product: Product) -> str:
    """The products of all bytes, added up; in int64 if there are several."""
    total = ""
    for x_byte, x_zero, x_factor in x:
        for w_byte, w_zero, w_factor in w:
            sums = product(x_byte, w_byte, x_zero, w_zero)
            if len(x) * len(w) > 1:
                sums = at.emit("Cast", sums, to=onnx_dtype("int64"))
                sums = at.emit("Mul", sums, at.constant(x_factor * w_factor))
            total = at.emit("Add", total, sums, part="bytes") if total else sums
    return total


def refuse_overflow(at: At, terms: int, of: str) -> None:
    """The sums of each byte must fit int32."""
    if terms * 255 >= 1 << 31:
        raise Unsupported(f"{of} with sums beyond int32 of single bytes", where=at.name)


@export_rule(ops.LinearInteger)
def linear(op: ops.LinearInteger, at: At) -> None:
    weight = at.derived(1, "unsigned", lambda w: np.transpose(unsigned(w)))
    if weight is None:
        weight = at.emit("Transpose", shifted(at, at.input(1)), perm=(1, 0))
    w = [(weight, at.constant(128, "uint8"), 1)]
    refuse_overflow(at, weight_sum(at), op.name)
    sums = summed(at, as_bytes(at, 0, op.zero_point), w, lambda *v: at.emit("MatMulInteger", *v))
    at.result("Add", sums, at.input(2))


def weight_sum(at: At) -> int:
    """A bound of what the weights of a channel add up to."""
    weight = at.node.inputs[1].constant
    terms = math.prod(at.types[1].static_shape[1:])
    if weight is None:
        return 128 * terms
    return int(np.abs(weight.astype(np.int64)).reshape(len(weight), -1).sum(axis=1).max(initial=0))


@export_rule(ops.MatMulInteger)
def matmul(op: ops.MatMulInteger, at: At) -> None:
    depth = at.types[0].shape[-1]
    refuse_overflow(at, 255 * depth if isinstance(depth, int) else 1 << 31, op.name)
    operands = as_bytes(at, 0, op.a_zero_point), as_bytes(at, 1, op.b_zero_point)
    at.result("Identity", summed(at, *operands, lambda *v: at.emit("MatMulInteger", *v)))


@export_rule(ops.ConvInteger)
def conv(op: ops.ConvInteger, at: At) -> None:
    weight = at.derived(1, "unsigned", unsigned) or shifted(at, at.input(1))
    attributes = {k: v for k, v in filled(op).items() if k != "zero_point"}
    refuse_overflow(at, weight_sum(at), op.name)
    biased(at, windows(at, as_bytes(at, 0, op.zero_point), weight, 128, at.types[1].static_shape[2:], attributes))


def windows(
    at: At,
    x: list[tuple[str, str, int]],
    weight: str,
    zero: int,
    kernel: tuple[int, ...],
    attributes: dict[str, Any],
) -> str:
    def product(*operands: str) -> str:
        return at.emit("ConvInteger", *operands, kernel_shape=kernel, **attributes)

    return summed(at, x, [(weight, at.constant(zero, "uint8"), 1)], product)


def biased(at: At, sums: str) -> None:
    """Sums [n, c, *s] plus the bias [c]."""
    column = (-1, *[1] * (at.types[0].rank - 2))
    at.result("Add", sums, at.derived(2, "column", lambda b: b.reshape(column)) or reshaped(at, at.input(2), column))


def reshaped(at: At, x: str, shape: tuple[int, ...]) -> str:
    return at.emit("Reshape", x, at.constant(shape))


@export_rule(ops.ConvTransposeInteger)
def conv_transpose(op: ops.ConvTransposeInteger, at: At) -> None:
    """A convolution by the mirrored kernel over the elements of x spread out by the strides, zero points between."""
    window, kernel = op.window(at.types[1]), at.types[1].static_shape[2:]
    weight = at.derived(1, "mirrored", lambda w: unsigned(mirrored(w, op.group)))
    if weight is None:
        raise Unsupported("a transposed convolution of integers by weights that are computed", where=at.name)
    refuse_overflow(at, 128 * math.prod(at.types[1].static_shape) // op.group, op.name)
    extra = op.output_padding or (0,) * window.rank
    before = [window.extent[a] - 1 - window.pads[a] for a in range(window.rank)]
    # behind the last element the strides have put zero points already
    after = [window.extent[a] - window.strides[a] - window.pads[a + window.rank] + extra[a] for a in range(window.rank)]
    pads = at.constant([0, 0, *before, 0, 0, *after])
    x = [
        (at.emit("Pad", dilated(at, byte, zero, window.strides), pads, zero), zero, factor)
        for byte, zero, factor in as_bytes(at, 0, op.zero_point)
    ]
    biased(at, windows(at, x, weight, 128, kernel, {"group": op.group, "dilations": window.dilations}))


def mirrored(w: Array, group: int) -> Array:
    """Weights [c, o / group, *k] of a transposed convolution as those of a convolution, [o, c / group, *k]."""
    parts = w.reshape(group, len(w) // group, *w.shape[1:]).swapaxes(1, 2)
    flat = parts.reshape(group * w.shape[1], len(w) // group, *w.shape[2:])
    return np.flip(flat, axis=tuple(range(2, w.ndim)))


def dilated(at: At, x: str, zero: str, strides: tuple[int, ...]) -> str:
    """x [n, c, *s] with so many zero points behind each element that they lie ``strides`` apart."""
    n, c, *sizes = at.types[0].shape
    static = at.types[0].with_shape(sizes).static_shape
    apart = at.emit("Reshape", x, at.shape([n, c, *(d for size in static for d in (size, 1))]))
    ends = [0, 0, *(p for stride in strides for p in (0, stride - 1))]
    apart = at.emit("Pad", apart, at.constant([0] * len(ends) + ends), zero)
    return at.emit("Reshape", apart, at.shape([n, c, *(d * s for d, s in zip(static, strides, strict=True))]))


@export_rule(ops.SumPool)
def sum_pool(op: ops.SumPool, at: At) -> None:
    """A convolution of each channel by ones."""
    (channels,) = at.types[0].with_shape(at.types[0].shape[1:2]).static_shape
    attributes = {k: v for k, v in filled(op).items() if k not in ("zero_point", "kernel")}
    ones = at.constant(np.ones((channels, 1, *op.kernel)), "uint8")
    sums = windows(at, as_bytes(at, 0, op.zero_point), ones, 0, op.kernel, {"group": channels, **attributes})
    at.result("Identity", sums)


@export_rule(ops.WeightedSum)
def weighted_sum(op: ops.WeightedSum, at: At) -> None:
    dtype = at.node.types[0].dtype
    terms = [
        at.emit("Mul", at.emit("Cast", at.input(i), to=onnx_dtype(dtype)), at.constant(factor, dtype))
        for i, factor in enumerate(op.factors)
    ]
    total = terms[0]
    for term in terms[1:]:
        total = at.emit("Add", total, term)
    at.result("Add", total, at.constant(op.offset, dtype))


@export_rule(ops.MulInteger)
def mul_integer(op: ops.MulInteger, at: At) -> None:
    dtype = at.node.types[0].dtype
    centred = [
        at.emit("Sub", at.emit("Cast", at.input(i), to=onnx_dtype(dtype)), at.constant(zero, dtype))
        for i, zero in enumerate((op.a_zero_point, op.b_zero_point))
    ]
    at.result("Mul", *centred)


@export_rule(ops.IntegerSqrt)
def integer_sqrt(op: ops.IntegerSqrt, at: At) -> None:
    root = at.emit("Sqrt", at.emit("Cast", at.input(0), to=onnx_dtype("float64")))
    at.result("Cast", root, to=onnx_dtype("int64"))


@export_rule(ops.Requantize)
def requantize(op: ops.Requantize, at: At) -> None:
    """In int64, the floors by way of the remainder, which has the sign of the divisor; powers of two by table."""
    acc, factor, shift = (at.emit("Cast", x, to=onnx_dtype("int64")) for x in at.inputs)
    powers = at.constant(1 << np.arange(63, dtype=np.int64))
    half = at.emit("Gather", powers, at.emit("Sub", shift, at.constant(1)))
    if at.types[0].dtype == "int32":
        y = floored(at, at.emit("Add", at.emit("Mul", acc, factor), half), at.emit("Gather", powers, shift))
    else:
        # as in the evaluator, the lower 16 bits only carry into the product of the upper ones
        word = at.constant(1 << 16)
        low = at.emit("Mod", acc, word)
        high = at.emit("Div", at.emit("Sub", acc, low), word)
        carry = floored(at, at.emit("Add", at.emit("Mul", low, factor), half), word)
        rest = at.emit("Gather", powers, at.emit("Sub", shift, at.constant(16)))
        y = floored(at, at.emit("Add", at.emit("Mul", high, factor), carry), rest)
    y = at.emit("Cast", at.emit("Add", y, at.constant(op.zero_point)), to=onnx_dtype("float64"))
    # Clip, Min and Max of ONNX Runtime 1.31 were seen to let int64 beyond 32 bits through; those of float64 were not
    y = at.emit("Clip", y, at.constant(op.low, "float64"), at.constant(op.high, "float64"))
    at.result("Cast", y, to=onnx_dtype(op.to))


def floored(at: At, x: str, divisor: str) -> str:
    """floor(x / divisor) of int64."""
    return at.emit("Div", at.emit("Sub", x, at.emit("Mod", x, divisor)), divisor)


@export_rule(ops.Lookup)
def lookup(op: ops.Lookup, at: At) -> None:
    place = at.emit("Cast", at.input(0), to=onnx_dtype("int64"))
    lowest = int(np.iinfo(at.types[0].dtype).min)
    at.result("Gather", at.input(1), at.emit("Sub", place, at.constant(lowest)) if lowest else place)
