"""Each form that a kernel can take, written out: the geometries and shapes that random graphs seldom hit."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from compiling import NATIVE, Weights, check_program, in_long_runs

from graphopt.ir import Graph, Value, constant
from graphopt.ops import (
    Add,
    AveragePool,
    BatchNorm,
    Clip,
    Concat,
    Conv,
    ConvTranspose,
    Linear,
    MatMul,
    MaxPool,
    Mul,
    ReduceMean,
    Relu,
    Reshape,
    Resize,
    Sigmoid,
    Slice,
    Softmax,
    Sub,
    Transpose,
)
from graphopt.passes import Fuse

TWO = ["host", "cortex-m4"]
MANY = [*in_long_runs(*NATIVE[:-1]), *TWO]
"""Each number of lanes, and plain C."""

GEOMETRIES = {
    "3x3": ((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    "unpadded": ((3, 3), (1, 1), (0, 0, 0, 0), (1, 1)),
    "strided": ((3, 3), (2, 2), (1, 1, 1, 1), (1, 1)),
    "odd strides": ((2, 3), (3, 2), (0, 1, 1, 0), (1, 1)),
    "dilated": ((3, 3), (1, 1), (2, 2, 2, 2), (2, 2)),
    "strided and dilated": ((3, 2), (2, 3), (3, 1, 0, 2), (2, 3)),
    "all border": ((5, 7), (1, 1), (4, 6, 4, 6), (1, 1)),
    "left pad": ((1, 3), (1, 1), (0, 2, 0, 0), (1, 1)),
    "right pad": ((3, 1), (1, 1), (0, 0, 2, 0), (1, 1)),
    "pads beyond the window": ((2, 2), (1, 1), (3, 0, 0, 4), (1, 1)),
    "whole plane": ((7, 9), (1, 1), (0, 0, 0, 0), (1, 1)),
    "stride beyond the window": ((1, 1), (3, 3), (0, 0, 0, 0), (1, 1)),
}


def conv(g: Weights, x: Value, out: int, geometry: str = "3x3", group: int = 1) -> Value:
    kernel, strides, pads, dilations = GEOMETRIES[geometry]
    weight = g.w(out, int(str(x.type.shape[1])) // group, *kernel)
    return Conv(strides=strides, pads=pads, dilations=dilations, group=group)(x, weight, g.w(out))


@pytest.mark.parametrize("target", MANY)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_conv_geometries(geometry: str, target: str) -> None:
    """Whole, depthwise and grouped: interior tiles, and borders on every side; between two layouts each."""
    g = Weights()
    x = g.x(2, 6, 7, 9)
    inner = Relu()(x)
    results = [conv(g, inner, 10, geometry), conv(g, inner, 6, geometry, 6), conv(g, inner, 9, geometry, 3)]
    check_program(g.graph(*(Relu()(y) for y in results)), target)


@pytest.mark.parametrize("target", MANY)
@pytest.mark.parametrize("channels", [1, 5, 33, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 17))])
def test_conv_channel_counts(channels: int, target: str) -> None:
    """Full vectors, what is left over, and a lone channel, in and out."""
    g = Weights()
    x = Relu()(g.x(1, channels, 5, 6))
    results = [conv(g, x, out) for out in (1, 3, 5, 17, 33)]
    results += [Conv()(x, g.w(out, channels, 1, 1), g.w(out)) for out in (1, 5, 33)]
    results += [conv(g, x, channels, group=channels), conv(g, x, 2 * channels, group=channels)]
    check_program(g.graph(*(Relu()(y) for y in results)), target)


@pytest.mark.parametrize("target", TWO)
def test_conv_over_one_and_three_axes(target: str) -> None:
    g = Weights()
    x, v = g.x(2, 4, 11), g.x(1, 3, 4, 5, 4)
    line = Conv(strides=(2,), pads=(2, 1), dilations=(2,))(x, g.w(7, 4, 3), g.w(7))
    deep = Conv(pads=(1, 0, 1) * 2, strides=(2, 1, 1))(v, g.w(4, 3, 3, 2, 3), g.w(4))
    up = ConvTranspose(strides=(2,), pads=(1, 0), output_padding=(1,))(x, g.w(4, 3, 3), g.w(3))
    pooled = [MaxPool(kernel=(3,), pads=(1, 1))(x), AveragePool(kernel=(2, 3, 2), pads=(1, 0, 1) * 2)(v)]
    check_program(g.graph(line, deep, up, *pooled, MaxPool(kernel=(2, 2, 2))(v), ReduceMean(axes=(2, 3, 4))(v)), target)


@pytest.mark.parametrize("target", NATIVE)
def test_transposed_convolutions_so_small_that_all_loops_unroll(target: str) -> None:
    """One of these read far outside its input: LLVM had made vectors of the scalars, and nonsense of their indices."""
    g = Weights()
    shapes = [(2, 1, 2, 3), (1, 2, 3, 2), (2, 2, 2, 2)]
    results = [
        ConvTranspose(strides=strides)(x, g.w(x.type.static_shape[1], 2, *kernel), g.w(2))
        for x in (g.x(*shape) for shape in shapes)
        for kernel in ((2, 3), (3, 2), (2, 2))
        for strides in ((1, 2), (2, 1), (2, 2))
    ]
    check_program(g.graph(*results), target)


@pytest.mark.parametrize("target", TWO)
def test_weights_computed_at_run_time(target: str) -> None:
    g = Weights()
    x, w, b, f = g.x(1, 4, 5, 5), g.x(6, 2, 3, 3), g.x(6), g.x(3, 4)
    y = Conv(group=2, pads=(1, 1, 1, 1))(x, w, Relu()(b))
    z = Linear()(Reshape(shape=(25, 4))(x), f, g.w(3))
    lone = Conv()(Slice(axis=1, start=0, stop=1)(x), Slice(axis=1, start=0, stop=1)(w), g.w(6))
    one = Conv()(g.x(1, 1, 3, 3), g.x(1, 1, 2, 2), g.w(1))
    check_program(g.graph(y, z, lone, one, MatMul()(f, Reshape(shape=(4, 25))(x))), target)


def tails() -> dict[str, Callable[[Value], Value]]:
    return {
        "mean": ReduceMean(axes=(2, 3)),
        "flat mean": ReduceMean(axes=(2, 3), keepdims=False),
        "max 2x2": MaxPool(kernel=(2, 2), strides=(2, 2)),
        "average 2x4": AveragePool(kernel=(2, 4), strides=(2, 4)),
        "max 1x8": MaxPool(kernel=(1, 8), strides=(1, 8)),
    }


@pytest.mark.parametrize("target", MANY)
@pytest.mark.parametrize("tail", tails())
def test_convolutions_that_end_in_a_pooling(tail: str, target: str) -> None:
    g = Weights()
    x = g.x(2, 3, 6, 8)
    layers = [conv(g, x, 5), conv(g, x, 3, group=3), Conv()(x, g.w(5, 3, 1, 1), g.w(5)), conv(g, x, 19)]
    # values that are all negative show a maximum that starts at 0
    activations = (Relu(), Clip(high=-0.25), Sigmoid(), Clip(high=-0.25))
    ends = [tails()[tail](f(y)) for f, y in zip(activations, layers, strict=True)]
    graph = g.graph(*ends)
    fused = Fuse()(graph)
    assert sum(n.op.name == "fused" for n in fused.nodes) == len(ends)
    check_program(fused, target)


@pytest.mark.parametrize("target", TWO)
def test_linear_of_every_rank(target: str) -> None:
    g = Weights()
    shapes = [(5,), (3, 5), (2, 3, 5), (2, 3, 2, 5)]
    inputs = [g.x(*s) for s in shapes]
    plain = [Linear()(x, g.w(33, 5), g.w(33)) for x in inputs]
    # an operand in another order of memory, whose rows do not merge
    moved = Transpose(perm=(0, 2, 1))(Relu()(inputs[2]))
    odd = Linear()(Relu()(moved), g.w(4, 3), g.w(4))
    check_program(g.graph(*plain, odd), target)
    check_program(Fuse()(g.graph(*(Relu()(p) for p in plain))), target)


@pytest.mark.parametrize("target", MANY)
def test_epilogues_of_every_broadcast_shape(target: str) -> None:
    """Residuals and constants of each shape that broadcasts, behind convolutions of each kind and a linear."""
    g = Weights()
    x = g.x(2, 4, 3, 5)
    ends = []
    for dims in product((0, 1), repeat=4):
        shape = tuple(d if keep else 1 for d, keep in zip((2, 4, 3, 5), dims, strict=True))
        layer = [conv(g, x, 4), conv(g, x, 4, group=4), Conv()(x, g.w(4, 4, 1, 1), g.w(4))][sum(dims) % 3]
        other = g.x(*shape) if sum(dims) % 2 else Mul()(g.x(*shape), g.w(*shape[1:]))
        ends += [Relu()(Sub()(other, layer)) if dims[1] else Add()(layer, other)]
    row = g.x(3, 5)
    ends += [Add()(Linear()(row, g.w(5, 5), g.w(5)), o) for o in (g.x(5), g.x(3, 1), g.w(1), g.w(), row)]
    graph = Fuse()(g.graph(*ends))
    assert all(v.op.name == "fused" for v in graph.outputs)
    check_program(graph, target)


@pytest.mark.parametrize("target", TWO)
def test_epilogues_that_read_what_the_layer_reads(target: str) -> None:
    """The input, the weight or the bias once more: they are packed for the layer, and plain for the epilogue."""
    g = Weights()
    x, row = g.x(1, 3, 1, 3), g.x(2, 3)
    square, weight, bias = g.w(3, 3), g.w(3, 3, 1, 1), g.w(3)
    layer = Linear()(row, square, bias)
    pointwise = Conv()(x, weight, bias)
    ends = [Add()(layer, bias), Mul()(Linear()(row, square, bias), row), Add()(pointwise, x)]
    ends += [
        Add()(Conv()(x, weight, bias), bias),
        Mul()(Conv()(x, g.w(3, 3, 1, 1), bias), bias),
    ]
    single = g.w(1)
    ends.append(Add()(Conv()(Slice(axis=1, start=0, stop=1)(x), g.w(1, 1, 1, 1), single), single))
    check_program(Fuse()(g.graph(*ends)), target)


@pytest.mark.parametrize("target", TWO)
def test_one_buffer_read_as_a_row_and_point_by_point(target: str) -> None:
    """The result may not take the place of an operand that the layer still reads under another shape."""
    g = Weights()
    x = Relu()(g.x(1, 4, 5, 6))
    same = Reshape(shape=(1, 4, 5, 6))(Reshape(shape=(120,))(x))
    y = Reshape(shape=(4, 30))(Add()(conv(g, x, 4), same))
    check_program(Fuse()(g.graph(Linear()(y, g.w(3, 30), g.w(3)))), target)


@pytest.mark.parametrize("target", TWO)
def test_norms_that_do_not_fold(target: str) -> None:
    """A norm behind a residual, or at the head of a kernel, is computed there."""
    g = Weights()
    x = g.x(1, 3, 4, 4)

    variance = constant(np.array([0.5, 1.0, 2.0], "float32"))

    def norm(y: Value) -> Value:
        return BatchNorm()(y, g.w(3), g.w(3), g.w(3), variance)

    graph = g.graph(Relu()(norm(Add()(conv(g, x, 3), x))), Sigmoid()(norm(x)))
    check_program(Fuse()(graph), target)


@pytest.mark.parametrize("target", TWO)
def test_every_axis_of_softmax_and_concat(target: str) -> None:
    g = Weights()
    x = g.x(2, 3, 4, 5)
    inner = Relu()(conv(g, x, 3))
    ends = [Softmax(axis=a)(v) for a in (*range(4), -1) for v in (x, inner)]
    ends += [Concat(axis=a)(x, inner, g.w(2, 3, 4, 5), x) for a in range(4)]
    check_program(g.graph(*ends, Concat(axis=1)(g.x(2, 1, 4, 5), inner)), target)


@pytest.mark.parametrize("target", TWO)
def test_every_resize(target: str) -> None:
    g = Weights()
    x = Relu()(g.x(1, 3, 4, 6))
    kinds = product(("asymmetric", "half_pixel"), ("floor", "round_prefer_floor"))
    sizes = [(8, 12), (4, 6), (12, 6), (3, 5), (7, 11), (1, 1), (2, 3)]
    ends = [Resize(sizes=s, coordinates=c, rounding=r)(x) for s in sizes for c, r in kinds]
    check_program(g.graph(*ends, Resize(sizes=(5,))(g.x(2, 2, 3)), Resize(sizes=(4, 3, 5))(g.x(1, 2, 2, 3, 4))), target)


def odd_outputs() -> dict[str, Graph]:
    """Graphs whose outputs have no kernel of their own, or none at all."""
    cases: dict[str, Graph] = {}

    def case(name: str, make: Callable[[Weights, Value], tuple[Value, ...]]) -> None:
        g = Weights()
        cases[name] = g.graph(*make(g, g.x(2, 3, 4)))

    case("an input", lambda g, x: (x,))
    case("an input twice", lambda g, x: (x, x))
    case("a constant", lambda g, x: (g.w(2, 3),))
    case("a constant twice", lambda g, x: (c := g.w(5), c))
    case("a scalar", lambda g, x: (g.w(),))
    case("wide integers", lambda g, x: (constant([-(2**63), 2**63 - 1, -1]), constant([2**64 - 1, 0])))
    case("infinities", lambda g, x: (constant([float("inf"), float("-inf"), 1.0]),))
    case("one value twice", lambda g, x: (y := Relu()(x), y))
    case("a reshape of an input", lambda g, x: (Reshape(shape=(6, 4))(x),))
    case("a reshape of an output", lambda g, x: (y := Relu()(x), Reshape(shape=(24,))(y), Reshape(shape=(4, 6))(y)))
    case("reshapes in a row", lambda g, x: (Reshape(shape=(24,))(Reshape(shape=(8, 3))(Relu()(x))),))
    case("an output that is read", lambda g, x: (y := Relu()(x), Sigmoid()(y), Add()(y, y)))
    case("a reshape between layouts", lambda g, x: (Relu()(Reshape(shape=(2, 4, 3))(Transpose(perm=(0, 2, 1))(x))),))
    case("no work and no inputs read", lambda g, x: (g.w(3), x))
    case("a mean of all", lambda g, x: (ReduceMean(axes=(0, 1, 2), keepdims=False)(x),))
    g = Weights()
    cases["no inputs"] = g.graph(Add()(g.w(3), g.w(3)))
    return cases


@pytest.mark.parametrize("target", ["cortex-m4", *in_long_runs("host", "aarch64")])
@pytest.mark.parametrize("name", odd_outputs())
def test_odd_outputs(name: str, target: str) -> None:
    check_program(odd_outputs()[name], target)
