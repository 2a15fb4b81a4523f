"""Float graphs of one operator each, drawn: what the rules of integer lowering are held to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from graphopt.ir import Array, Graph, Op, Value, arg, constant
from graphopt.ops import (
    Abs,
    Add,
    AveragePool,
    BatchNorm,
    Clip,
    Concat,
    Conv,
    ConvTranspose,
    Div,
    Elu,
    Erf,
    Exp,
    Expand,
    Gather,
    Gelu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Linear,
    MatMul,
    Maximum,
    MaxPool,
    Minimum,
    Mish,
    Mul,
    Neg,
    Pad,
    PRelu,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceSum,
    Relu,
    Reshape,
    Resize,
    Sigmoid,
    Silu,
    Slice,
    Softmax,
    Softplus,
    Split,
    Sub,
    Tanh,
    Tile,
    Transpose,
    Where,
)

T = TypeVar("T")


class Draw:
    """Draws integers by a function, and makes inputs and weights of them."""

    def __init__(self, integer: Callable[[int, int], int]) -> None:
        self.integer = integer
        self.inputs: list[Value] = []

    def choice(self, options: Sequence[T]) -> T:
        return options[self.integer(0, len(options) - 1)]

    def x(self, *shape: int) -> Value:
        self.inputs.append(arg(f"x{len(self.inputs)}", "float32", shape))
        return self.inputs[-1]

    def array(self, *shape: int) -> Array:
        """Normal numbers times a power of two, one of them the largest by far now and then."""
        data = np.random.default_rng(self.integer(0, 999)).standard_normal(shape)
        if self.integer(0, 3) == 0:
            data.flat[0] = 100.0
        return np.asarray(data * 2.0 ** self.integer(-6, 3), np.float32)

    def w(self, *shape: int) -> Value:
        return constant(self.array(*shape))

    def plane(self) -> tuple[int, ...]:
        return self.choice([(1, 1), (1, 5), (4, 4), (5, 7), (6,), (1,)])


Form = Callable[[Draw], Value]
FORMS: dict[str, Form] = {}


def form(make: Form) -> Form:
    FORMS[make.__name__] = make
    return make


def graph_of(name: str, integer: Callable[[int, int], int]) -> Graph:
    draw = Draw(integer)
    y = FORMS[name](draw)
    return Graph(tuple(draw.inputs), (y,))


def clamped(d: Draw, y: Value) -> Value:
    """With a clamp behind it, or none."""
    op: Op | None = d.choice([None, Relu(), Clip(low=-0.5, high=1.5), Clip(low=0.0, high=6.0)])
    return y if op is None else op(y)


def window(d: Draw, rank: int) -> dict[str, tuple[int, ...]]:
    kernel = tuple(d.integer(1, 3) for _ in range(rank))
    reach = [(k - 1) for k in kernel]
    pads = tuple(d.integer(0, max(r, 1)) for r in (*reach, *reach))
    dilations = tuple(d.integer(1, 2) for _ in range(rank))
    return {"kernel": kernel, "pads": pads, "dilations": dilations, "strides": tuple(d.integer(1, 2) for _ in kernel)}


@form
def conv(d: Draw) -> Value:
    plane = d.plane()
    plane = tuple(s + 4 for s in plane) if d.integer(0, 2) else plane
    group, per, out = d.choice([1, 1, 2, 3]), d.integer(1, 3), d.integer(1, 4)
    w = window(d, len(plane)) if min(plane) > 4 else {"kernel": (1,) * len(plane)}
    kernel = w.pop("kernel")
    y = Conv(group=group, **w)(d.x(1, group * per, *plane), d.w(group * out, per, *kernel), d.w(group * out))  # type: ignore[arg-type]
    return clamped(d, y)


@form
def depthwise(d: Draw) -> Value:
    c = d.integer(1, 6)
    return clamped(d, Conv(group=c, pads=(1, 1, 1, 1))(d.x(1, c, 5, 4), d.w(c, 1, 3, 3), d.w(c)))


@form
def conv_transpose(d: Draw) -> Value:
    group, per, out = d.choice([1, 2]), d.integer(1, 2), d.integer(1, 3)
    stride = d.integer(1, 3)
    op = ConvTranspose(
        strides=(stride, 1),
        pads=(d.integer(0, 1), 0, d.integer(0, 1), 0),
        output_padding=(d.integer(0, stride - 1), 0),
        group=group,
    )
    return clamped(d, op(d.x(1, group * per, 3, 2), d.w(group * per, out, 2, 3), d.w(group * out)))


@form
def linear(d: Draw) -> Value:
    k, o = d.integer(1, 40), d.integer(1, 5)
    return clamped(d, Linear()(d.x(*d.choice([(2, k), (2, 3, k)])), d.w(o, k), d.w(o)))


@form
def matmul(d: Draw) -> Value:
    k = d.integer(1, 9)
    return MatMul()(d.x(2, 3, k), d.x(2, k, 4))


def pair(d: Draw) -> tuple[Value, Value]:
    """Two operands that broadcast, one of them constant now and then."""
    left, right = d.choice(
        [((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (3, 1)), ((1, 3, 1), (2, 1, 4)), ((2, 3), ()), ((2, 3), (1, 3))]
    )
    if d.integer(0, 2) == 0:
        wide = tuple(np.broadcast_shapes(left, right))
        a, b = d.x(*wide), d.w(*right)
        return (b, a) if d.integer(0, 1) else (a, b)
    return d.x(*left), d.x(*right)


@form
def add(d: Draw) -> Value:
    return clamped(d, Add()(*pair(d)))


@form
def sub(d: Draw) -> Value:
    return clamped(d, Sub()(*pair(d)))


@form
def mul(d: Draw) -> Value:
    return clamped(d, Mul()(*pair(d)))


@form
def div(d: Draw) -> Value:
    divisor = np.where(np.abs(array := d.array(3, 1)) < 1e-3, 1.0, array)
    return Div()(d.x(2, 3, 4), constant(divisor.astype(np.float32)))


@form
def extreme(d: Draw) -> Value:
    return d.choice([Maximum, Minimum])()(*pair(d))


@form
def where(d: Draw) -> Value:
    condition = np.arange(24).reshape(2, 3, 4) % d.integer(2, 5) == 0
    return Where()(constant(condition), d.x(2, 3, 4), d.choice([d.x, d.w])(2, 3, 4))


@form
def concat(d: Draw) -> Value:
    return Concat(axis=1)(*(d.x(1, d.integer(1, 3), 4) for _ in range(d.integer(2, 3))))


@form
def average_pool(d: Draw) -> Value:
    kernel = (d.integer(2, 3), d.integer(2, 3))
    pads = (d.integer(0, 1),) * 4
    y = AveragePool(kernel=kernel, pads=pads, count_include_pad=bool(d.integer(0, 1)), strides=(d.integer(1, 2),) * 2)
    return clamped(d, y(d.x(1, d.integer(1, 3), 4, 5)))


@form
def reduction(d: Draw) -> Value:
    axes = d.choice([(2, 3), (1,), (3,), (1, 2, 3), (2,)])
    op = d.choice([ReduceMean, ReduceSum])(axes=axes, keepdims=bool(d.integer(0, 1)))
    return clamped(d, op(d.x(2, d.integer(1, 5), d.choice([1, 4]), 3)))


TABLES: list[Op] = [
    *(Sigmoid(), Tanh(), Exp(), Silu(), Gelu(), HardSwish(), HardSigmoid(), LeakyRelu(alpha=0.1), Elu(), Erf()),
    *(Softplus(), Mish(), Abs(), Neg()),
]


@form
def table(d: Draw) -> Value:
    return d.choice(TABLES)(d.x(2, 5))


@form
def relu(d: Draw) -> Value:
    return d.choice([Relu(), Clip(low=-1.0, high=0.5)])(d.x(2, 5))


@form
def prelu(d: Draw) -> Value:
    return PRelu()(d.x(2, 5), constant(np.float32(0.2)))


@form
def softmax(d: Draw) -> Value:
    return Softmax(axis=d.choice([1, 2]))(d.x(1, d.integer(1, 12), d.integer(1, 5)))


@form
def batch_norm(d: Draw) -> Value:
    c = d.integer(1, 4)
    scale = constant((np.abs(d.array(c)) + 0.1).astype(np.float32))
    return BatchNorm()(d.x(1, c, 3), scale, d.w(c), d.w(c), constant((np.abs(d.array(c)) + 0.1).astype(np.float32)))


MOVES: list[Callable[[Value], Value]] = [
    Pad(pads=(0, 0, 1, 2, 0, 0, 0, 1), value=0.25),
    Pad(pads=(0, 1, 0, 0, 0, 0, 0, 0)),
    Slice(axis=2, start=1, stop=4, step=2),
    Resize(sizes=(8, 3)),
    Reshape(shape=(1, 12, 5)),
    Transpose(perm=(0, 2, 3, 1)),
    MaxPool(kernel=(2, 2), pads=(1, 0, 1, 1)),
    ReduceMax(axes=(2, 3)),
    ReduceMin(axes=(1,)),
    Tile(repeats=(1, 2, 1, 1)),
    Expand(shape=(2, 3, 4, 5)),
    lambda x: Gather(axis=1)(x, constant(np.array([[2, 0], [1, 1]]))),
    lambda x: Split(axis=1, sizes=(1, 2)).apply(x).results[1],
]


@form
def move(d: Draw) -> Value:
    """Behind what works on integers: alone it would stay float."""
    return d.choice(MOVES)(Neg()(d.x(1, 3, 4, 5)))


@form
def embedding(d: Draw) -> Value:
    return Add()(Gather(axis=0)(d.w(7, 4), constant(np.array([[6, 0, 3]]))), d.x(1, 3, 4))
