"""Common parts of kernels of quantized tensors: widening, zero points, and proofs against overflow."""

from __future__ import annotations

import numpy as np

from graphopt.errors import Unsupported
from graphopt.ir import Array, Op
from graphopt.ops import IntegerProduct, overflowing
from graphopt.rewrite import Decline
from graphopt.targets.tir import Expr, cast


def widened(x: Expr, zero_point: int = 0, *, dtype: str) -> Expr:
    """An element minus its zero_point, in the dtype of the accumulator; floats do not change."""
    wide = cast(x, dtype)
    return wide - zero_point if zero_point else wide


def zero_point_of(op: Op) -> int:
    """The zero_point of the input of a product or a sum; 0 for float operators."""
    return int(getattr(op, "zero_point", 0))


def folded_zero_point(op: Op, weight: Array, bias: Array, padded: bool) -> tuple[Array, int]:
    """The bias with the zero_point folded in, and the zero_point that the loops must still subtract.

    Without padding every window sums all its weights, so b + sum (x - z) w = (b - z sum w) + sum x w.
    """
    zero = zero_point_of(op)
    if not zero or padded:
        return bias, zero
    total = weight.reshape(len(weight), -1).sum(axis=1, dtype=np.int64)
    return (bias - zero * total).astype(bias.dtype), 0


def prove_no_overflow(op: Op, weight: Array, bias: Array, dtype: str, where: str) -> None:
    """Raise ``Unsupported`` if a partial sum of an integer product could overflow its accumulator."""
    if isinstance(op, IntegerProduct) and (channel := overflowing(weight, bias, dtype)) is not None:
        what = f"the accumulator of channel {channel} may overflow"
        raise Unsupported(what, where=where or None, advice="keep this layer in float32")


def folded_bias(weight: Array, bias: Array, zero_point: int, dtype: str) -> Array:
    """The bias of sums that take elements as they are; raises ``Decline`` if these may need more than 32 bits."""
    limits, magnitudes = np.iinfo(dtype), np.abs(weight.reshape(len(weight), -1).astype(np.int64)).sum(axis=1)
    folded = bias - zero_point * weight.reshape(len(weight), -1).sum(axis=1, dtype=np.int64)
    if not limits.min <= zero_point <= limits.max:
        raise Decline("its zero point is no element")
    if (np.abs(folded) + magnitudes * max(-limits.min, limits.max)).max() >= 1 << 31:
        raise Decline("sums without the zero point may need more than 32 bits")
    return np.asarray(folded.astype(np.int32))
