"""Transposed convolutions on all Cortex-M cores: by routines, whatever the weights and the order of the result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from targets.test_dsp_forms import LARGEST, bias, scaled, weights
from targets.test_dsp_kernels import Layer

import graphopt
from graphopt.ir import Graph, arg
from graphopt.ops import ConvInteger, ConvTransposeInteger
from graphopt.passes import Fuse
from graphopt.targets import get_target
from graphopt.targets.lowering import lower

pytestmark = pytest.mark.usefixtures("usual_kernels")

MOST = {"cortex-m0": 9.7, "cortex-m3": 4.4, "cortex-m4": 2.8, "cortex-m55": 1.8}
"""Instructions for each product."""
WINDOWS: list[tuple[tuple[int, int], dict[str, tuple[int, int] | tuple[int, int, int, int]]]] = [
    ((3, 3), {"strides": (2, 2), "pads": (1, 1, 1, 1), "output_padding": (1, 1)}),
    ((2, 2), {"strides": (2, 2)}),
]


def layer(form: str, turned: bool, kernel: tuple[int, int], window: dict[str, Any]) -> Layer:
    """Of what stands channels-last; the result, an output, does not, unless a convolution follows (``turned``)."""
    rng = np.random.default_rng(0)
    x = arg("x", "int8", (1, 12, 5, 6))
    first = scaled(rng, ConvInteger()(x, weights(rng, "whole", 12, 12, 1, 1), bias(rng, 12)))
    op = ConvTransposeInteger(zero_point=-7, **window)
    y = scaled(rng, op(first, weights(rng, form, 12, 9, *kernel), bias(rng, 9)), low=-90)
    return x, scaled(rng, ConvInteger()(y, weights(rng, "whole", 2, 9, 1, 1), bias(rng, 2))) if turned else y


@pytest.mark.parametrize("target", MOST)
def test_transposed_convolutions_of_all_weights(target: str) -> None:
    layers = [layer(form, turned, *window) for form in LARGEST for turned in (False, True) for window in WINDOWS]
    graph = Fuse()(Graph(tuple(x for x, _ in layers), tuple(y for _, y in layers)))
    calls = lower(graph, get_target(target)).calls
    at = [i for i, call in enumerate(calls) if "transposed_products" in call.how.rule]
    assert len(at) == len(layers)
    feed = [np.random.default_rng(1).integers(-128, 128, x.type.static_shape).astype(np.int8) for x, _ in layers]
    program = graphopt.compile(graph, target)
    run = program.measure_batches([feed])
    for got, want, (_, y) in zip(run.outputs[0], graph(*feed), layers, strict=True):
        np.testing.assert_array_equal(got, want, err_msg=str(y.node))
    assert run.per_kernel is not None
    found = [run.per_kernel[i] / program.manifest["kernels"][i]["macs"] for i in at]
    assert max(found) <= MOST[target], found
