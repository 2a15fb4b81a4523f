"""Groups, and weights of four bits or one, on a Cortex-M4: exact, and about as fast as whole weights of one group."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from targets.test_dsp_kernels import M4, Layer, bias, check, rules, scaled, walk

import graphopt
from graphopt.ir import Graph, Value, arg, constant
from graphopt.ops import Add, ConvInteger, LinearInteger
from graphopt.passes import Fuse

LARGEST = {"whole": 127, "int4": 7, "binary": 1}


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
    **window: tuple[int, ...],
) -> Layer:
    """Of what stands channels-last, for that is what a convolution before it gives."""
    x, channels = arg("x", "int8", shape), shape[1]
    first = scaled(rng, ConvInteger()(x, weights(rng, "whole", channels, channels, 1, 1), bias(rng, channels)))
    op = ConvInteger(group=group, zero_point=int(rng.integers(-128, 128)), **window)
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


WINDOWS: list[dict[str, tuple[int, ...]]] = [
    {"pads": (1, 1, 1, 1)},
    {"strides": (2, 2), "pads": (0, 1, 1, 1)},
]


def test_convolutions_of_weights_in_few_bits() -> None:
    shapes = [((1, 16, 6, 6), 16, (3, 3)), ((1, 5, 7, 7), 7, (3, 3)), ((1, 32, 4, 4), 24, (1, 1))]
    counts = {
        form: check(
            [
                *(conv(np.random.default_rng(0), form, *shape, **WINDOWS[0]) for shape in shapes),
                conv(np.random.default_rng(0), form, *shapes[1], **WINDOWS[1]),
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
        layers.append(conv(rng, "whole", (1, inputs, 6, 6), outputs, kernel, group, **WINDOWS[kernel == (1, 1)]))
        layers.append(
            conv(rng, "whole", (1, inputs // group, 6, 6), outputs // group, kernel, **WINDOWS[kernel == (1, 1)])
        )
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
