"""Integer sequences of the inputs of their steps: the gates of a step are computed into scratch just before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from graphopt.ir import Array, Value, arg
from graphopt.targets.forms import form_of
from graphopt.targets.instructions import products
from graphopt.targets.kernels.base import Frame, Kernel, Scratch, Task, kernel_rule
from graphopt.targets.kernels.dsp_recurrent import check_exact, state_products
from graphopt.targets.kernels.integer_recurrent import integer_kernel
from graphopt.targets.kernels.quantized import prove_no_overflow
from graphopt.targets.kernels.row_products import RowProducts, every_row
from graphopt.targets.stepwise import GATES, StepwiseSequence
from graphopt.targets.tir import Expr, Locals, Point, Tensor, cast, loop


@kernel_rule(StepwiseSequence)
def stepwise_kernel(task: Task[StepwiseSequence]) -> Kernel:
    """With its products written out."""
    return kernel_of(task, None, None)


@kernel_rule(StepwiseSequence, isa="dsp")
def stepwise_by_routine(task: Task[StepwiseSequence]) -> Kernel:
    """With its products by a routine."""
    weight, bias = folded_weights(task)
    check_exact(weight, bias)
    rows, depth = weight.shape
    states = state_products(task, task.op.sequence, operands_of(task))
    inputs = RowProducts("inputs", rows, depth, 1).scaled(weight, bias, InputGates(task, None).form)
    return kernel_of(task, states, inputs if depth >= products.BLOCK or inputs.scaling is not None else None)


def kernel_of(task: Task[StepwiseSequence], states: RowProducts | None, inputs: RowProducts | None) -> Kernel:
    operands, gates = operands_of(task), InputGates(task, inputs)
    return integer_kernel(task, task.op.sequence, operands, states, gates, task.inputs[1:5], task.op.last)


def operands_of(task: Task[StepwiseSequence]) -> tuple[Value, ...]:
    """Those of the sequence, the inputs in the place of the gates."""
    return task.inputs[0], *task.inputs[5:]


def folded_weights(task: Task[StepwiseSequence]) -> tuple[Array, Array]:
    """The weights of the inputs [rows, k], and their biases with the zero point folded in, int64 [rows]."""
    linear, weight, bias = task.op.linear, task.inputs[1].constant, task.inputs[2].constant
    assert weight is not None and bias is not None
    prove_no_overflow(linear, weight, bias, "int8", task.region.node.name)
    return weight, bias - linear.zero_point * weight.sum(axis=1, dtype=np.int64)


@dataclass(frozen=True)
class InputGates:
    """The gates of a step: the product of its input, row by row, requantized to 16 bits."""

    task: Task[StepwiseSequence]
    by: RowProducts | None

    @property
    def rows(self) -> int:
        return self.task.inputs[1].type.static_shape[0]

    @property
    def samples(self) -> int:
        return self.task.inputs[0].type.static_shape[0] // self.task.op.steps

    @property
    def form(self) -> Value | None:
        """The requantisation as the target has it."""
        return form_of(GATES, self.task.target, arg("acc", "int32", (1, self.rows)), *self.task.inputs[3:5]).result

    @property
    def scratch(self) -> Mapping[str, Scratch]:
        if self.by is not None and self.by.scaling is not None:
            return self.by.scratch
        return {"gates": Scratch("int16", self.rows), **(self.by.scratch if self.by else {})}

    @property
    def packed(self) -> Mapping[str, Array]:
        weight, bias = folded_weights(self.task)
        if self.by is not None and self.by.scaling is not None:
            return {self.by.name: self.by.stream(weight, bias)}
        numbers = self.task.inputs[3:5] if self.form is None else self.form.node.inputs[1:]
        named = {f"gate_scale{i}": every_row(v, self.rows) for i, v in enumerate(numbers)}
        if self.by is not None:
            return {self.by.name: self.by.stream(weight, bias), **named}
        return {"gate_weight": weight, "gate_bias": bias.astype(np.int32), **named}

    def tensor(self, frame: Frame) -> Tensor:
        shape = self.task.op.steps, self.samples, self.rows
        scaled = self.by is not None and self.by.scaling is not None
        gates = self.by.sums(frame) if self.by is not None and scaled else frame.scratch["gates"]
        return Tensor(gates.buffer, "int16", shape, (0, 0, 1))

    def clear(self, frame: Frame) -> None:
        """What no step writes."""
        if self.by is not None:
            self.by.clear(frame)

    def run(self, frame: Frame, t: Expr, n: Expr) -> None:
        x, depth = frame.tensors[self.task.inputs[0]], self.task.inputs[1].type.static_shape[1]
        sample = t * self.samples + n
        if self.by is not None:
            with loop("k", 0, depth) as k:
                self.by.bytes(frame).store(Point((k,)), x.load(Point((sample, k))))
            self.by.run(frame, 0)
            if self.by.scaling is not None:
                return
        op = GATES if self.form is None else self.form.op
        scales = [tensor for name, tensor in frame.packed.items() if name.startswith("gate_scale")]
        with loop("row", 0, self.rows) as row:
            acc = self.sum_of(frame, x, sample, row) if self.by is None else self.by.sums(frame).load(Point((row,)))
            gate = frame.scalar(op, acc, *(scale.load(Point((row,))) for scale in scales))
            frame.scratch["gates"].store(Point((row,)), gate)

    def sum_of(self, frame: Frame, x: Tensor, sample: Expr, row: Expr) -> Expr:
        acc = Locals("acc", 1, "int32")
        acc[0] = frame.packed["gate_bias"].load(Point((row,)))
        with loop("k", 0, self.task.inputs[1].type.static_shape[1]) as k:
            weight = cast(frame.packed["gate_weight"].load(Point((row, k))), "int32")
            acc[0] = acc[0] + cast(x.load(Point((sample, k))), "int32") * weight
        return acc[0]
