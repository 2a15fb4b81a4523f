"""Round weights by the error of their layer's results on data, not each to its nearest integer."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array, QParams
from graphopt.ops import Conv, Linear
from graphopt.passes.contract import Bounded
from graphopt.passes.quantize.form import BIAS_STEPS, binarized, dequantized
from graphopt.passes.quantize.layers import NewWeights, QuantizedLayer
from graphopt.passes.quantize.recover.moments import Moments, moments
from graphopt.passes.quantize.recover.recovery import Recovery, SeenLayer
from graphopt.passes.quantize.recover.rounding import nearest, round_weights
from graphopt.rewrite import Decline


class RoundWeights(Recovery, name="round-weights", contract=Bounded(0.0)):
    """Choose integers, scales and bias of each layer so that its results on the data are close to the float ones.

    Each layer also makes up for the errors of the layers before it. On the data (at most ``MAX_ROWS`` rows of each
    layer) no channel has a larger mean squared error than with weights rounded to nearest. See ``rounding`` for the
    method. Transposed convolutions keep their weights.
    """

    def renewed(self, seen: SeenLayer) -> tuple[NewWeights, str]:
        op, weight = seen.layer.node.op, seen.original.inputs[seen.layer.position].constant
        if not isinstance(op, Conv | Linear) or weight is None:
            raise Decline(f"rounded to nearest: {op.name} is not seen as a matrix product")
        new, gain = rounded(seen.layer, weight, moments(op, seen.inputs, seen.wanted, weight))
        return new, f"{gain:.1f} dB less error than rounded to nearest"


def rounded(layer: QuantizedLayer, original: Array, found: Moments) -> tuple[NewWeights, float]:
    """New weights and bias of a layer for its moments, and their gain over rounding to nearest in decibels."""
    group, outputs = getattr(layer.node.op, "group", 1), len(original)
    weights = original.astype(np.float64).reshape(group, outputs // group, -1)
    scale = np.broadcast_to(layer.weight.scale, (outputs,)).reshape(group, -1)
    limit = {8: 127, 4: 7, 1: 1}[layer.bits]
    shared = layer.weight.axis is None
    steps, chosen = round_weights(weights, found, scale, least_scale(layer).reshape(group, -1), limit, shared)
    chosen = chosen.astype(np.float32)
    before = found.error(nearest(weights / scale[..., None], limit) * scale[..., None]).sum()
    after = found.error(steps * chosen[..., None]).sum()
    flat = chosen.reshape(-1)[0] if shared else chosen.reshape(-1)
    zero = np.zeros(flat.shape, "int8")
    parameters = QParams(np.asarray(flat), zero, layer.bits, layer.weight.axis)
    bias = found.bias(steps * chosen[..., None].astype(np.float64)).reshape(-1)
    integers = steps.astype("int8").reshape(original.shape)
    made = NewWeights(bias.astype(np.float32), (integers, parameters))
    return made, float(10 * np.log10(max(before, 1e-300) / max(after, 1e-300)))


def least_scale(layer: QuantizedLayer) -> Array:
    """The scale [o] of each channel below which its bias would not fit the accumulator."""
    bias, x = layer.node.inputs[-1].constant, layer.node.inputs[0]
    assert bias is not None
    given = dequantized(x) or binarized(x)
    return np.abs(bias.astype(np.float64)) / (float(given.scale) * BIAS_STEPS) if given else np.zeros(len(bias))
