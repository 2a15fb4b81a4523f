"""Matrix products."""

from __future__ import annotations

import tflite

from graphopt import ops
from graphopt.errors import InvalidInput, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.tflite.node import TfliteNode, activated, reshaped, tflite_rule
from graphopt.ir import Value, numel


@tflite_rule("FULLY_CONNECTED")
def fully_connected(at: TfliteNode) -> Value:
    """By weights [o, k]; the input is a matrix of rows of k, unless its axes are kept."""
    options, x = at.options("FullyConnectedOptions"), at.real(0)
    if options.WeightsFormat() != tflite.FullyConnectedOptionsWeightsFormat.DEFAULT:
        raise Unsupported("weights in shuffled order", advice="convert the model without that optimization")
    weight = at.weight(1, (0, 1))
    out, depth = weight.type.static_shape
    if options.KeepNumDims() and x.type.shape[-1] != depth:
        raise InvalidInput(f"{x.type} for weights of {depth} columns")
    if x.type.rank != 2 and not options.KeepNumDims():
        x = reshaped(at, x, (normal.quotient(numel(x.type.shape), depth), depth))
    y = normal.linear(at, x, weight, at.bias(2, 1, out))
    return activated(at, y, options.FusedActivationFunction())
