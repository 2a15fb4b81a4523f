"""Batch norms folded into the layers before or after them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from graphopt.ir import Value
from graphopt.ops import BatchNorm, Linear
from graphopt.passes.base import RewritePass
from graphopt.passes.contract import Exact
from graphopt.passes.fold.channels import ChannelAffine, Layer, elements, fold_after, fold_before
from graphopt.rewrite import Const, Decline, Rule, rule


def normalisation(norm: BatchNorm, scale: Value, bias: Value, mean: Value, var: Value) -> ChannelAffine:
    """(x - mean) / sqrt(var + epsilon) * scale + bias as scale' * x + shift'."""
    spread = elements(var) + norm.epsilon
    if not (spread > 0).all():
        raise Decline("its variance plus epsilon is not positive")
    factor = elements(scale) / np.sqrt(spread)
    return ChannelAffine(factor, elements(bias) - elements(mean) * factor)


def refuse_other_axis(layer: Layer, x: Value) -> None:
    if isinstance(layer, Linear) and x.type.rank != 2:
        raise Decline(f"batch_norm counts channels along axis 1 of {x.type}, linear along the last")


@rule(lambda norm, layer, x, w, b, scale, bias, mean, var: norm(layer(x, w, b), scale, bias, mean, var))
def into_producer(
    norm: BatchNorm, layer: Layer, x: Value, w: Const, b: Const, scale: Const, bias: Const, mean: Const, var: Const
) -> Value:
    refuse_other_axis(layer, x)
    return fold_after(layer, x, w, b, normalisation(norm, scale, bias, mean, var))


@rule(lambda layer, norm, x, w, b, scale, bias, mean, var: layer(norm(x, scale, bias, mean, var), w, b))
def into_consumer(
    layer: Layer, norm: BatchNorm, x: Value, w: Const, b: Const, scale: Const, bias: Const, mean: Const, var: Const
) -> Value:
    refuse_other_axis(layer, x)
    return fold_before(layer, x, w, b, normalisation(norm, scale, bias, mean, var))


class FoldBatchNorm(RewritePass, name="fold-batch-norm", contract=Exact()):
    """Fold batch norms with constant parameters into the conv, conv_transpose or linear next to them.

    For the layer before the norm, the scale goes into weights and bias, and the shift into the bias.
    For the layer after it, the scale goes into the weights of its input channels, and the shift, times
    the weights, into its bias. The new weights are computed in float64 and keep the names of the old,
    which stay for other readers.

    Declines: a norm whose layer has other readers; a shift before padding or before a conv_transpose
    larger than 1x1, which would not reach all results equally; a linear over more than two axes; a
    variance plus epsilon that is not positive; weights that would not be finite.
    """

    rules: ClassVar[tuple[Rule, ...]] = (into_producer, into_consumer)
