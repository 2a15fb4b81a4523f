"""The rules of ``quantized_decomposed``: how programs that torchao quantized say quantize and dequantize."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphopt import ops
from graphopt.errors import Unsupported
from graphopt.frontends import normal
from graphopt.frontends.torch.node import AtenNode, aten_rule
from graphopt.ir import Array, Value
from graphopt.ops.quantized import STORED

NAMESPACE = "quantized_decomposed"


def known(parameter: Any, dtype: str) -> Array:
    """A scale or zero point, a number or a constant tensor."""
    if isinstance(parameter, Value):
        if parameter.constant is None:
            raise Unsupported("a scale or zero point that is computed", advice="quantize statically")
        parameter = parameter.constant
    data = np.asarray(parameter)
    return data.reshape(()).astype(dtype) if data.size == 1 else data.astype(dtype)


def parameters(at: AtenNode, scale: Any, zero: Any, dtype: str) -> tuple[Value, Value]:
    s = known(scale, "float32")
    z = np.zeros(s.shape, dtype) if zero is None else known(zero, dtype)
    return at.constant(s, "scale"), at.constant(z, "zero_point")


def quantized(at: AtenNode, x: Value, scale: Any, zero: Any, axis: int, low: int, high: int) -> Value:
    """Limits within those of the dtype clip the reals that they stand for."""
    if at.dtype not in STORED:
        raise Unsupported(f"quantisation to {at.dtype}", advice=f"use one of {', '.join(STORED)}")
    s, z = parameters(at, scale, zero, at.dtype)
    limits = np.iinfo(at.dtype)
    if (low, high) != (limits.min, limits.max):
        if s.type.rank:
            raise Unsupported(f"quantisation by channel to [{low}, {high}]")
        step, origin = float(known(scale, "float32")), int(known(zero, "int64"))
        x = normal.clip(at, x, (low - origin) * step, (high - origin) * step)
    return at.emit(ops.Quantize(axis=axis if s.type.rank else 1), at.cast(x, "float32"), s, z)


def dequantized(at: AtenNode, x: Value, scale: Any, zero: Any, axis: int) -> Value:
    s, z = parameters(at, scale, zero, x.type.dtype)
    y = at.emit(ops.Dequantize(axis=axis if s.type.rank else 1), x, s, z)
    return at.cast(y, at.dtype)


@aten_rule("quantize_per_tensor.default", "quantize_per_tensor.tensor", "quantize_per_tensor.tensor2", of=NAMESPACE)
def quantize(at: AtenNode, x: Value, scale: Any, zero: Any, low: Any, high: Any, dtype: Any) -> Value:
    return quantized(at, x, scale, zero, 1, int(known(low, "int64")), int(known(high, "int64")))


@aten_rule("quantize_per_channel.default", of=NAMESPACE)
def quantize_channels(
    at: AtenNode, x: Value, scales: Value, zeros: Value, axis: int, low: int, high: int, dtype: Any
) -> Value:
    return quantized(at, x, scales, zeros, normal.axis_of(axis, x.type.rank), low, high)


@aten_rule(
    "dequantize_per_tensor.default", "dequantize_per_tensor.tensor", "dequantize_per_tensor.tensor2", of=NAMESPACE
)
def dequantize(
    at: AtenNode, x: Value, scale: Any, zero: Any, low: Any, high: Any, dtype: Any, out_dtype: Any = None
) -> Value:
    return dequantized(at, x, scale, zero, 1)


@aten_rule("dequantize_per_channel.default", of=NAMESPACE)
def dequantize_channels(
    at: AtenNode,
    x: Value,
    scales: Value,
    zeros: Value | None,
    axis: int,
    low: int,
    high: int,
    dtype: Any,
    out: Any = None,
) -> Value:
    return dequantized(at, x, scales, zeros, normal.axis_of(axis, x.type.rank))
