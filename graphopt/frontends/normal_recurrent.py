"""The normal form of recurrent layers: time first, biases always there, zero initial states left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphopt import ops
from graphopt.frontends import normal
from graphopt.frontends.build import Scope
from graphopt.ir import TensorType, Value


def is_zero(x: Value | None) -> bool:
    """Whether an initial state is left out, or zeros spread to its shape."""
    while x is not None and isinstance(x.op, ops.Expand | ops.Reshape | ops.Transpose):
        x = x.node.inputs[0]
    return x is None or (x.constant is not None and not x.constant.any())


def states(at: Scope, given: Sequence[Value | None], state: TensorType) -> list[Value]:
    """The initial states: none where all are zero, else every one of the type ``state``."""
    if all(is_zero(s) for s in given):
        return []
    zero = at.constant(np.zeros((1,) * state.rank, state.dtype), "zero")
    return [normal.expand(at, zero, state.shape, "state") if s is None else s for s in given]


def layer(
    at: Scope, op: ops.Recurrent, x: Value, w: Value, r: Value, bias: Value | None, given: Sequence[Value | None]
) -> tuple[Value, ...]:
    """The results of a layer on x [t, n, i]: y [t, d, n, h], then the last states [d, n, h]."""
    d, rows, hidden = r.type.static_shape
    if bias is None:
        bias = at.constant(np.zeros((d, 2 * rows), r.type.dtype), "bias")
    state = x.type.with_shape((d, x.type.shape[1], hidden))
    return at.emit_all(op, x, w, r, bias, *states(at, given, state))
