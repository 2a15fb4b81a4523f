"""Which constants of a graph of quantize and dequantize are trained, and what their parameters mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from graphopt.ir import Array, Graph, Node, Value, bind_batch, integer_limits
from graphopt.ops import Binarize, Dequantize, Quantize, stored_bits
from graphopt.passes.quantize.masks import asks_for_mask
from graphopt.training.quantization.parameters import LearnedScale, Master, Relative

Arrays = Mapping[Value, Array]
"""Arrays by the constants of a graph that they belong to."""


@dataclass(frozen=True, eq=False)
class Forms:
    """The meaning of each parameter, by the constant of the graph that it replaces. It never changes."""

    masters: Mapping[Value, Master]
    steps: Mapping[Value, LearnedScale]
    others: Mapping[Value, Relative]

    @classmethod
    def of(
        cls, graph: Graph, weights: Mapping[Value, Array], others: Mapping[Value, Array], learn_scales: bool
    ) -> Forms:
        """For a graph with float ``weights`` for its integer constants, and ``others``, which are float constants."""
        masters = masters_of(graph, weights)
        steps = steps_of(graph, masters) if learn_scales else {}
        fixed = operands_beside_masks(graph)
        return cls(masters, steps, {v: Relative.of(data) for v, data in others.items() if v not in fixed})

    def reals(self, tensors: Mapping[Value, Tensor]) -> dict[Value, Tensor]:
        """The constants of the graph, from the tensors of a module; integers are floats with integer values."""
        found = dict(tensors)
        forms: dict[Value, LearnedScale | Relative] = {**self.steps, **self.others}
        found |= {value: form.real(found[value]) for value, form in forms.items()}
        for value, master in self.masters.items():
            found[value] = master.integers(found[value], found[master.scale])
        return found

    def parameters(self, weights: Arrays, others: Arrays) -> dict[Value, Array]:
        """The initial parameters."""
        found = {v: np.zeros_like(step.initial) for v, step in self.steps.items()}
        found |= {v: form.parameter(others[v]) for v, form in self.others.items()}
        return found | {v: master.form.parameter(weights[v]) for v, master in self.masters.items()}

    def __deepcopy__(self, memo: dict[int, Any]) -> Forms:
        return self


def masters_of(graph: Graph, weights: Mapping[Value, Array]) -> dict[Value, Master]:
    """The masters of the integer weights; each has as many bits as its integers need."""
    found = {}
    for node in graph.nodes:
        if isinstance(node.op, Dequantize) and node.inputs[0] in weights:
            value, scale, _ = node.inputs
            assert value.constant is not None
            floats, bits = weights[value], stored_bits(value.constant)
            kept = np.ones_like(floats) if bits == 1 else (floats != 0).astype(floats.dtype)
            found[value] = Master(Relative.of(floats), scale, bits, node.op.axis, kept)
    return found


def steps_of(graph: Graph, masters: Mapping[Value, Master]) -> dict[Value, LearnedScale]:
    """The scales that are learned: of trained weights, and of activations with at most 8 bits.

    The scales of inputs stay, since devices quantize their data by them. With 16 bits there is nothing to gain. Values
    that are compared with a mask keep their scale, since the mask is a number that was computed from it.
    """
    kept = {scale for v in graph.inputs for node in graph.uses[v] if (scale := quantized_by(node))}
    kept |= {scale for v in operands_beside_masks(graph) if (scale := quantized_by(v.node))}
    found: dict[Value, LearnedScale] = {}
    for node, small in zip(graph.nodes, bind_batch(graph, 1).nodes, strict=True):
        scale, bits = quantized_by(node), bits_of(node, masters)
        if scale is not None and bits is not None and scale not in found and scale not in kept:
            assert scale.constant is not None
            elements = math.prod(small.inputs[0].type.static_shape) // scale.constant.size
            found[scale] = LearnedScale(scale.constant, elements, integer_limits(bits)[1])
    return found


def quantized_by(node: Node) -> Value | None:
    """The constant scale that a node quantizes or dequantizes by."""
    if not isinstance(node.op, Quantize | Dequantize | Binarize):
        return None
    scale = node.inputs[1]
    return None if scale.constant is None else scale


def bits_of(node: Node, masters: Mapping[Value, Master]) -> int | None:
    """The bits of the integers whose scale a node reads; None if that scale is not learned."""
    match node.op:
        case Binarize():
            return 1
        case Quantize() if node.types[0].dtype == "int8":
            return 8
        case Dequantize() if node.inputs[0] in masters:
            return masters[node.inputs[0]].bits
    return None


def operands_beside_masks(graph: Graph) -> set[Value]:
    """Both operands of the nodes that compare values with a mask."""
    return {v for node in graph.nodes if asks_for_mask(node) for v in node.inputs}
