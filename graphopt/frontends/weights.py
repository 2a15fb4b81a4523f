"""Weights are finite numbers: a NaN or an infinity in one makes NaNs of whatever the operator gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from graphopt import ops
from graphopt.errors import InvalidInput
from graphopt.ir import Array, Graph, Node, Op, Value

WEIGHTED: tuple[type[Op], ...] = (
    ops.BatchNorm,
    ops.Conv,
    ops.ConvTranspose,
    ops.Dequantize,
    ops.LayerNorm,
    ops.Linear,
    ops.MatMul,
    ops.Quantize,
    ops.Recurrent,
    ops.RecurrentSequence,
)
"""The operators that multiply or divide by constants. To others infinities may be data, as in masks and limits."""


def require_finite_weights(graph: Graph) -> None:
    """Raise ``InvalidInput``, with the name of the weight and of the node, if a weight holds a NaN or an infinity."""
    for node in graph.nodes:
        for weight in weights(node):
            if (bad := not_finite(weight)) is not None:
                count, first = int(bad.sum()), tuple(np.argwhere(bad)[0].tolist())
                raise InvalidInput(
                    f"weight {graph.names[weight.node]!r} has {count:,} of {bad.size:,} elements NaN or infinite",
                    where=f"{graph.names[node]} ({node.op.name})",
                    why=f"the first is at {first}",
                    advice="the results would be NaN: take a checkpoint from before training diverged, or export again",
                )


def weights(node: Node, given: Mapping[Value, Value] | None = None) -> Iterator[Value]:
    """The constant operands of a weighted operator; those of a fused one are operands of its body.

    ``given`` has what stands for the inputs of a body.
    """
    operands = [(given or {}).get(v, v) for v in node.inputs]
    if isinstance(node.op, ops.Fused):
        inner = dict(zip(node.op.body.inputs, operands, strict=True))
        for part in node.op.body.nodes:
            yield from weights(part, inner)
    elif isinstance(node.op, WEIGHTED):
        yield from (v for v in operands if v.constant is not None)


def not_finite(weight: Value) -> Array | None:
    """Where the elements of a constant are NaN or infinite; None if nowhere."""
    if weight.constant is None or not weight.type.is_float:
        return None
    finite = np.isfinite(weight.constant)
    return None if finite.all() else np.logical_not(finite)
