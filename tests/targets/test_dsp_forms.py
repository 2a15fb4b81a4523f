"""Groups, and weights of four bits or one, on a Cortex-M4: exact, and about as fast as whole weights of one group."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from targets.test_dsp_kernels import M4, Layer, bias, check, rules, scaled, walk

import graphopt
from graphopt.ir import Graph, Value, arg, constant
from graphopt.ops import Add, ConvInteger, ConvTransposeInteger, LinearInteger, Window
from graphopt.passes import Fuse
from graphopt.targets import get_target
from graphopt.targets.lowering import lower

pytestmark = pytest.mark.usefixtures("usual_kernels")

LARGEST = {"whole": 127, "int4": 7, "binary": 1}

WINDOWS = [Window.of((3, 3), (), (1, 1, 1, 1)), Window.of((3, 3), (2, 2), (0, 1, 1, 1))]


def weights(rng: np.random.Generator, form: str, *shape: int) -> Value:
    drawn = rng.integers(-LARGEST[form], LARGEST[form] + 1, shape)
    return constant(np.where(drawn, drawn, 1).astype(np.int8), compact=form != "whole")


def linear(rng: np.random.Generator, form: str, rows: int, inputs: int, outputs: int) -> Layer:
    x = arg("x", "int8", (rows, inputs))
    op = LinearInteger(zero_point=int(rng.integers(-128, 128)))
    return x, scaled(rng, op(x, weights(rng, form, outputs, inputs), bias(rng, outputs)))


def conv(
    rng: np.random.Generator,
    form: str,
    shape: tuple[int, ...],
    outputs: int,
    kernel: tuple[int, int],
    group: int = 1,
    window: Window = WINDOWS[0],
) -> Layer:
    """Of what stands channels-last, for that is what a convolution before it gives."""
    x, channels = arg("x", "int8", shape), shape[1]
    first = scaled(rng, ConvInteger()(x, weights(rng, "whole", channels, channels, 1, 1), bias(rng, channels)))
    zero_point = int(rng.integers(-128, 128))
    op = ConvInteger(group=group, zero_point=zero_point, strides=window.strides, pads=window.pads)
    y = scaled(rng, op(first, weights(rng, form, outputs, channels // group, *kernel), bias(rng, outputs)))
    last = ConvInteger()(y, weights(rng, "whole", 2, outputs, 1, 1), bias(rng, 2))
    return x, scaled(rng, last)


SIZES = [1, 3, 4, 7, 9, 16, 33, 70]


def hold_products(rows: int, shapes: Sequence[tuple[int, int]]) -> None:
    """Not much more than twice what whole weights take, whatever the sizes: numbers of each channel are copied, too."""
    counts = {
        form: check([linear(np.random.default_rng(i), form, rows, *shape) for i, shape in enumerate(shapes)])
        for form in LARGEST
    }
    for at, shape in enumerate(shapes):
        plain = counts["whole"][at]
        most = 2 * plain + 100 + 24 * -(-shape[1] // 4)
        assert all(c[at] <= most for c in counts.values()), (shape, [c[at] for c in counts.values()])


@pytest.mark.parametrize("rows", [1, 3])
def test_products_of_weights_in_few_bits(rows: int) -> None:
    hold_products(rows, list(walk(SIZES)))


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("part", range(10))
def test_products_of_weights_in_few_bits_of_every_size(rows: int, part: int) -> None:
    hold_products(rows, list(walk(range(1, 71)))[part::10])


def test_convolutions_of_weights_in_few_bits() -> None:
    shapes = [((1, 16, 6, 6), 16, (3, 3)), ((1, 5, 7, 7), 7, (3, 3)), ((1, 32, 4, 4), 24, (1, 1))]
    counts = {
        form: check(
            [
                *(conv(np.random.default_rng(0), form, *shape) for shape in shapes),
                conv(np.random.default_rng(0), form, *shapes[1], window=WINDOWS[1]),
            ]
        )[1::3]
        for form in LARGEST
    }
    for at, plain in enumerate(counts["whole"]):
        assert all(counts[form][at] <= 2 * plain for form in LARGEST), at


@pytest.mark.parametrize("optimize", ["balanced", "speed"])
def test_convolutions_in_groups(optimize: str) -> None:
    """At most about twice the instructions of a product that a single group of as many channels takes."""
    rng = np.random.default_rng(0)
    groups = [(16, 16, 2), (16, 32, 4), (12, 18, 6), (6, 4, 2), (32, 32, 2), (10, 15, 5), (8, 16, 8)]
    layers, products_of = [], []
    for (inputs, outputs, group), kernel in product(groups, [(3, 3), (1, 1)]):
        window = WINDOWS[kernel == (1, 1)]
        layers.append(conv(rng, "whole", (1, inputs, 6, 6), outputs, kernel, group, window))
        layers.append(conv(rng, "whole", (1, inputs // group, 6, 6), outputs // group, kernel, window=window))
        products_of.append(group)
    counts = check(layers, optimize=optimize)[1::3]
    for at, group in enumerate(products_of):
        together, alone = counts[2 * at : 2 * at + 2]
        assert together <= 2 * group * alone + 200, (groups[at // 2], together, group * alone)


def test_what_follows_groups_and_weights_in_few_bits() -> None:
    """Sums as they are, and what is added to them."""
    rng = np.random.default_rng(0)
    x = arg("x", "int8", (1, 8, 5, 5))
    results = []
    for form, group in (("int4", 1), ("binary", 1), ("whole", 2), ("int4", 2), ("binary", 4)):
        w = weights(rng, form, 12, 8 // group, 3, 3)
        padded = ConvInteger(group=group, pads=(1, 1, 1, 1))
        added = constant(rng.integers(-9, 9, (12, 1, 1)).astype(np.int32))
        results += [padded(x, w, bias(rng, 12)), Add()(padded(x, w, bias(rng, 12)), added)]
        results += [scaled(rng, ConvInteger(group=group)(x, w, bias(rng, 12)), low=-90)]
    graph = Fuse()(Graph((x,), tuple(results)))
    assert set(rules(graph)) == {"conv_by_products"}
    feed = rng.integers(-128, 128, (1, 8, 5, 5)).astype(np.int8)
    run = graphopt.compile(graph, M4).measure_batches([[feed]], count=False)
    for got, want in zip(run.outputs[0], graph(feed), strict=True):
        np.testing.assert_array_equal(got, want)


def transposed(
    rng: np.random.Generator, shape: tuple[int, ...], outputs: int, kernel: tuple[int, ...], **window: tuple[int, ...]
) -> Layer:
    x, channels, ones = arg("x", "int8", shape), shape[1], (1,) * len(kernel)
    first = scaled(rng, ConvInteger()(x, weights(rng, "whole", channels, channels, *ones), bias(rng, channels)))
    changes: dict[str, Any] = {"zero_point": int(rng.integers(-128, 128)), **window}
    op = ConvTransposeInteger(**changes)
    y = scaled(rng, op(first, weights(rng, "whole", channels, outputs, *kernel), bias(rng, outputs)))
    last = ConvInteger()(y, weights(rng, "whole", 2, outputs, *ones), bias(rng, 2))
    return x, scaled(rng, last)


TRANSPOSED: list[tuple[tuple[int, ...], int, tuple[int, ...], dict[str, tuple[int, ...]], float, float]] = [
    ((1, 16, 6, 6), 16, (2, 2), {"strides": (2, 2)}, 1.45, 2.45),
    ((1, 8, 5, 6), 12, (4, 4), {"strides": (2, 2), "pads": (1, 1, 1, 1)}, 1.2, 2.2),
    ((2, 7, 5, 4), 5, (3, 3), {"strides": (2, 1), "pads": (1, 1, 1, 1), "output_padding": (1, 0)}, 2.4, 3.7),
    ((1, 8, 5, 5), 6, (3, 3), {"pads": (0, 1, 2, 1)}, 1.6, 2.9),
    ((1, 4, 4, 4), 3, (3, 2), {"dilations": (2, 1), "strides": (1, 2)}, 9.2, 8.6),
    ((1, 8, 9), 6, (4,), {"strides": (2,), "pads": (1, 1)}, 2.4, 3.5),
]
"""Shape, channels of the result, kernel and window; and the most instructions for a product on an M4 and on an M3."""


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m3"])
def test_transposed_convolutions(target: str) -> None:
    """A few instructions for each product, whatever the strides."""
    rng = np.random.default_rng(0)
    layers = [transposed(rng, shape, outputs, kernel, **window) for shape, outputs, kernel, window, *_ in TRANSPOSED]
    graph = Fuse()(Graph(tuple(x for x, _ in layers), tuple(y for _, y in layers)))
    calls = lower(graph, get_target(target)).calls
    assert not any(call.how.rule.endswith("conv_transpose_kernel") for call in calls)
    feed = [rng.integers(-128, 128, x.type.static_shape).astype(np.int8) for x, _ in layers]
    run = graphopt.compile(graph, target).measure_batches([feed])
    for got, want, layer in zip(run.outputs[0], graph(*feed), layers, strict=True):
        np.testing.assert_array_equal(got, want, err_msg=str(layer[1].node))
    assert run.per_kernel is not None
    for count, (shape, outputs, kernel, _, *most) in zip(run.per_kernel[1::3], TRANSPOSED, strict=True):
        products_of = int(np.prod(shape)) * outputs * int(np.prod(kernel))
        assert count <= most[target == "cortex-m3"] * products_of, (shape, outputs, kernel)
