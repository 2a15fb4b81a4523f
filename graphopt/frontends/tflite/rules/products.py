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
    fixed = at.held(1).known is not None
    weight = at.weight(1, (0, 1)) if fixed else at.real(1)
    if weight.type.rank != 2:
        raise InvalidInput(f"weights of {weight.type}")
    out, depth = weight.type.static_shape
    if options.KeepNumDims() and x.type.shape[-1] != depth:
        raise InvalidInput(f"{x.type} for weights of {depth} columns")
    if x.type.rank != 2 and not options.KeepNumDims():
        x = reshaped(at, x, (normal.quotient(numel(x.type.shape), depth), depth))
    if fixed:
        y = normal.linear(at, x, weight, at.bias(2, 1, out))
    else:
        y = normal.matmul(at, x, normal.transpose(at, weight, (1, 0), "columns"))
        y = at.emit(ops.Add(), y, at.bias(2, 1, out), part="biased") if at.has(2) else y
    return activated(at, y, options.FusedActivationFunction())


@tflite_rule("BATCH_MATMUL")
def batch_matmul(at: TfliteNode) -> Value:
    options = at.options("BatchMatMulOptions")
    a, b = at.reals
    a = normal.swap(at, a, -1, -2) if options.AdjX() else a
    if at.held(1).known is not None and b.type.rank == 2:
        return normal.linear(at, a, at.weight(1, (0, 1) if options.AdjY() else (1, 0)), None)
    return normal.matmul(at, a, normal.swap(at, b, -1, -2) if options.AdjY() else b)
