"""Quantization parameters: which real number an integer stands for. Observers, passes and kernels share this object."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from graphopt.errors import InvalidGraph
from graphopt.ir.op import Array

MIN_SCALE = float(np.finfo(np.float32).tiny)
"""The smallest normal float32: the scale of an empty range, whose integer is 0."""


def integer_limits(bits: int, narrow: bool = False) -> tuple[int, int]:
    """The lowest and highest signed integer of ``bits`` bits; ``narrow`` leaves out the lowest, for symmetry."""
    if bits == 1:
        return -1, 1
    return -(1 << (bits - 1)) + narrow, (1 << (bits - 1)) - 1


@dataclass(frozen=True, eq=False)
class QParams:
    """real = (integer - zero_point) * scale, with integers in the limits of ``bits``.

    ``scale`` is a float32 array, [] for a tensor or [c] for the c channels of ``axis``. ``zero_point`` has the same
    shape and the dtype in which the integers are stored: int8 for 1 to 8 bits, int16 for more.
    """

    scale: Array
    zero_point: Array
    bits: int = 8
    axis: int | None = None

    def __post_init__(self) -> None:
        if self.scale.shape != self.zero_point.shape or self.scale.ndim != (self.axis is not None):
            raise InvalidGraph(f"a scale of shape {self.scale.shape} for axis {self.axis}")
        if not np.all((self.scale > 0) & np.isfinite(self.scale)):
            raise InvalidGraph("scales must be positive and finite", why=f"they are {self.scale}")

    @property
    def dtype(self) -> str:
        """The dtype that stores the integers."""
        return storage_dtype(self.bits)

    def columns(self, rank: int) -> tuple[Array, Array]:
        """Scale and zero point in the shape in which they broadcast to a tensor of that rank."""
        shape = tuple(-1 if a == self.axis else 1 for a in range(rank)) if self.axis is not None else ()
        return self.scale.reshape(shape), self.zero_point.reshape(shape)

    def quantize(self, x: Array) -> Array:
        """saturate(round(x / scale) + zero_point), halves to even, as in ONNX."""
        scale, zero = self.columns(x.ndim)
        low, high = integer_limits(self.bits, narrow=self.axis is not None)
        steps = np.rint(x.astype(np.float32) / scale).astype(np.float64) + zero
        return np.asarray(np.clip(steps, low, high)).astype(self.dtype)

    def dequantize(self, q: Array) -> Array:
        """The float32 numbers that integers stand for."""
        scale, zero = self.columns(q.ndim)
        return np.asarray((q.astype(np.int32) - zero).astype(np.float32) * scale)

    def __str__(self) -> str:
        kind = f"int{self.bits}"
        if self.axis is not None:
            return f"{kind} per channel of axis {self.axis}, scales {self.scale.min():.3g} to {self.scale.max():.3g}"
        return f"{kind}, scale {float(self.scale):.6g}, zero point {int(self.zero_point)}"


def storage_dtype(bits: int) -> str:
    return "int8" if bits <= 8 else "int16"


def asymmetric(low: float, high: float, bits: int = 8) -> QParams:
    """Per-tensor parameters for reals in [low, high] and 0; 0 is represented exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    least, most = integer_limits(bits)
    scale = np.float32(max((high - low) / (most - least), MIN_SCALE))
    zero = int(np.clip(np.rint(least - low / float(scale)), least, most))
    return QParams(np.asarray(scale), np.asarray(zero, storage_dtype(bits)), bits)


def symmetric(magnitude: Array | float, bits: int = 8, axis: int | None = None) -> QParams:
    """Parameters with zero_point 0 for reals in [-magnitude, magnitude]: one number, or one per channel of ``axis``."""
    most = integer_limits(bits)[1]
    scale = np.maximum(np.asarray(magnitude, np.float64) / most, MIN_SCALE).astype(np.float32)
    return QParams(scale, np.zeros(scale.shape, storage_dtype(bits)), bits, axis)


def fixed_point(ratio: float) -> tuple[int, int]:
    """A real ratio as (m, t) with ratio = m / 2^t: the multiplier and the shift of ``requantize``.

    2^30 <= |m| < 2^31 and 1 <= t <= 62; below 2^-32 m has fewer bits. Raises ``InvalidGraph`` if |ratio| >= 2^29.
    """
    if not math.isfinite(ratio) or abs(ratio) >= 2.0**29:
        raise InvalidGraph(f"a ratio of {ratio} between scales", why="2^29 is too much")
    _, exponent = math.frexp(ratio)
    shift = min(31 - exponent, 62) if ratio else 31
    multiplier = round(math.ldexp(ratio, shift))
    if abs(multiplier) == 1 << 31:
        multiplier, shift = multiplier // 2, shift - 1
    return multiplier, shift
