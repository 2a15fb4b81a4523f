"""Bias correction: quantization shifts the mean of a layer's results, and the new bias shifts it back."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array
from graphopt.ops import Conv, ConvTranspose, Linear
from graphopt.passes.contract import Bounded
from graphopt.passes.fold.channels import channel_axis
from graphopt.passes.quantize.layers import NewWeights
from graphopt.passes.quantize.recover.recovery import Recovery, SeenLayer
from graphopt.rewrite import Decline


class CorrectBias(Recovery, name="correct-bias", contract=Bounded(0.0)):
    """Move the bias of each layer so that on the data the mean error of every channel is 0.

    Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (ICCV 2019), section 4.2,
    with measured means.
    """

    def renewed(self, seen: SeenLayer) -> tuple[NewWeights, str]:
        node = seen.layer.node
        bias = node.inputs[-1].constant
        if bias is None or not isinstance(node.op, Conv | ConvTranspose | Linear):
            raise Decline(f"{node.op.name} has no bias by channel")
        axis = channel_axis(node.op, node.types[0].rank)
        shift = channel_means(seen.wanted, axis) - channel_means(seen.results, axis)
        return NewWeights((bias + shift).astype(bias.dtype)), f"bias moved by up to {np.abs(shift).max():.3g}"


def channel_means(batches: list[Array], axis: int) -> Array:
    """The mean [c] over all batches and all other axes, in float64."""
    others = tuple(a for a in range(batches[0].ndim) if a != axis)
    sums = sum(b.sum(axis=others, dtype=np.float64) for b in batches)
    return np.asarray(sums / sum(b.size // b.shape[axis] for b in batches))
