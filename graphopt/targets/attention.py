"""Attention as one operator: two products of run-time operands, with a softmax between them.

A row of the last product needs the same row alone of all before it, so a band of rows goes through all of them before
the next one: its scores stay in the cache, and those of a whole layer are never in memory. Each element is computed as
it was, so results have the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from graphopt.ir import Array, Graph, Op, TensorType, Trait
from graphopt.ops import Fused, MatMul, MatMulInteger
from graphopt.ops.macs import macs_of


class Attention(Op):
    """The nodes of ``body`` in bands of rows, one node after the other in each; their operators are fused ones.

    Operand i is input i of the body. The last node is a matrix product [*batch, rows, n] whose left operand is computed
    of another one. It stands in graphs that are lowered for LLVM, and has therefore no name in the text form.
    """

    name: ClassVar[str] = "attention"
    traits = Trait.PRODUCT

    body: Graph

    def infer(self, *inputs: TensorType) -> TensorType:
        return self.body.outputs[0].type

    def macs(self, inputs: Sequence[TensorType], results: Sequence[TensorType]) -> int:
        return sum(macs_of(node) for node in self.body.nodes)

    def evaluate(self, *inputs: Array) -> Array:
        return Fused(body=self.body).evaluate(*inputs)


PRODUCTS = (MatMul, MatMulInteger)
"""Of two operands that are computed at run time."""
BY_STRIDES = (*PRODUCTS, Attention)
"""The operators whose kernels read operands, and write results, of any strides."""
