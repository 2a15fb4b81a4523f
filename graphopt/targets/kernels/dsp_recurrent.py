"""Integer recurrent sequences on cores with DSP: a routine multiplies a state in 8 bits by the weights of all gates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphopt.ir import Array, Op, Value
from graphopt.ops import GruSequenceInteger, IntegerSequence, LstmSequenceInteger, RnnSequenceInteger
from graphopt.rewrite import Decline
from graphopt.targets.instructions import products
from graphopt.targets.kernels.base import Kernel, Task, kernel_rule
from graphopt.targets.kernels.integer_recurrent import integer_kernel, recurrent_weights
from graphopt.targets.kernels.row_products import RowProducts


@kernel_rule(LstmSequenceInteger, GruSequenceInteger, RnnSequenceInteger, isa="dsp")
def sequence_by_routine(task: Task[IntegerSequence]) -> Kernel:
    """A sequence whose gates are all of one state."""
    return integer_kernel(task, task.op, task.inputs, state_products(task, task.op, task.inputs))


def state_products(task: Task[Op], op: IntegerSequence, operands: Sequence[Value]) -> RowProducts:
    """The products with the state by the routine; raises ``Decline`` where it does not give them, or not exactly."""
    if isinstance(op, GruSequenceInteger) and not op.linear_before_reset:
        raise Decline("a gate multiplies the state after its reset")
    weights, bias = recurrent_weights(task, op, operands)
    check_exact(weights, bias)
    rows, hidden = weights.shape
    return RowProducts("recurrent", rows, hidden, task.region.head.type.static_shape[1])


def check_exact(weights: Array, bias: Array) -> None:
    """Raise ``Decline`` unless the routine is exact for these weights and biases, whatever int8 they multiply."""
    if weights.min(initial=0) < products.LEAST_WEIGHT:
        raise Decline(f"a weight is below {products.LEAST_WEIGHT}")
    most = (np.abs(weights.astype(np.int64)).sum(axis=1) * 128 + np.abs(bias)).max(initial=0)
    if most > products.MOST_SUM:
        raise Decline(f"its sums may need more than {32 - products.FACTOR_BITS} bits")
