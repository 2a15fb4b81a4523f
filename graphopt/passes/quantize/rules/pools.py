"""Sums of integers minus their zero_point; for means, requantize divides by the number of elements."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Node, Value
from graphopt.ops import AveragePool, ReduceMean, ReduceSum, Reshape, SumPool
from graphopt.passes.quantize.form import Operand, Wanted, centred, integer_rule, quantized, requantized
from graphopt.rewrite import Decline


@integer_rule(AveragePool, activates=True)
def average_pool(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    """If padding does not count, positions at the border have their own ratios."""
    x, op = quantized(operands[0], "its input"), node.op
    assert isinstance(op, AveragePool)
    window = op.window()
    sums = SumPool(**{k: v for k, v in vars(op).items() if k != "count_include_pad"}, zero_point=x.zero_point)
    count = np.asarray(float(np.prod(window.kernel)))
    if any(window.pads) and not op.count_include_pad:
        spatial = node.inputs[0].type.with_shape(node.inputs[0].type.shape[2:]).static_shape
        inside = window.view(np.ones((1, 1, *spatial)), 0.0)
        count = np.asarray(inside.sum(axis=tuple(range(-window.rank, 0)))[0, 0])
    acc = sums(x.value, name=f"{node.name or op.name}.sum", origins=node.origins)
    return requantized(acc, x.scale / (count * wanted.scale), wanted, node)


@integer_rule(ReduceMean, ReduceSum, activates=True)
def reduction(node: Node, operands: tuple[Operand, ...], wanted: Wanted) -> Value:
    """A sum or mean; over the whole plane it is one pooling."""
    x, op, kind = quantized(operands[0], "its input"), node.op, node.inputs[0].type
    assert isinstance(op, ReduceMean | ReduceSum)
    sizes = [kind.shape[a] for a in op.axes]
    static = [s for s in sizes if isinstance(s, int)]
    if len(static) < len(sizes):
        raise Decline("it sums over the batch")
    count = int(np.prod(static))
    if count * x.steps >= 1 << 31:
        raise Decline(f"a sum of {count} elements may overflow")
    name = f"{node.name or op.name}.sum"
    if kind.rank > 2 and op.axes == tuple(range(2, kind.rank)):
        acc = SumPool(kernel=tuple(static), zero_point=x.zero_point)(x.value, name=name, origins=node.origins)
    else:
        acc = ReduceSum(axes=op.axes)(centred(x), name=name, origins=node.origins)
    y = requantized(acc, x.scale / ((count if isinstance(op, ReduceMean) else 1) * wanted.scale), wanted, node)
    return y if op.keepdims else Reshape(shape=node.types[0].shape)(y, name=node.name, origins=node.origins)
