"""The fused operator: a small graph that is compiled as one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from graphopt.ir import Array, Graph, Op, Sampler, TensorType, Value, arg, bind_batch, cast_floats, evaluate, expect
from graphopt.ops.elementwise import Neg, Relu
from graphopt.ops.macs import macs_of

__all__ = ["Fused"]


class Fused(Op, name="fused"):
    """Applies the graph ``body``: operand i is input i of the body, and the only output of the body is the result.

    The first computing node of the body is the anchor; the others are its epilogue, elementwise on its result.
    """

    body: Graph

    def infer(self, *inputs: TensorType) -> TensorType:
        wanted = tuple(v.type for v in self.body.inputs)
        expect(inputs == wanted, f"operands {', '.join(map(str, inputs))} for a body of {', '.join(map(str, wanted))}")
        expect(len(self.body.outputs) == 1, "the body of a fused operator has one output")
        return self.body.outputs[0].type

    def macs(self, inputs: Sequence[TensorType], results: Sequence[TensorType]) -> int:
        return sum(macs_of(node) for node in self.body.nodes)

    def evaluate(self, *inputs: Array) -> Array:
        return evaluate(self.body, inputs)[0]

    def decompose(self, *inputs: Value) -> tuple[Value, ...]:
        values = dict(zip(self.body.inputs, inputs, strict=True))
        for node in self.body.nodes:
            if node.results[0] not in values:
                made = node.op.apply(*(values[v] for v in node.inputs), name=node.name, origins=node.origins)
                values.update(zip(node.results, made.results, strict=True))
        return tuple(values[v] for v in self.body.outputs)

    def bind(self, batch: int) -> Self:
        return type(self)(body=bind_batch(self.body, batch))

    def with_float_dtype(self, dtype: str) -> Self:
        return type(self)(body=cast_floats(self.body, dtype))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if not x.type.is_float:
            return None
        inner = arg("x", x.type.dtype, x.type.shape)
        return cls(body=Graph((inner,), (Relu()(Neg()(inner)),)))(x)
