"""Whether the samples of a batch are independent, so that a batch may be cut into several runs."""

from __future__ import annotations

from graphopt.ir import Batch, Constant, Graph, Input, Node, Trait
from graphopt.ops import (
    ArgReduction,
    Concat,
    Cumulative,
    Fused,
    Gather,
    LayerNorm,
    Reduction,
    Slice,
    Softmax,
    Split,
    TopKIndices,
    Transpose,
)


def samples_apart(graph: Graph) -> bool:
    """Whether N is the first axis of every input and output, and no operator mixes or reorders samples.

    It is false in doubt, such as for an unknown operator.
    """
    ports = (*graph.inputs, *graph.outputs)
    return all(v.type.rank > 0 and isinstance(v.type.shape[0], Batch) for v in ports) and body_apart(graph)


def body_apart(graph: Graph) -> bool:
    types = [t for node in graph.nodes for t in node.types]
    leading = not any(isinstance(d, Batch) for t in types for d in t.shape[1:])
    return leading and all(node_apart(node) for node in graph.nodes)


def node_apart(node: Node) -> bool:
    """Whether one operator keeps samples independent, given that N is only ever the first axis."""
    if not any(isinstance(d, Batch) for v in node.inputs for d in v.type.shape):
        return True
    match node.op:
        case Reduction(axes=axes):
            return 0 not in axes
        case Softmax(axis=axis) | TopKIndices(axis=axis):
            return axis % node.inputs[0].type.rank != 0
        case Concat(axis=axis) | Slice(axis=axis) | Split(axis=axis) | ArgReduction(axis=axis) | Cumulative(axis=axis):
            return axis != 0
        case Gather(axis=axis):
            # along axis 0 it may pick other samples, but from a table it does not
            return axis != 0 or not any(isinstance(d, Batch) for d in node.inputs[0].type.shape)
        case LayerNorm():
            return node.inputs[1].type.rank < node.inputs[0].type.rank
        case Transpose(perm=perm):
            return perm[0] == 0
        case Fused(body=body):
            return body_apart(body)
    return isinstance(node.op, Constant | Input) or Trait.PER_SAMPLE in node.op.traits
