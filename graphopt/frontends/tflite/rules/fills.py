"""Shapes as data, and tensors made from them."""

from __future__ import annotations

import numpy as np

from graphopt.errors import InvalidGraph, InvalidInput
from graphopt.frontends import normal
from graphopt.frontends.tflite.node import TfliteNode, tflite_rule
from graphopt.ir import Batch, Value


@tflite_rule("BROADCAST_TO")
def broadcast_to(at: TfliteNode) -> Value:
    (x,), shape = at.kept(0), at.integers(1)
    return normal.expand(at, x, shape)


@tflite_rule("BROADCAST_ARGS")
def broadcast_shape(at: TfliteNode) -> Value:
    """The shape to which two known shapes broadcast."""
    shape = np.broadcast_shapes(tuple(at.integers(0)), tuple(at.integers(1)))
    return at.constant(np.array(shape, at.outputs[0].dtype), "shape")


@tflite_rule("SHAPE")
def shape_of(at: TfliteNode) -> Value:
    """Known, unless the batch is in it."""
    shape = at.raw(0).type.shape
    if any(isinstance(d, Batch) for d in shape):
        raise InvalidGraph("the shape of a tensor with a free batch is used as data")
    return at.constant(np.array(shape, at.outputs[0].dtype), "shape")


@tflite_rule("FILL")
def fill(at: TfliteNode) -> Value:
    value = at.raw(1)
    if value.type.rank:
        raise InvalidInput(f"a fill with {value.type}")
    return normal.expand(at, value, at.integers(0))


@tflite_rule("ZEROS_LIKE")
def zeros_like(at: TfliteNode) -> Value:
    x = at.raw(0)
    return normal.expand(at, at.constant(np.zeros((), x.type.dtype), "zero"), x.type.shape)
