"""Products of a row of 8 bits with the weights of all gates, by a routine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from tvm import tirx

from graphopt.ir import Array, Value
from graphopt.rewrite import Decline
from graphopt.targets.instructions import Instruction, products
from graphopt.targets.instructions.dsp_few import MOST_ELEMENTS, TURN, few_routine, words_of
from graphopt.targets.instructions.dsp_few import stream as few_stream
from graphopt.targets.kernels.base import Frame, Scratch
from graphopt.targets.kernels.scaling import OneShift, shifted_up, with_shift
from graphopt.targets.requantize import RequantizeUpper
from graphopt.targets.tir import Expr, Point, Tensor, loop


@dataclass(frozen=True)
class RowProducts:
    """The products of 8 bits with the weights of all gates, by a routine: of states or inputs of ``batch`` samples.

    ``name`` is in those of its constants and its scratch, but for the sums, which states and inputs have one after the
    other. With ``scaling`` they are requantized by the routine, to int16, and kept apart.
    """

    name: str
    rows: int
    depth: int
    batch: int
    scaling: Array | None = None

    @property
    def routine(self) -> Instruction:
        return products.SUM_ROW if self.scaling is None else products.SCALE_ROW

    def scaled(self, weights: Array, bias: Array, form: Value | None) -> RowProducts:
        """With the requantisation by a routine, if it has this form, and if it can be exact there."""
        if form is None or not isinstance(form.node.op, RequantizeUpper):
            return self
        numbers = np.stack([every_row(v, self.rows) for v in form.node.inputs[1:]], axis=1).astype(np.int64)
        most = np.abs(weights.astype(np.int64)).sum(axis=1) * 128 + np.abs(bias)
        bounds = np.stack([-most, most], axis=1)
        if self.depth <= MOST_ELEMENTS and self.batch == 1:
            shared = with_shift(numbers, bounds, int(numbers[:, 2].max()))
            if shared is not None:
                return FewProducts(self.name, self.rows, self.depth, 1, shared.numbers, shared)
        try:
            return replace(self, scaling=shifted_up(numbers, bounds, products.FACTOR_BITS, "int16"))
        except Decline:
            return self

    @property
    def blocks(self) -> int:
        return -(-self.depth // products.BLOCK)

    @property
    def groups(self) -> int:
        return -(-self.rows // self.routine.lanes)

    @property
    def results(self) -> str:
        """The scratch of the sums."""
        return "sums" if self.scaling is None else f"{self.name}_scaled"

    @property
    def scratch(self) -> Mapping[str, Scratch]:
        """What is multiplied, filled up to blocks; one sample of it expanded; the sums of all rows."""
        return {
            f"{self.name}_bytes": Scratch("int8", self.batch * self.blocks * products.BLOCK),
            f"{self.name}_window": Scratch("int32", 2 * self.blocks),
            self.results: Scratch("int32" if self.scaling is None else "int16", self.groups * self.routine.lanes),
        }

    def bytes(self, frame: Frame) -> Tensor:
        return frame.scratch[f"{self.name}_bytes"]

    def sums(self, frame: Frame) -> Tensor:
        return frame.scratch[self.results]

    def stream(self, weights: Array, bias: Array) -> Array:
        scaling = np.zeros((self.rows, 0), np.int32) if self.scaling is None else self.scaling
        return products.stream(weights, bias, scaling, self.routine.lanes)

    def place(self, n: Expr, c: Expr) -> Point:
        return Point((n * (self.blocks * products.BLOCK) + c,))

    def clear(self, frame: Frame) -> None:
        with loop("i", 0, self.bytes(frame).shape[0]) as i:
            self.bytes(frame).store(Point((i,)), tirx.const(0, "int8"))

    def run(self, frame: Frame, n: Expr) -> None:
        """The sums of all rows, of the sample n."""
        window = frame.scratch[f"{self.name}_window"].at(0)
        products.EXPAND_WORDS.run(window, self.bytes(frame).at(*self.place(n, 0).index), self.blocks)
        weights, sums = frame.packed[self.name].at(0), self.sums(frame).at(0)
        self.routine.run(window, weights, sums, self.blocks, self.groups)


@dataclass(frozen=True)
class FewProducts(RowProducts):
    """Of so few elements that they stay in registers, with one shift of all rows."""

    shared: OneShift | None = None

    @property
    def routine(self) -> Instruction:
        assert self.shared is not None
        return few_routine(words_of(self.depth), self.shared.shift)

    @property
    def scratch(self) -> Mapping[str, Scratch]:
        return {
            f"{self.name}_bytes": Scratch("int8", 2 * words_of(self.depth)),
            self.results: Scratch("int16", self.turns * TURN),
        }

    @property
    def turns(self) -> int:
        return -(-self.rows // TURN)

    def stream(self, weights: Array, bias: Array) -> Array:
        assert self.shared is not None
        up = self.shared.up
        return few_stream(weights.astype(np.int64) << up[:, None], bias << up, self.shared.numbers[:, :2])

    def run(self, frame: Frame, n: Expr) -> None:
        operands = self.bytes(frame), frame.packed[self.name], self.sums(frame)
        self.routine.run(*(operand.at(0) for operand in operands), self.turns)


def every_row(value: Value, rows: int) -> Array:
    """A constant of the rows of a product, one number or as many."""
    assert value.constant is not None
    return np.broadcast_to(value.constant, (rows,))
