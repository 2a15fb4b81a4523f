"""The quantisers of QONNX, as Brevitas and QKeras write them: floats to the nearest of a grid, and still floats.

Quant(x, scale, zero point, bit width) is (clip(round(x / scale + zero point)) - zero point) * scale; see
https://github.com/fastmachinelearning/qonnx/tree/main/docs/qonnx-custom-ops. It becomes quantize and dequantize, or for
a constant its integers and a dequantize. Integers of fewer than 8 bits are int8 in narrower limits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphopt import ops
from graphopt.errors import InvalidInput, Unsupported
from graphopt.frontends.onnx.node import OnnxNode, onnx_rule
from graphopt.ir import Array, Value

DOMAINS = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")
ROUNDINGS = ("ROUND", "HALF_EVEN")
MOST_BITS = 16
"""Of data; constants, as biases, may have 32."""


@dataclass(frozen=True, eq=False)
class Grid:
    """What a Quant rounds to: scale and zero point, [] or [c] for the c channels of ``axis``, or of the rank of x."""

    scale: Array
    zero_point: Array
    axis: int
    low: int
    high: int
    dtype: str

    def integers(self, x: Array) -> Array:
        """The integers of a constant."""
        shape = tuple(-1 if a == self.axis else 1 for a in range(x.ndim)) if self.scale.ndim == 1 else self.scale.shape
        scale, zero = self.scale.reshape(shape), self.zero_point.reshape(shape)
        steps = np.rint((x / scale + zero).astype(x.dtype)).astype(np.float64)
        return np.asarray(np.clip(steps, self.low, self.high)).astype(self.dtype)

    @property
    def is_narrow(self) -> bool:
        """Whether the limits are not those of the dtype."""
        limits = np.iinfo(self.dtype)
        return (self.low, self.high) != (limits.min, limits.max)


def quantized(at: OnnxNode) -> Value:
    """A constant as integers, anything else clipped to the limits and quantized; dequantized."""
    grid = grid_of(at)
    scale, zero = at.constant(grid.scale, "scale"), at.constant(grid.zero_point, "zero_point")
    if at.is_known(0):
        q = at.derive(at.value(0), f"quantized by {at.name}", grid.integers)
    else:
        x = clipped(at, at.value(0), grid) if grid.is_narrow else at.value(0)
        q = at.emit(ops.Quantize(axis=grid.axis), x, scale, zero, part="quantize")
    return at.emit(ops.Dequantize(axis=grid.axis), q, scale, zero)


def clipped(at: OnnxNode, x: Value, grid: Grid) -> Value:
    """x between the reals of the limits, which round to the limits themselves."""
    low, high = ((limit - grid.zero_point.astype(np.float64)) * grid.scale for limit in (grid.low, grid.high))
    if not grid.scale.ndim:
        return at.emit(ops.Clip(low=float(low), high=float(high)), x, part="clip")
    shape = [-1 if a == grid.axis else 1 for a in range(x.type.rank)] if grid.scale.ndim == 1 else grid.scale.shape
    ends = [at.constant(end.reshape(shape).astype(x.type.dtype), "limits") for end in (low, high)]
    return at.emit(ops.Minimum(), at.emit(ops.Maximum(), x, ends[0], part="least"), ends[1], part="clip")


def grid_of(at: OnnxNode) -> Grid:
    """The grid of a Quant. Raises ``Unsupported`` for one that integers of up to 32 bits do not have."""
    rounding = at.text("rounding_mode", "ROUND").upper()
    if rounding not in ROUNDINGS:
        raise Unsupported(f"rounding mode {rounding}", advice="quantize with ROUND")
    bits, signed, narrow = bit_width(at), bool(at.whole("signed", 1)), bool(at.whole("narrow", 0))
    low, high = (narrow - (1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1 - narrow)
    if low == high:
        raise Unsupported("a grid of one number", why=f"{bits} bits, narrow", advice="use BipolarQuant")
    dtype = "int32" if bits > MOST_BITS else f"{'' if signed else 'u'}int{8 if bits <= 8 else 16}"
    axis, scale, zero = parameters(at)
    limits = np.iinfo(dtype)
    if not np.all((zero == np.rint(zero)) & (zero >= limits.min) & (zero <= limits.max)):
        raise Unsupported(
            "a zero point that is no integer of its width", advice="quantize with zero points of integers"
        )
    return Grid(scale, zero.astype(dtype), axis, low, high, dtype)


def bit_width(at: OnnxNode) -> int:
    width = at.known(3).reshape(-1)
    if width.size != 1 or not 1 <= width[0] < np.inf or width[0] != int(width[0]):
        raise InvalidInput(f"its bit width is {width.tolist()}", advice="it must be one positive integer")
    bits, most = int(width[0]), 32 if at.is_known(0) and at.whole("signed", 1) else MOST_BITS
    if bits > most:
        raise Unsupported(f"{bits} bits", why=f"{most} are the most here")
    return bits


def parameters(at: OnnxNode) -> tuple[int, Array, Array]:
    """The axis, the scale in the dtype of x, and the zero point: by tensor, by channel of one axis, or of x's rank.

    Raises ``InvalidInput`` where they do not fit x, or x is a constant of other than finite numbers.
    """
    x = at.tensor(0)
    shape = x.type.shape if isinstance(x, Value) else x.shape
    if not at.dtype(0).startswith("float"):
        raise InvalidInput(f"it quantizes {at.dtype(0)}, not floats")
    if not isinstance(x, Value) and not np.isfinite(x).all():
        raise InvalidInput("it quantizes a constant that has elements NaN or infinite")
    given = at.known(1).astype(at.dtype(0))
    offset = at.known(2) if at.has(2) else np.zeros_like(given)
    if 1 not in (given.size, offset.size) and given.shape != offset.shape:
        raise InvalidInput(f"scales of shape {given.shape} and zero points of shape {offset.shape}")
    scale, zero = np.broadcast_arrays(given, offset)
    if not np.all((scale > 0) & np.isfinite(scale)):
        raise InvalidInput("its scales must be positive and finite")
    if scale.size == 1:
        return 0, scale.reshape(()), zero.reshape(())
    full = (1,) * (len(shape) - scale.ndim) + scale.shape
    axes = [axis for axis, size in enumerate(full) if size > 1]
    if len(full) != len(shape) or any(full[a] != shape[a] for a in axes):
        raise InvalidInput(f"scales of shape {scale.shape} for a tensor of shape {shape}")
    if len(axes) == 1:
        return axes[0], scale.reshape(-1), zero.reshape(-1)
    return 0, scale.reshape(full), zero.reshape(full)


def quant(at: OnnxNode) -> Value:
    """One signed bit is a sign, as QONNX has it."""
    return bipolar(at) if bit_width(at) == 1 and at.whole("signed", 1) else quantized(at)


def bipolar(at: OnnxNode) -> Value:
    """The signs of x, that of zero being 1, times the scale."""
    axis, scale, zero = parameters(at)
    if zero.any():
        raise Unsupported("one bit with a zero point")
    by = at.constant(scale, "scale")
    if at.is_known(0):
        q = at.derive(at.value(0), f"signs by {at.name}", lambda x: np.where(x >= 0, 1, -1).astype(np.int8))
        return at.emit(ops.Dequantize(axis=axis), q, by, at.constant(zero.astype(np.int8), "zero_point"))
    if scale.ndim:
        raise Unsupported("signs of data with a scale by channel", advice="give them one scale")
    return at.emit(ops.Binarize(), at.value(0), by)


for domain in DOMAINS:
    onnx_rule(f"{domain}:Quant", f"{domain}:IntQuant", folded=False)(quant)
    onnx_rule(f"{domain}:BipolarQuant", folded=False)(bipolar)
