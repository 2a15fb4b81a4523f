"""Weights of four bits or one on all Cortex-M cores: exact, by routines, and not much slower than whole weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tagged import run_tagged
from targets.test_dsp_forms import LARGEST, WINDOWS, bias, conv, linear, scaled, weights
from targets.test_dsp_kernels import Layer

import graphopt
from graphopt.ir import Graph, arg
from graphopt.ops import ConvInteger, Window
from graphopt.passes import Fuse
from graphopt.targets import get_target
from graphopt.targets.lowering import lower

pytestmark = pytest.mark.usefixtures("usual_kernels")

MOST = {"cortex-m0": 1.7, "cortex-m3": 2.5, "cortex-m4": 2.6, "cortex-m55": 2.9}
"""Times the instructions of whole weights; a product of one row takes the most."""
MEAN = {"cortex-m0": 1.1, "cortex-m3": 1.2, "cortex-m4": 1.3, "cortex-m55": 1.25}
"""The same of all layers."""


def layers(form: str) -> list[Layer]:
    rng = np.random.default_rng(0)
    made = [
        conv(rng, form, (1, 16, 6, 6), 10, (3, 3)),
        conv(rng, form, (1, 3, 7, 7), 7, (3, 3), window=WINDOWS[1]),
        conv(rng, form, (1, 17, 5, 4), 70, (1, 1), window=Window.of((1, 1), (), ())),
        conv(rng, form, (1, 12, 5, 5), 18, (3, 3), group=3),
        conv(rng, form, (1, 9, 8, 8), 9, (3, 3), group=9),
        conv(rng, form, (1, 8, 9, 6), 8, (5, 1), group=8, window=Window.of((5, 1), (), (2, 0, 2, 0))),
    ]
    return [*made, linear(rng, form, 1, 65, 70), linear(rng, form, 6, 33, 21)]


@pytest.mark.parametrize("target", MOST)
def test_layers_of_few_bits(target: str) -> None:
    made = {form: layers(form) for form in LARGEST}
    flat = [layer for form in made for layer in made[form]]
    graph = Fuse()(Graph(tuple(x for x, _ in flat), tuple(y for _, y in flat)))
    calls = lower(graph, get_target(target)).calls
    general = [call.how.rule for call in calls if "kernels.conv." in call.how.rule]
    assert not general
    rng = np.random.default_rng(1)
    feed = [rng.integers(-128, 128, x.type.static_shape).astype(np.int8) for x, _ in flat]
    run = graphopt.compile(graph, target).measure_batches([feed])
    for got, want, layer in zip(run.outputs[0], graph(*feed), flat, strict=True):
        np.testing.assert_array_equal(got, want, err_msg=str(layer[1].node))
    assert run.per_kernel is not None
    whole, *few = np.array(run.per_kernel).reshape(len(made), -1)
    for form, counts in zip(list(made)[1:], few, strict=True):
        assert np.mean(counts / whole) <= MEAN[target], form
        assert (counts <= MOST[target] * whole).all(), (form, counts / whole)


@pytest.mark.parametrize("target", ["cortex-m3", "cortex-m55"])
def test_results_over_operands_where_weights_are_unpacked_in_parts(target: str, tmp_path: Path) -> None:
    """Windows that are read where they stand are read again for each part of the channels."""
    rng = np.random.default_rng(0)
    x = arg("x", "int8", (1, 40, 4, 4))
    value = x
    for form in ("int4", "binary", "int4"):
        value = scaled(rng, ConvInteger(zero_point=3)(value, weights(rng, form, 40, 40, 1, 1), bias(rng, 40)))
    graph = Fuse()(Graph((x,), (value,)))
    assert run_tagged(graph, replace(get_target(target), ram=None), tmp_path) == ""
