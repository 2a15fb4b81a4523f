"""From a float graph to the module that is trained: calibration, recovery, float weights for the integers."""

from __future__ import annotations

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.ir import Array, Graph, Value, integer_limits
from graphopt.ops import stored_bits
from graphopt.passes import Context, FoldBatchNorm, Quantize
from graphopt.passes.float_pipeline import float_pipeline
from graphopt.passes.quantize.form import Quantized, dequantized, rule_of
from graphopt.passes.quantize.unfuse import unfused
from graphopt.training.quantization.module import QuantizedModule

NEAR = 0.25
"""The largest initial distance of a float weight from its integer, in steps. Recovery does not round all weights to the
nearest integer; with a distance of half a step, the first steps of training would undo that."""


def quantized_module(
    graph: Graph, options: Quantize, learn_scales: bool = True, context: Context | None = None
) -> QuantizedModule:
    """A module to train, from a float graph. Untrained it computes what ``Quantize`` with these options gives.

    Batch norms are not folded; a norm after a layer goes into the scales of its weights when the module is lowered.
    Raises ``InvalidInput`` for binary weights of which some are zero, for grouped weights, and for mode dynamic.
    """
    context = context or Context()
    refused = {
        "weights of factors by group are not trained": "int4-grouped" in (options.weights, *options.overrides.values()),
        "scales of run time are not trained": options.mode != "static",
    }
    for what in (what for what, found in refused.items() if found):
        raise InvalidInput(what, where="quantization_aware", advice="weights of int8, int4 or binary, mode static")
    graph = unfused(graph, context, "quantization-aware")
    for pass_ in float_pipeline():
        if not isinstance(pass_, FoldBatchNorm):
            graph = pass_.run(graph, context)
    inserted = options.insert(graph, context)
    assert context.reference is not None
    return QuantizedModule(inserted, float_weights(inserted, context.reference), learn_scales)


def float_weights(graph: Graph, reference: Graph) -> dict[Value, Array]:
    """Float weights for each constant with integer weights, from the float graph whose nodes have the same names.

    Raises ``InvalidInput`` for binary weights of which some are zero.
    """
    originals, found = {reference.names[node]: node for node in reference.nodes}, dict[Value, Array]()
    for node in graph.nodes:
        rule, name = rule_of(node.op), graph.names[node]
        for position, _ in rule.weights if rule and name in originals else ():
            weight, floats = dequantized(node.inputs[position]), originals[name].inputs[position].constant
            if weight is None or weight.array is None or floats is None:
                continue
            if stored_bits(weight.array) == 1 and not floats.all():
                advice = f'give it weights of 4 bits: overrides={{"{name}": "int4"}}'
                raise InvalidInput("binary weights cannot be zero, and some are", where=name, advice=advice)
            found[weight.value] = next_to_integers(floats, weight)
    return found


def next_to_integers(floats: Array, weight: Quantized) -> Array:
    """Float weights, moved as little as needed to be rounded to the integers; zeros stay."""
    assert weight.array is not None
    bits, steps = stored_bits(weight.array), weight.array.astype(np.float64)
    column = [-1 if a == weight.axis else 1 for a in range(floats.ndim)] if weight.scale.ndim else ()
    scale, (low, high) = weight.scale.reshape(column), integer_limits(bits, narrow=True)
    if bits == 1:
        agree = np.where(floats < 0, -1, 1) == steps
        return np.where(agree, floats, NEAR * steps * scale).astype(floats.dtype)
    least = np.where(steps <= low, -np.inf, (steps - NEAR) * scale)
    most = np.where(steps >= high, np.inf, (steps + NEAR) * scale)
    return np.where(floats == 0, 0, np.clip(floats, least, most)).astype(floats.dtype)
