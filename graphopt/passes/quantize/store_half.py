"""Weights rounded to float16, which programs then store in two bytes and widen where they read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from graphopt.ir import Array, Graph, Node, Value, constant, rebuild
from graphopt.ops import HALF_LARGEST, Conv, Linear, rounded_to_half
from graphopt.passes.base import Context, Note, Pass
from graphopt.passes.contract import Bounded, signal_to_noise
from graphopt.passes.quantize.unfuse import unfused
from graphopt.rewrite import Decline

LEAST_RATIO = 60.0
"""Decibels of the weights of a layer over their rounding errors; numbers above 2^-14 keep about 73."""


class StoreHalf(Pass, name="store-float16", contract=Bounded(50.0)):
    """Round the weights of conv and linear layers to float16 and store them so; all is still computed in float32.

    Biases, and whatever is not a conv or a linear, stay float32. Run it behind all that changes weights (folds,
    equalization, training), for a layer whose weights float16 no longer holds is right, but stored in float32 again;
    and in front of ``fuse``.

    Declines: weights that are computed, or not float32; that go beyond 65504; of which less than 60 dB would remain,
    for float16 is coarse below 2^-14.
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
    """The results of a layer on float16 weights; None of what is no layer. Raises ``Decline``."""
    if not isinstance(node.op, Conv | Linear):
        return None
    x, weight, bias = inputs
    if weight.constant is None:
        raise Decline("its weights are not constant")
    rounded = constant(half_weights(weight.constant), like=weight)
    return replace(node, op=replace(node.op, half=True), inputs=(x, rounded, bias)).results


def half_weights(weight: Array) -> Array:
    """Float32 weights rounded; declines those that float16 cannot stand for."""
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
