"""Integer recurrent sequences: products as in ``recurrent``, then the arithmetic of ``integer_cells``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphopt.errors import Unsupported
from graphopt.ir import Array, Op, Value, arg
from graphopt.ops import GruSequenceInteger, IntegerSequence, LstmSequenceInteger, RnnSequenceInteger, overflowing
from graphopt.targets.forms import form_of
from graphopt.targets.kernels.base import Frame, Kernel, Task, kernel_rule
from graphopt.targets.kernels.integer_cells import EMITTERS, SATURATED, Means, StepGates, means_of
from graphopt.targets.kernels.recurrent import ACCUMULATORS
from graphopt.targets.kernels.row_products import RowProducts, every_row
from graphopt.targets.lookup import RuleChoice
from graphopt.targets.schedule import channel_segments


@kernel_rule(LstmSequenceInteger, GruSequenceInteger, RnnSequenceInteger)
def integer_sequence_kernel(task: Task[IntegerSequence]) -> Kernel:
    """The kernel of an integer sequence with constant weights and biases.

    Raises ``Unsupported`` for others, and if an accumulator may overflow.
    """
    return integer_kernel(task, task.op, task.inputs)


def recurrent_weights(task: Task[Op], op: IntegerSequence, operands: Sequence[Value]) -> tuple[Array, Array]:
    """The weights [gates * hidden, hidden] and the biases [gates * hidden] of the products with the state.

    Raises ``Unsupported`` if they are not constant, and if an accumulator may overflow.
    """
    rv = operands[1]
    if task.region.epilogue or task.region.tail is not None:
        raise Unsupported(f"{op.name} with operators fused behind it", advice="its result is its state")
    _, _, biases, _ = op.split(operands)
    weights = rv.constant
    late = [b.constant for b in biases if b.constant is not None]
    if weights is None or len(late) < len(biases):
        raise Unsupported(f"{op.name} whose weights or bias are computed at run time", where=task.region.node.name)
    hidden = weights.shape[1]
    bias = np.concatenate([np.zeros(len(weights) - hidden * len(late)), *late])
    if (row := overflowing(weights, bias, "int8")) is not None:
        what = f"the accumulator of row {row} may overflow"
        raise Unsupported(what, where=task.region.node.name, advice="keep this layer in float32")
    return weights, bias.astype(np.int64)


def integer_kernel(
    task: Task[Op],
    op: IntegerSequence,
    operands: Sequence[Value],
    by: RowProducts | None = None,
    inputs: StepGates | None = None,
    absorbed: tuple[Value, ...] = (),
    last: bool = False,
    means: Means | None = None,
) -> Kernel:
    """The kernel of an integer sequence of these operands.

    Its products with the state are written out here, or go ``by`` a routine. Its gates are an operand, or are computed
    of its ``inputs`` step by step. With ``last``, the result keeps one hidden state.
    """
    means = means or means_of(task.target.codegen)
    weights, bias = recurrent_weights(task, op, operands)
    segments = channel_segments(weights.shape[1], task.target.lanes, max(1, ACCUMULATORS // op.gates))
    scales = op.split(operands)[0]
    form: RuleChoice[Value] = form_of(SATURATED, task.target, arg("acc", "int32", (1, len(weights))), *scales)
    by = None if by is None else by.scaled(weights, bias, form.result)
    packed = {"recurrent": means.pack(weights, op.gates, segments) if by is None else by.stream(weights, bias)}
    if form.result is not None and (by is None or by.scaling is None):
        packed |= {f"scale{i}": every_row(v, len(weights)) for i, v in enumerate(form.result.node.inputs[1:])}
    scratch = {} if by is None else dict(by.scratch)
    if inputs is not None:
        packed, scratch = {**packed, **inputs.packed}, {**scratch, **inputs.scratch}

    def emit(frame: Frame) -> None:
        frame.tell(SATURATED, form)
        EMITTERS[type(op)](op, frame, segments, operands, form, means, by, inputs, last).emit()

    replaced = (operands[1], *absorbed) if form.result is None else (operands[1], *absorbed, *scales)
    return Kernel(op.name, emit, packed, replaced, scratch=scratch)
