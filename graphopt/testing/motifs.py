"""Motifs: little runs of operators that passes look for, drawn more often than chance would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from graphopt.ir import Op, TensorType, Value
from graphopt.ops import (
    Add,
    AveragePool,
    BatchNorm,
    Binary,
    Clip,
    Conv,
    ConvTranspose,
    Div,
    Expand,
    Identity,
    LeakyRelu,
    Linear,
    MaxPool,
    Mul,
    Neg,
    Pad,
    Pool,
    ReduceMax,
    ReduceMean,
    ReduceSum,
    Reduction,
    Relu,
    Reshape,
    Sigmoid,
    Sub,
    Transpose,
)
from graphopt.testing.canvas import Drawing

Motif = Callable[[Drawing, Value], Value | None]

MOTIFS: list[Motif] = []
"""What ``draw_graph`` draws beside single operators. A motif returns None where the value does not suit it."""

ACTIVATIONS = (Relu(), Clip(low=0.0, high=6.0), LeakyRelu(), Sigmoid(), Neg())
BINARIES: tuple[Binary, ...] = (Add(), Sub(), Mul())


def motif(function: Motif) -> Motif:
    """Add a motif of your own: a function as ``Op.sample`` is one."""
    MOTIFS.append(function)
    return function


def channels(x: Value) -> int | None:
    size = x.type.shape[1] if x.type.rank > 1 and x.type.is_float else None
    return size if isinstance(size, int) else None


def layer(draw: Drawing, x: Value) -> Value | None:
    """A conv, conv_transpose or linear, often of several groups."""
    if x.type.rank == 2:
        return Linear.sample(draw, x)
    kinds: list[type[Op]] = [Conv, Conv, ConvTranspose]
    return draw.choice(kinds).sample(draw, x)


def unpadded(y: Value) -> Value:
    """A drawn layer without its pads: what a shift in front of it folds into."""
    return replace(y.op, pads=())(*y.node.inputs) if isinstance(y.op, Conv | ConvTranspose) else y


@motif
def layer_norm_activation(draw: Drawing, x: Value) -> Value | None:
    """layer -> batch_norm -> activation, the norm or the activation missing at times."""
    y = layer(draw, x)
    if y is not None and draw.chance(80):
        y = BatchNorm.sample(draw, y)
    return draw.choice(ACTIVATIONS)(y) if y is not None and draw.chance(60) else y


@motif
def norm_layer(draw: Drawing, x: Value) -> Value | None:
    """batch_norm -> layer."""
    y = BatchNorm.sample(draw, x)
    z = layer(draw, y) if y is not None else None
    return unpadded(z) if z is not None and draw.chance(60) else z


@motif
def pad_window(draw: Drawing, x: Value) -> Value | None:
    """pad -> conv or pooling, the pad's value the operator's own mostly."""
    if x.type.rank < 3 or not x.type.is_float:
        return None
    pool: type[Pool] | None = draw.choice([None, None, AveragePool, MaxPool])
    rank = x.type.rank
    least = float("-inf") if x.type.is_float else float(np.iinfo(x.type.dtype).min)
    own = least if pool is MaxPool else 0.0
    reach = draw.choice([0, 0, 0, 1]) if pool is not MaxPool else 0
    pads = tuple(draw.integer(0, 1 if a % rank > 1 else reach * (a % rank)) for a in range(2 * rank))
    y = Pad(pads=pads, value=draw.choice([own, own, own, -1.5]))(x)
    if pool is None:
        return Conv.sample(draw, y)
    # windows wider than all pads together: none lies in the padding alone
    kernel, strides = (3,) * (rank - 2), (draw.integer(1, 2),) * (rank - 2)
    return pool(kernel=kernel, strides=strides, pads=(draw.choice([0, 0, 1]),) * 2 * len(kernel))(y)


@motif
def layer_arithmetic(draw: Drawing, x: Value) -> Value | None:
    """layer -> arithmetic with constants, one after the other."""
    y = layer(draw, x)
    for _ in range(draw.integer(1, 2)):
        y = constant_arithmetic(draw, y) if y is not None else None
    return y


@motif
def arithmetic_layer(draw: Drawing, x: Value) -> Value | None:
    """Arithmetic with constants -> layer."""
    y = constant_arithmetic(draw, x)
    z = layer(draw, y) if y is not None else None
    return unpadded(z) if z is not None and draw.chance(60) else z


@motif
def constant_arithmetic(draw: Drawing, x: Value) -> Value | None:
    """x with a constant: one a channel, one for all, one for every element, in either order."""
    c = channels(x)
    if c is None:
        return None
    spatial = tuple(d for d in x.type.shape[2:] if isinstance(d, int))
    kinds: list[tuple[int, ...]] = [(c, *[1] * len(spatial)), (c, *[1] * len(spatial)), (), (1,), (c, *spatial)]
    kinds += [x.type.static_shape[-1:]] if isinstance(x.type.shape[0], int) else []
    shape = draw.choice(kinds)
    op = draw.choice([*BINARIES, Div()])
    operand = draw.weights(*shape, positive=isinstance(op, Div))
    swap = not isinstance(op, Div) and draw.chance(30)
    return op(operand, x) if swap else op(x, operand)


@motif
def residual(draw: Drawing, x: Value) -> Value | None:
    """Two branches of one value, joined: the skip connection."""
    left = shape_preserving(draw, x)
    right = shape_preserving(draw, x) if draw.chance(50) else x
    if left is None or right is None or left.type != right.type:
        return None
    joined = draw.choice(BINARIES)(*draw.choice([(left, right), (right, left)]))
    return draw.choice(ACTIVATIONS)(joined) if draw.chance(50) else joined


def shape_preserving(draw: Drawing, x: Value) -> Value | None:
    """A convolution or linear that keeps the type, or arithmetic."""
    c = channels(x)
    if c is None:
        return None
    if x.type.rank == 2:
        return Linear()(x, draw.weights(c, c), draw.weights(c))
    kernel = (3,) * (x.type.rank - 2)
    conv = Conv(pads=(1,) * 2 * len(kernel), group=draw.choice([1, c]))
    y = conv(x, draw.weights(c, c // conv.group, *kernel), draw.weights(c))
    return BatchNorm.sample(draw, y) if draw.chance(50) else y


@motif
def layer_pooling(draw: Drawing, x: Value) -> Value | None:
    """conv -> activation -> a pooling that tiles, or that reduces the spatial axes."""
    y = Conv.sample(draw, x)
    if y is None:
        return None
    y = draw.choice(ACTIVATIONS)(y) if draw.chance(60) else y
    spatial = [d for d in y.type.shape[2:] if isinstance(d, int)]
    if draw.chance(40):
        axes = tuple(range(2, y.type.rank))
        reductions: list[type[Reduction]] = [ReduceMean, ReduceMean, ReduceSum]
        return draw.choice(reductions)(axes=axes, keepdims=draw.chance(50))(y)
    kernel = tuple(draw.choice([k for k in (1, 2, 3) if k <= s]) for s in spatial)
    pools: list[type[Pool]] = [MaxPool, AveragePool]
    return draw.choice(pools)(kernel=kernel, strides=kernel)(y)


@motif
def moves(draw: Drawing, x: Value) -> Value | None:
    """Two reshapes or transposes, with elementwise operators between them at times."""
    kinds: list[type[Op]] = [Reshape, Transpose, Transpose]
    kind = draw.choice(kinds)
    y = kind.sample(draw, x)
    for _ in range(draw.integer(0, 2)):
        if y is not None and y.type.is_float:
            y = draw.choice(ACTIVATIONS)(y) if draw.chance(50) else constant_arithmetic(draw, y)
    if y is None:
        return None
    if kind.name == Reshape.name and draw.chance(50) and y.type.shape != x.type.shape:
        return Reshape(shape=x.type.shape)(y)
    return kind.sample(draw, y)


@motif
def transposed_operands(draw: Drawing, x: Value) -> Value | None:
    """Two values transposed alike, or nearly, and joined."""
    left = Transpose.sample(draw, x)
    if left is None or not x.type.is_float:
        return None
    right = left.op(draw.value(x.type)) if draw.chance(70) else Transpose.sample(draw, draw.value(x.type))
    return draw.choice(BINARIES)(left, right) if right is not None else None


@motif
def transposed_ones(draw: Drawing, x: Value) -> Value | None:
    """A transpose of axes of size one."""
    if x.type.rank != 2:
        return None
    y = Reshape(shape=(x.type.shape[0], 1, x.type.shape[1], 1))(x)
    return Transpose.sample(draw, y)


@motif
def expanded(draw: Drawing, x: Value) -> Value | None:
    """An expand in front of a binary operator that broadcasts anyway."""
    c = channels(x)
    if c is None or not isinstance(x.type.shape[-1], int):
        return None
    shape = x.type.shape if draw.chance(50) else x.type.shape[1:]
    narrow = draw.value(TensorType(x.type.dtype, (c, *[1] * (x.type.rank - 2)))) if x.type.rank > 2 else x
    wide = Expand(shape=shape)(narrow)
    return draw.choice(BINARIES)(*draw.choice([(wide, x), (x, wide)]))


@motif
def reduced(draw: Drawing, x: Value) -> Value | None:
    """A reduction and a reshape that drops its axes, or restores them."""
    kinds: list[type[Op]] = [ReduceMean, ReduceSum, ReduceMax]
    y = draw.choice(kinds).sample(draw, x)
    if y is None or not isinstance(y.op, Reduction):
        return None
    other = replace(y.op, keepdims=not y.op.keepdims)(*y.node.inputs)
    return Reshape(shape=other.type.shape)(y)


@motif
def activations(draw: Drawing, x: Value) -> Value | None:
    """Activations in a row, some of which imply others."""
    if not x.type.is_float:
        return None
    for _ in range(draw.integer(2, 3)):
        x = draw.choice([*ACTIVATIONS, Identity(), Clip(), Clip(low=-0.5, high=0.5), Relu()])(x)
    return x


@motif
def repeated(draw: Drawing, x: Value) -> Value | None:
    """The node of a value once more, or with other attributes or operands swapped, joined with the first."""
    if not x.node.inputs or len(x.node.results) != 1 or not x.type.is_float:
        return None
    inputs = x.node.inputs[::-1] if isinstance(x.op, Binary) and draw.chance(50) else x.node.inputs
    again = draw.choice([x.op, x.op, *near(x)])(*inputs)
    return draw.choice(BINARIES)(x, again) if again.type == x.type else again


def near(x: Value) -> list[Conv | LeakyRelu | Clip | Transpose]:
    """Operators much like a value's own, that compute something else."""
    match x.op:
        case LeakyRelu():
            return [LeakyRelu(alpha=0.5)]
        case Clip():
            return [Clip(low=-0.25, high=0.25)]
        case Conv() if not any(x.op.pads):
            return [replace(x.op, pads=(1,) * 2 * (x.type.rank - 2))]
        case Transpose():
            return [Transpose(perm=(*x.op.perm[:-2], x.op.perm[-1], x.op.perm[-2]))]
    return []


@motif
def of_constants(draw: Drawing, x: Value) -> Value | None:
    """A value joined with one computed from constants."""
    c = channels(x)
    if c is None:
        return None
    y = draw.choice(BINARIES)(draw.weights(c), draw.weights(c))
    y = Reshape(shape=(c, *[1] * (x.type.rank - 2)))(draw.choice(ACTIVATIONS)(y))
    return draw.choice(BINARIES)(x, y)
