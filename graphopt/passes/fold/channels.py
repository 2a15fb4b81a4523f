"""Fold a scale and a shift of the channels before or after a layer into its weights.

Batch norm folding follows Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference" (CVPR 2018), section 3.2, extended to groups, transposed convolutions
and norms before the layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from graphopt.ir import Array, TensorType, Value, constant
from graphopt.ops import Add, Conv, ConvTranspose, Div, Linear, Mul, Sub
from graphopt.rewrite import Decline

Layer = Conv | ConvTranspose | Linear


@dataclass(frozen=True)
class ChannelAffine:
    """y = scale * x + shift, with one scale and shift per channel (or one for all), in float64."""

    scale: Array
    shift: Array

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale).all() and np.isfinite(self.shift).all()):
            raise Decline("its scale or shift is not finite")


def channel_axis(layer: Layer, rank: int) -> int:
    """The axis of the channels in the input and in the result."""
    return rank - 1 if isinstance(layer, Linear) else 1


def array(value: Value) -> Array:
    """A constant's elements."""
    if value.constant is None:
        raise Decline(f"{value.node.name or value.op.name} is not constant")
    return value.constant


def elements(value: Value) -> Array:
    """A constant's elements in float64."""
    return array(value).astype(np.float64)


def by_channel(c: Value, x: TensorType, axis: int) -> Array:
    """A constant that broadcasts to ``x``, as one element per channel, or one for all.

    Declines if it varies along another axis, or would broadcast ``x`` to a larger shape.
    """
    data = elements(c)
    if data.ndim > x.rank:
        raise Decline("the constant broadcasts the result to a larger shape")
    data = data.reshape((1,) * (x.rank - data.ndim) + data.shape)
    for a, (size, dim) in enumerate(zip(data.shape, x.shape, strict=True)):
        if size not in (1, dim):
            raise Decline("the constant broadcasts the result to a larger shape")
        if a != axis:
            if not np.all(data == data.take([0], a)):
                raise Decline(f"the constant varies along axis {a}, not only along the channels")
            data = data.take([0], a)
    return data.reshape(-1)


def arithmetic(op: Add | Sub | Mul | Div, operand: Array) -> ChannelAffine:
    """``op(x, operand)`` as a scale and a shift of the channels of x."""
    one, zero = np.ones_like(operand), np.zeros_like(operand)
    with np.errstate(divide="ignore"):
        match op:
            case Add():
                return ChannelAffine(one, operand)
            case Sub():
                return ChannelAffine(one, -operand)
            case Mul():
                return ChannelAffine(operand, zero)
            case Div():
                return ChannelAffine(1 / operand, zero)


def fold_after(layer: Layer, x: Value, w: Value, b: Value, affine: ChannelAffine) -> Value:
    """affine(layer(x, w, b)) as one layer: the scale goes into weights and bias, the shift into the bias."""
    bias = elements(b)
    scale = np.broadcast_to(affine.scale, bias.shape)
    weights = array(w)
    scaled = (
        scale_grouped(weights, scale, layer.group, weights.dtype)
        if isinstance(layer, ConvTranspose)
        else times(weights, scale.reshape(-1, *[1] * (weights.ndim - 1)), weights.dtype)
    )
    return layer(x, folded(scaled, w), folded(bias * scale + affine.shift, b))


def fold_before(layer: Layer, x: Value, w: Value, b: Value, affine: ChannelAffine) -> Value:
    """layer(affine(x), w, b) as one layer: the scale goes into the weights, the response to the shift into the bias.

    Declines a nonzero shift if it does not reach every element of the result completely.
    """
    weights, bias = array(w), elements(b)
    channels = weights.shape[0] if isinstance(layer, ConvTranspose) else weights.shape[1] * getattr(layer, "group", 1)
    scale, shift = (np.broadcast_to(a, (channels,)) for a in (affine.scale, affine.shift))
    if shift.any():
        refuse_borders(layer, w.type)
        bias = bias + response(layer, elements(w), shift)
    if isinstance(layer, ConvTranspose):
        weights = times(weights, scale.reshape(-1, *[1] * (weights.ndim - 1)), weights.dtype)
    else:
        weights = scale_grouped(weights, scale, getattr(layer, "group", 1), weights.dtype)
    return layer(x, folded(weights, w), folded(bias, b) if shift.any() else b)


def refuse_borders(layer: Layer, weight: TensorType) -> None:
    """Decline if a shift of the input does not reach all results completely, due to padding or gaps between windows."""
    if isinstance(layer, Conv) and any(layer.pads):
        raise Decline(f"a shift in front of pads {layer.pads} does not reach the padding")
    if isinstance(layer, ConvTranspose):
        window = layer.window(weight)
        if set(window.kernel + window.strides) != {1} or any(layer.output_padding):
            raise Decline("a shift in front of conv_transpose reaches its results unevenly")


def times(weights: Array, factors: Array, dtype: np.dtype[Any] | str) -> Array:
    """Weights times factors, computed in float64 and rounded to ``dtype``, in the memory of the result alone."""
    shape = np.broadcast_shapes(weights.shape, factors.shape)
    with np.errstate(over="ignore"):
        return np.multiply(weights, factors, out=np.empty(shape, dtype), dtype=np.float64, casting="unsafe")


def scale_grouped(weights: Array, scale: Array, group: int, dtype: np.dtype[Any] | str = "float64") -> Array:
    """Weights [a, b/group, ...], in groups along their first axis, times one factor for each of the b channels."""
    parts = weights.reshape(group, -1, *weights.shape[1:])
    factors = scale.reshape(group, 1, -1, *[1] * (weights.ndim - 2))
    return times(parts, factors, dtype).reshape(weights.shape)


def response(layer: Layer, weights: Array, shift: Array) -> Array:
    """The sum that a constant input ``shift`` adds to each output channel, if a window lies completely inside it."""
    if isinstance(layer, ConvTranspose):
        shifted = weights * shift.reshape(-1, *[1] * (weights.ndim - 1))
        return np.asarray(shifted.reshape(layer.group, -1, weights.shape[1]).sum(axis=1).reshape(-1))
    shifted = scale_grouped(weights, shift, getattr(layer, "group", 1))
    return np.asarray(shifted.reshape(len(weights), -1).sum(axis=1))


def folded(data: Array, like: Value) -> Value:
    """A new constant of ``like``'s dtype, name and origins; declines numbers that the dtype cannot hold."""
    with np.errstate(over="ignore"):
        cast = data.astype(like.type.dtype, copy=False)
    if not np.isfinite(cast).all():
        raise Decline(f"its weights would not be finite in {like.type.dtype}")
    return constant(cast, like=like, copy=False)
