"""Structures that couple channels: nets to prune, drawn so that most of their channels may go.

A structure is a function as a motif is; ``draw_prunable`` puts a layer in front of each and one behind the last.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from graphopt.ir import Graph, Op, Value, constant
from graphopt.ops import (
    GRU,
    LSTM,
    RNN,
    Add,
    AveragePool,
    BatchNorm,
    Concat,
    Conv,
    ConvTranspose,
    Expand,
    Gather,
    LeakyRelu,
    Linear,
    MatMul,
    MaxPool,
    Mul,
    Pad,
    ReduceMean,
    ReduceSum,
    Relu,
    Reshape,
    Resize,
    Sigmoid,
    Slice,
    Softmax,
    Split,
    Sub,
    Tanh,
    Tile,
    Transpose,
)
from graphopt.testing.canvas import Drawing, Integers
from graphopt.testing.drawing import attempt, named, outputs
from graphopt.testing.motifs import Motif, channels

STRUCTURES: list[Motif] = []
"""What ``draw_prunable`` draws from."""


def structure(function: Motif) -> Motif:
    """Add a structure of your own."""
    STRUCTURES.append(function)
    return function


def conv(draw: Drawing, x: Value, out: int, size: int = 3) -> Value:
    """A convolution that keeps the spatial axes; a linear of what has none."""
    c = width(x)
    if x.type.rank < 3:
        return Linear()(x, draw.weights(out, c), draw.weights(out))
    kernel = (size,) * (x.type.rank - 2)
    pads = (size // 2,) * 2 * len(kernel)
    return Conv(pads=pads)(x, draw.weights(out, c, *kernel), draw.weights(out))


def width(x: Value) -> int:
    return cast(int, x.type.shape[1])


def activated(draw: Drawing, x: Value) -> Value:
    ops: list[Op] = [Relu(), Tanh(), Sigmoid(), LeakyRelu()]
    return draw.choice(ops)(x) if draw.chance(60) else x


@structure
def layer(draw: Drawing, x: Value) -> Value | None:
    y = conv(draw, x, 2 * draw.integer(2, 4), draw.choice([1, 3]))
    normed = BatchNorm.sample(draw, y) if draw.chance(50) else y
    return None if normed is None else activated(draw, normed)


@structure
def concatenated(draw: Drawing, x: Value) -> Value:
    """x twice, with a branch, or with zeros of its own."""
    other = draw.choice([x, activated(draw, conv(draw, x, draw.integer(1, 4)))])
    parts = [x, other, Relu()(x)][: draw.integer(2, 3)]
    return Concat(axis=1)(*parts[:: draw.choice([1, -1])])


@structure
def split_and_joined(draw: Drawing, x: Value) -> Value | None:
    """C2f: halves, or other parts, one of them through a layer."""
    c = width(x)
    if c < 2:
        return None
    first = draw.choice([c // 2, draw.integer(1, c - 1)])
    a, b = Split(axis=1, sizes=(first, c - first)).apply(x).results
    return Concat(axis=1)(a, b, Add()(b, conv(draw, b, c - first)))


@structure
def shuffled(draw: Drawing, x: Value) -> Value | None:
    """ShuffleNet's channel shuffle."""
    n, c, rest = x.type.shape[0], width(x), x.type.shape[2:]
    groups = [g for g in range(2, c) if c % g == 0]
    if not groups:
        return None
    g = draw.choice(groups)
    y = Reshape(shape=(n, g, c // g, *rest))(x)
    y = Transpose(perm=(0, 2, 1, *range(3, 3 + len(rest))))(y)
    return Reshape(shape=x.type.shape)(y)


@structure
def permuted(draw: Drawing, x: Value) -> Value:
    """Channels gathered in another order, some twice, some not at all."""
    picked = draw.rng.integers(-width(x), width(x), draw.integer(2, 8))
    return Gather(axis=1)(x, constant(picked.astype(np.int64)))


@structure
def grouped(draw: Drawing, x: Value) -> Value | None:
    """A convolution of any number of groups, depthwise with a multiplier too."""
    c = width(x)
    if x.type.rank < 3:
        return None
    g = draw.choice([g for g in range(1, c + 1) if c % g == 0])
    kernel = (3,) * (x.type.rank - 2)
    out = g * draw.integer(1, 3)
    if draw.chance(30):
        return ConvTranspose(group=g)(x, draw.weights(c, out // g, *kernel), draw.weights(out))
    return Conv(group=g, pads=(1,) * 2 * len(kernel))(x, draw.weights(out, c // g, *kernel), draw.weights(out))


@structure
def gated(draw: Drawing, x: Value) -> Value | None:
    """Squeeze and excite."""
    if x.type.rank < 3:
        return None
    pooled = ReduceMean(axes=tuple(range(2, x.type.rank)), keepdims=True)(x)
    hidden = Relu()(conv(draw, pooled, draw.integer(1, 4), 1))
    return Mul()(x, Sigmoid()(conv(draw, hidden, width(x), 1)))


@structure
def residual(draw: Drawing, x: Value) -> Value:
    y = conv(draw, activated(draw, conv(draw, x, draw.integer(2, 6))), width(x))
    ops: list[Op] = [Add(), Sub(), Mul()]
    return draw.choice(ops)(x, y)


@structure
def reused(draw: Drawing, x: Value) -> Value:
    """One layer twice, one after the other or side by side."""
    y = conv(draw, x, width(x))
    layer_, (_, *weights) = y.node.op, y.node.inputs
    return layer_(Relu()(y), *weights) if draw.chance(50) else Add()(y, layer_(Tanh()(x), *weights))


@structure
def scaled(draw: Drawing, x: Value) -> Value:
    """Bare parameters as scales: one a channel, one an element, one for all."""
    rest = x.type.shape[2:]
    static = [d for d in rest if isinstance(d, int)]
    shape = draw.choice([(width(x), *[1] * len(rest)), (width(x), *static), (1, width(x), *[1] * len(rest)), ()])
    return Mul()(x, draw.weights(*shape))


@structure
def sliced(draw: Drawing, x: Value) -> Value | None:
    """Slices by constants that overlap or leave something out, with steps."""
    c = width(x)
    if c < 3:
        return None
    parts = []
    for _ in range(2):
        start = draw.integer(0, c - 2)
        parts.append(Slice(axis=1, start=start, stop=draw.integer(start + 1, c), step=draw.integer(1, 2))(x))
    return Concat(axis=1)(*parts)


@structure
def pixel_shuffled(draw: Drawing, x: Value) -> Value | None:
    """Channels to space; or the other way round."""
    if x.type.rank != 4:
        return None
    n, c, h, w = x.type.shape
    assert isinstance(c, int) and isinstance(h, int) and isinstance(w, int)
    if draw.chance(40) and h % 2 == 0 and w % 2 == 0:
        y = Transpose(perm=(0, 1, 3, 5, 2, 4))(Reshape(shape=(n, c, h // 2, 2, w // 2, 2))(x))
        return Reshape(shape=(n, c * 4, h // 2, w // 2))(y)
    if c % 4:
        return None
    order = draw.choice([((n, c // 4, 2, 2, h, w), (0, 1, 4, 2, 5, 3)), ((n, 2, 2, c // 4, h, w), (0, 3, 4, 1, 5, 2))])
    return Reshape(shape=(n, c // 4, h * 2, w * 2))(Transpose(perm=order[1])(Reshape(shape=order[0])(x)))


@structure
def flattened(draw: Drawing, x: Value) -> Value | None:
    if x.type.rank < 3:
        return None
    static = [d for d in x.type.shape[1:] if isinstance(d, int)]
    return Reshape(shape=(x.type.shape[0], int(np.prod(static))))(x)


@structure
def pooled(draw: Drawing, x: Value) -> Value | None:
    """A pooling, a resize, a pad of the channels, a mean or a sum over them."""
    if x.type.rank != 4:
        return None
    two = (2, 2)
    options: list[Op] = [MaxPool(kernel=two, strides=two), AveragePool(kernel=two, strides=two), Resize(sizes=(4, 3))]
    options += [Pad(pads=(0, draw.integer(0, 2), 0, 0, 0, draw.integer(0, 2), 1, 0)), Tile(repeats=(1, 2, 1, 1))]
    options += [ReduceMean(axes=(2, 3), keepdims=draw.chance(50)), ReduceSum(axes=(1,), keepdims=True)]
    return draw.choice(options)(x)


@structure
def attention(draw: Drawing, x: Value) -> Value | None:
    """Self-attention over the spatial axes, q, k and v of one linear or of three."""
    if x.type.rank < 3:
        return None
    n, c, *rest = x.type.shape
    t = int(np.prod([d for d in rest if isinstance(d, int)]))
    heads, size = draw.integer(1, 3), draw.integer(1, 3)
    e = heads * size
    tokens = Transpose(perm=(0, 2, 1))(Reshape(shape=(n, c, t))(x))

    def linear(y: Value, out: int) -> Value:
        return Linear()(y, draw.weights(out, cast(int, y.type.shape[-1])), draw.weights(out))

    kind = draw.choice(["joint", "separate", "in the batch"])
    if kind == "joint":
        joint = Transpose(perm=(2, 0, 3, 1, 4))(Reshape(shape=(n, t, 3, heads, size))(linear(tokens, 3 * e)))
        q, k, v = (Gather(axis=0)(joint, constant(np.int64(i))) for i in range(3))
    elif kind == "separate":
        split = Reshape(shape=(n, t, heads, size))
        q, k, v = (Transpose(perm=(0, 2, 1, 3))(split(linear(tokens, e))) for _ in range(3))
    else:
        q, k, v = (in_the_batch(linear(tokens, e), heads) for _ in range(3))
    weights = Softmax()(MatMul()(q, Transpose(perm=(0, 1, 3, 2))(k)))
    mixed = Reshape(shape=(n, t, e))(Transpose(perm=(0, 2, 1, 3))(MatMul()(weights, v)))
    y = Transpose(perm=(0, 2, 1))(linear(mixed, width(x)))
    return Add()(x, Reshape(shape=x.type.shape)(y))


def in_the_batch(x: Value, heads: int) -> Value:
    """[n, t, heads * size] -> [n, heads, t, size], by way of [t, n * heads, size], as in torch."""
    n, t, e = x.type.shape
    assert isinstance(e, int)
    y = Reshape(shape=(t, n * heads, e // heads))(Transpose(perm=(1, 0, 2))(x))
    return Reshape(shape=(n, heads, t, e // heads))(Transpose(perm=(1, 0, 2))(y))


@structure
def recurrent(draw: Drawing, x: Value) -> Value | None:
    """A recurrent layer over the last axis, whose hidden units are the channels then."""
    if x.type.rank != 3:
        return None
    kinds: list[type[LSTM | GRU | RNN]] = [LSTM, GRU, RNN]
    kind = draw.choice(kinds)
    y = kind.sample(draw, Transpose(perm=(0, 2, 1))(x))
    if y is None:
        return None
    n, steps, directions, hidden = y.type.shape if y.type.rank == 4 else (y.type.shape[0], 1, *y.type.shape[1:])
    y = Reshape(shape=(n, steps, cast(int, directions) * hidden))(y)
    return Transpose(perm=(0, 2, 1))(y)


@structure
def expanded(draw: Drawing, x: Value) -> Value:
    """One channel broadcast to many."""
    one = conv(draw, x, 1)
    return Add()(x, Expand(shape=x.type.shape)(one))


def draw_prunable(integers: Integers, max_structures: int = 4, dtype: str = "float32") -> Graph:
    """A graph of up to ``max_structures`` structures (see ``STRUCTURES``) with layers between them.

    The last layer's channels are the output, and at times a value in between is one as well.
    """
    draw = Drawing(integers, dtype, symbolic=bool(integers(0, 1)))
    draw.input(draw.input_type())
    attempt(draw, layer)
    for _ in range(draw.integer(1, max_structures)):
        attempt(draw, draw.choice(STRUCTURES))
        if draw.chance(30):
            attempt(draw, layer)
    x = draw.values[-1]
    last = conv(draw, x, draw.integer(1, 3)) if channels(x) else x
    graph = Graph(tuple(draw.inputs), (last,) if draw.chance(80) else tuple(dict.fromkeys((last, *outputs(draw)))))
    return named(graph, draw)
