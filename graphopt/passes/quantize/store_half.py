"""Round weights to float16; programs store them in two bytes and widen them when they read them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphopt.ir import Array, Graph, Node, Value, constant, rebuild
from graphopt.ops import HALF_LARGEST, Conv, Linear, rounded_to_half
from graphopt.passes.base import Context, Note, Pass
from graphopt.passes.contract import Bounded, signal_to_noise
from graphopt.passes.quantize.unfuse import unfused
from graphopt.rewrite import Decline

LEAST_RATIO = 60.0
"""The least signal-to-noise ratio of a layer's rounded weights in decibels; numbers above 2^-14 keep about 73."""


class StoreHalf(Pass, name="store-float16", contract=Bounded(50.0)):
    """Round the weights of conv and linear layers to float16 and store them so; programs still compute in float32.

    Biases, and constants of other operators, stay float32. Run it after all passes that change weights (folds,
    equalization, training) and before ``fuse``. If a later pass changes weights so that float16 no longer holds them,
    the layer is still correct, but its weights are stored in float32 again.

    Declines: weights that are computed, or not float32; weights beyond 65504; weights that would keep less than 60 dB,
    since float16 is coarse below 2^-14.
    """

    tells_users = True

    def run(self, graph: Graph, context: Context) -> Graph:
        graph = unfused(graph, context, self.name)
        names = graph.names

        def stored(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
            try:
                layer = with_half_weights(node, inputs)
            except Decline as why:
                context.notes.append(Note(self.name, names[node], f"stays as it is: {why}", declined=True))
                return None
            if layer is not None:
                context.notes.append(Note(self.name, names[node], "weights stored as float16"))
            return layer

        return rebuild(graph, stored)


def with_half_weights(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    """The results of a layer with float16 weights; None if the node is not a layer. Raises ``Decline``."""
    if not isinstance(node.op, Conv | Linear):
        return None
    x, weight, bias = inputs
    if weight.constant is None:
        raise Decline("its weights are not constant")
    return node.with_inputs([x, constant(half_weights(weight.constant), like=weight, compact=True), bias]).results


def half_weights(weight: Array) -> Array:
    """Float32 weights rounded to float16; declines weights that float16 cannot represent."""
    if weight.dtype != np.float32:
        raise Decline(f"its weights are {weight.dtype}")
    largest = float(np.abs(weight).max(initial=0.0))
    if not largest <= HALF_LARGEST:
        raise Decline(f"its weights reach {largest:.6g}, float16 ends at {HALF_LARGEST:.0f}")
    rounded = rounded_to_half(weight)
    if (ratio := signal_to_noise(rounded, weight)) < LEAST_RATIO:
        raise Decline(
            f"its weights are too small for float16: they would keep {ratio:.0f} dB, of {LEAST_RATIO:.0f} wanted"
        )
    return rounded
