"""What kernels of quantized tensors share: widening, zero points, and the proof that accumulators do not overflow."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphopt.errors import Unsupported
from graphopt.ir import Array
from graphopt.ops import IntegerProduct, overflowing
from graphopt.targets.tir import Expr, cast


def widened(x: Expr, zero_point: int = 0, *, dtype: str) -> Expr:
    """An element in the dtype of the accumulator, centred on its zero point; floats as they are."""
    wide = cast(x, dtype)
    return wide - zero_point if zero_point else wide


def zero_point_of(op: Any) -> int:
    """The zero point of what a product or a sum reads; 0 for the forms on reals."""
    return int(getattr(op, "zero_point", 0))


def folded_zero_point(op: Any, weight: Array, bias: Array, padded: bool) -> tuple[Array, int]:
    """The bias with the zero point in it, and the zero point that the loops then still subtract.

    Without padding every window sums all its weights, so b + sum (x - z) w = (b - z sum w) + sum x w.
    """
    zero = zero_point_of(op)
    if not zero or padded:
        return bias, zero
    total = weight.reshape(len(weight), -1).sum(axis=1, dtype=np.int64)
    return (bias - zero * total).astype(bias.dtype), 0


def prove_no_overflow(op: Any, weight: Array, bias: Array, dtype: str, where: str) -> None:
    """Raise ``Unsupported`` unless no partial sum of an integer product can leave its accumulator."""
    if isinstance(op, IntegerProduct) and (channel := overflowing(weight, bias, dtype)) is not None:
        what = f"the accumulator of channel {channel} may overflow"
        raise Unsupported(what, where=where or None, advice="keep this layer in float32")
