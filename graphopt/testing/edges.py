"""Networks for kernels of integers: layers of the shapes at which routines have edges, to be quantized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from graphopt.ir import Array, Graph, Op, TensorType, Value, constant
from graphopt.ops import (
    GRU,
    LSTM,
    RNN,
    Add,
    AveragePool,
    Binary,
    Clip,
    Concat,
    Conv,
    ConvTranspose,
    HardSwish,
    Identity,
    LeakyRelu,
    Linear,
    MaxPool,
    Mul,
    ReduceMean,
    Relu,
    Reshape,
    Resize,
    Sigmoid,
    Silu,
    Slice,
    Softmax,
    Sub,
    Tanh,
    Transpose,
    Window,
)
from graphopt.testing.canvas import Drawing, Integers
from graphopt.testing.drawing import ATTEMPTS, attempt, outputs
from graphopt.testing.motifs import Motif
from graphopt.testing.structures import STRUCTURES

MAX_ELEMENTS = 6144
"""Of one value: a plane of 9 by 9 of 70 channels."""
CHANNELS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 20, 24, 31, 32, 33, 40, 48, 63, 64, 65, 70)
"""About the multiples of words, pairs, lanes and blocks."""
KERNELS = (1, 1, 2, 3, 3, 3, 5, 7)
ACTIVATIONS: tuple[Op, ...] = (
    *(Identity(), Relu(), Relu(), Clip(low=0.0, high=6.0)),
    *(LeakyRelu(), Sigmoid(), Tanh(), Silu(), HardSwish()),
)
LAYERS: list[Motif] = []
"""What ``draw_layers`` draws from. A layer returns None where the value does not suit it."""


def layer(function: Motif) -> Motif:
    """Add a layer of your own: a function as ``Op.sample`` is one."""
    LAYERS.append(function)
    return function


def width(draw: Drawing) -> int:
    """A number of channels."""
    return draw.choice(CHANNELS) if draw.chance(75) else draw.integer(1, 70)


def numbers(draw: Drawing, *shape: int) -> Array:
    """Weights or biases by output channel, of which some are dead, huge, or of one sign, so that sums saturate."""
    rng, column = draw.rng, (shape[0], *(1,) * (len(shape) - 1))
    data = rng.uniform(-1, 1, shape)
    kind = draw.choice(["plain"] * 5 + ["scales", "dead", "alike", "ends"])
    if kind == "scales":
        data *= 10.0 ** rng.uniform(-4, 2, column)
    elif kind == "dead":
        data *= rng.random(column) < 0.6
    elif kind == "alike":
        data = np.abs(data) * rng.choice([-1, 1], column)
    elif kind == "ends":
        data = np.sign(data)
    return data


def weights(draw: Drawing, *shape: int) -> tuple[Value, Value]:
    """The weight and the bias of a layer."""
    spread = draw.choice([0.0, 0.5, 0.5, 20.0])
    weight, bias = numbers(draw, *shape), spread * numbers(draw, shape[0])
    return constant(weight.astype(draw.dtype)), constant(bias.astype(draw.dtype))


def activated(draw: Drawing, x: Value) -> Value:
    return draw.choice(ACTIVATIONS)(x)


def drawn_window(draw: Drawing, x: Value) -> Window:
    """Kernel, strides, pads and dilations, mostly as nets have them: square, and all but strides keep the plane."""
    rank = x.type.rank - 2
    square = draw.chance(75)
    kernel = (draw.choice(KERNELS),) * rank if square else tuple(draw.choice(KERNELS) for _ in range(rank))
    strides = (draw.choice([1, 1, 1, 2, 2, 3]),) * rank if square else tuple(draw.integer(1, 3) for _ in range(rank))
    dilations = (draw.choice([1, 1, 1, 1, 2, 3]),) * rank
    reach = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    style = draw.choice(["same", "same", "same", "none", "any"])
    if style == "any":
        pads = tuple(draw.integer(0, r) for r in reach * 2)
    else:
        pads = tuple(r // 2 if style == "same" else 0 for r in reach) + tuple(
            r - r // 2 if style == "same" else 0 for r in reach
        )
    return Window(kernel, strides, pads, dilations)


@layer
def convolution(draw: Drawing, x: Value) -> Value | None:
    """A convolution: whole, depthwise with a multiplier, or of some groups."""
    if x.type.rank < 3:
        return None
    window, c = drawn_window(draw, x), x.type.static_shape[1]
    kind = draw.choice(["whole", "whole", "depthwise", "depthwise", "grouped"])
    if kind == "whole":
        group, out = 1, width(draw)
    elif kind == "depthwise":
        group, out = c, c * draw.choice([1, 1, 1, 2, 3, 4])
    else:
        group = draw.choice([g for g in range(1, c + 1) if c % g == 0])
        out = group * draw.integer(1, 8)
    op = Conv(strides=window.strides, pads=window.pads, dilations=window.dilations, group=group)
    return activated(draw, op(x, *weights(draw, out, c // group, *window.kernel)))


@layer
def pointwise(draw: Drawing, x: Value) -> Value | None:
    """A convolution of single pixels, now and then with strides; of what has no plane, a linear."""
    c, out = x.type.static_shape[1], width(draw)
    if x.type.rank == 2:
        return activated(draw, Linear()(x, *weights(draw, out, c)))
    rank = x.type.rank - 2
    op = Conv(strides=(draw.choice([1, 1, 1, 2]),) * rank)
    return activated(draw, op(x, *weights(draw, out, c, *(1,) * rank)))


@layer
def separable(draw: Drawing, x: Value) -> Value | None:
    """Depthwise, then pointwise: the block of the small nets."""
    if x.type.rank < 3:
        return None
    c, rank = x.type.static_shape[1], x.type.rank - 2
    size, stride = draw.choice([3, 3, 5]), draw.choice([1, 2])
    op = Conv(strides=(stride,) * rank, pads=(size // 2,) * 2 * rank, group=c)
    return pointwise(draw, activated(draw, op(x, *weights(draw, c, 1, *(size,) * rank))))


@layer
def transposed(draw: Drawing, x: Value) -> Value | None:
    """A transposed convolution, at times of groups."""
    if x.type.rank < 3 or x.type.static_shape[1] * np.prod(x.type.static_shape[2:]) > MAX_ELEMENTS // 4:
        return None
    c, rank = x.type.static_shape[1], x.type.rank - 2
    size, stride = draw.choice([1, 2, 2, 3, 4, 5]), draw.choice([1, 2, 2, 3])
    group = draw.choice([1, 1, 1, *(g for g in range(2, c + 1) if c % g == 0)])
    out = draw.integer(1, 8) if group > 1 else min(width(draw), 16)
    weight = numbers(draw, c, out, *(size,) * rank)
    bias = numbers(draw, out * group)
    op = ConvTranspose(strides=(stride,) * rank, pads=(draw.integer(0, (size - 1) // 2),) * 2 * rank, group=group)
    return activated(draw, op(x, constant(weight.astype(draw.dtype)), constant(bias.astype(draw.dtype))))


@layer
def residual(draw: Drawing, x: Value) -> Value | None:
    """A branch of one or two layers of the same type, and what goes around them."""
    y, c = x, x.type.static_shape[1]
    for _ in range(draw.integer(1, 2)):
        if x.type.rank == 2:
            y = Linear()(y, *weights(draw, c, c))
        else:
            size, rank = draw.choice([1, 3, 3, 5]), x.type.rank - 2
            group = draw.choice([1, c])
            y = Conv(pads=(size // 2,) * 2 * rank, group=group)(y, *weights(draw, c, c // group, *(size,) * rank))
        y = activated(draw, y)
    ops: Sequence[Binary] = (Add(), Add(), Add(), Sub(), Mul())
    return activated(draw, draw.choice(ops)(*draw.choice([(x, y), (y, x)])))


@layer
def joined(draw: Drawing, x: Value) -> Value | None:
    """Branches side by side, along the channels mostly."""
    branches = [x if draw.chance(40) else pointwise_like(draw, x) for _ in range(draw.integer(2, 3))]
    return activated(draw, Concat(axis=1)(*branches))


def pointwise_like(draw: Drawing, x: Value) -> Value:
    """A pointwise layer that keeps the plane."""
    c, out, rank = x.type.static_shape[1], draw.integer(1, 24), x.type.rank - 2
    op = Conv() if rank else Linear()
    return activated(draw, op(x, *weights(draw, out, c, *(1,) * rank)))


@layer
def sliced(draw: Drawing, x: Value) -> Value | None:
    """A part of one axis."""
    axis = draw.integer(1, x.type.rank - 1)
    size = x.type.static_shape[axis]
    start = draw.integer(0, size - 1)
    return Slice(axis=axis, start=start, stop=draw.integer(start + 1, size), step=draw.choice([1, 1, 1, 2]))(x)


@layer
def pooled(draw: Drawing, x: Value) -> Value | None:
    """A pooling, or the mean of the plane."""
    if x.type.rank < 3:
        return None
    if draw.chance(25):
        return ReduceMean(axes=tuple(range(2, x.type.rank)), keepdims=draw.chance(50))(x)
    rank, size = x.type.rank - 2, draw.choice([2, 2, 3, 3, 4])
    kinds: list[type[MaxPool | AveragePool]] = [MaxPool, AveragePool]
    stride = draw.choice([1, 2, size])
    return draw.choice(kinds)(kernel=(size,) * rank, strides=(stride,) * rank, pads=(draw.integer(0, 1),) * 2 * rank)(x)


@layer
def resized(draw: Drawing, x: Value) -> Value | None:
    """Pixels repeated, or any other size."""
    if x.type.rank < 3:
        return None
    times = draw.choice([2, 2, 2, 3])
    sizes = tuple(times * s if draw.chance(80) else draw.integer(1, 9) for s in x.type.static_shape[2:])
    coordinates, rounding = draw.choice([("asymmetric", "floor"), ("half_pixel", "round_prefer_floor")])
    return Resize(sizes=sizes, coordinates=coordinates, rounding=rounding)(x)


@layer
def flattened(draw: Drawing, x: Value) -> Value | None:
    """A linear of the whole plane."""
    n, *rest = x.type.static_shape
    if len(rest) < 2 or np.prod(rest) > 1024:
        return None
    return pointwise(draw, Reshape(shape=(n, int(np.prod(rest))))(x))


@layer
def probabilities(draw: Drawing, x: Value) -> Value | None:
    return Softmax(axis=draw.choice([1, -1]))(x)


@layer
def recurrent(draw: Drawing, x: Value) -> Value | None:
    """A recurrent layer over the last axis, either way or both, all of its states or the last."""
    if x.type.rank != 3 or x.type.static_shape[2] > 24:
        return None
    kinds: list[LSTM | GRU | RNN] = [LSTM(), GRU(), GRU(linear_before_reset=True), RNN()]
    made = draw.choice(kinds)
    direction, hidden = draw.choice(["forward", "forward", "reverse", "bidirectional"]), min(width(draw), 40)
    op = replace(made, direction=direction)
    d, (n, c, steps) = 1 + (direction == "bidirectional"), x.type.static_shape
    rows = made.gates * hidden
    shapes = [(d, rows, c), (d, rows, hidden), (d, 2 * rows)]
    y, *finals = op.apply(
        Transpose(perm=(2, 0, 1))(x),
        *(constant((draw.choice([0.3, 1.0, 4.0]) * draw.rng.uniform(-1, 1, s)).astype(draw.dtype)) for s in shapes),
    ).results
    if draw.chance(30):
        return Reshape(shape=(n, d * hidden))(Transpose(perm=(1, 0, 2))(finals[0]))
    return Reshape(shape=(n, d * hidden, steps))(Transpose(perm=(2, 1, 3, 0))(y))


LAYERS += [convolution] * 4 + [pointwise] * 2 + [recurrent] * 2 + [separable, residual]


def draw_layers(integers: Integers, max_layers: int = 6) -> Graph:
    """A net of two to so many layers (see ``LAYERS``), now and then with a structure of ``structures``; float32.

    Inputs are [n, c, h, w] mostly, also [n, c, t] and [n, c], of one or two samples.
    """
    draw = Drawing(integers, most=MAX_ELEMENTS)
    draw.input(input_type(draw))
    for _ in range(draw.integer(2, max_layers)):
        for _ in range(ATTEMPTS):
            if attempt(draw, draw.choice(STRUCTURES if draw.chance(8) else LAYERS)):
                break
    return Graph(tuple(draw.inputs), outputs(draw))


def input_type(draw: Drawing) -> TensorType:
    rank, c = draw.choice([2, 3, 3, 4, 4, 4, 4, 4]), width(draw)
    most = 16 if c * 256 <= MAX_ELEMENTS else int((MAX_ELEMENTS / c) ** 0.5)
    plane = [draw.integer(1, 16 if rank == 3 else most) for _ in range(rank - 2)]
    return TensorType(draw.dtype, (draw.choice([1, 1, 1, 2]), c, *plane))
