"""Profiles as data: a row for each kernel, its multiplications or bytes, and the peaks beside them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from compiling import Weights

from graphopt import compile
from graphopt.ir import Graph, arg, constant
from graphopt.ops import Conv, Gather, ReduceMean, Relu
from graphopt.passes import Context, Pipeline
from graphopt.records import to_json
from graphopt.report import ProfileReport, cost_of, profile_program
from graphopt.report.profile import kernel_time

X = np.random.default_rng(0).standard_normal((1, 8, 6, 6)).astype(np.float32)


def net() -> Graph:
    g = Weights()
    x = arg("x", "float32", X.shape)
    y = Conv(pads=(1, 1, 1, 1))(x, g.w(16, 8, 3, 3), g.w(16), name="wide")
    return Graph((x,), (ReduceMean(axes=(2, 3))(Relu()(y), name="mean"),))


@pytest.fixture(scope="module")
def floats() -> ProfileReport:
    return profile_program(compile(net(), "host"), [X], repeats=2)


def test_a_row_for_each_kernel(floats: ProfileReport) -> None:
    names = [(kernel.node, kernel.operators) for kernel in floats.kernels]
    assert names == [("wide", "conv"), ("relu", "relu"), ("mean", "reduce_mean")]
    assert sum(kernel.macs or 0 for kernel in floats.kernels) == cost_of(net()).macs == 16 * 36 * 72
    assert sum(kernel.share for kernel in floats.kernels) == pytest.approx(1)
    assert floats.kernel_seconds == sum(kernel.seconds for kernel in floats.kernels)
    assert floats.costliest is not None
    assert floats.kernels[floats.costliest].seconds == max(kernel.seconds for kernel in floats.kernels)


def test_rates(floats: ProfileReport) -> None:
    peaks = {peak.products: peak.macs_per_second for peak in floats.peaks}
    assert next(iter(peaks)) == "float32" and min(peaks.values()) > 0
    wide, relu, mean = floats.kernels
    assert wide.products == "float32" and wide.bytes_per_second is None
    assert wide.macs_per_second is not None and wide.macs is not None
    assert wide.macs_per_second == pytest.approx(wide.macs / wide.seconds)
    assert wide.of_peak == pytest.approx(wide.macs_per_second / peaks["float32"])
    assert (relu.macs, relu.products, relu.of_peak) == (None, None, None)
    assert (relu.moved_bytes, mean.moved_bytes) == (2 * 16 * 36 * 4, (16 * 36 + 16) * 4)


def test_integers() -> None:
    graph = Pipeline("quantize,fuse")(net(), Context(calibration=[{"x": X}]))
    program = compile(graph, "host")
    report = profile_program(program, {"x": X}, "host", repeats=1)
    (conv,) = (kernel for kernel in report.kernels if kernel.macs)
    assert conv.products == "int8" and conv.macs == 16 * 36 * 72
    if "int8" in {peak.products for peak in report.peaks}:
        assert conv.of_peak is not None and conv.of_peak > 0


def test_a_gather_moves_what_it_picks() -> None:
    table, indices = np.zeros((1000, 8), np.float32), arg("i", "int64", (3,))
    program = compile(Graph((indices,), (Gather(axis=0)(constant(table), indices),)), "host")
    (row,) = program.manifest["kernels"]
    assert row["moved_bytes"] == 2 * 3 * 8 * 4 + 3 * 8


def test_what_no_clock_saw_has_no_rate() -> None:
    row = {"node": "a", "kernel": "k", "operators": "conv", "macs": 9, "products": "float32", "moved_bytes": 8}
    found = kernel_time(row, 0.0, 0.0, {"float32": 1e9})
    assert (found.share, found.macs_per_second, found.of_peak) == (0, None, None)
    other = kernel_time({**row, "products": "int16"}, 1.0, 2.0, {"float32": 1e9})
    assert (other.share, other.macs_per_second, other.of_peak) == (0.5, 9, None)


def test_json(floats: ProfileReport) -> None:
    found = json.loads(to_json(floats))
    assert set(found) == {"version", "target", "seconds", "kernel_seconds", "peaks", "costliest", "kernels"}
    assert set(found["peaks"][0]) == {"products", "instruction", "macs_per_second"}
    assert set(found["kernels"][0]) == {
        "node", "kernel", "operators", "seconds", "share", "macs", "products", "macs_per_second", "of_peak",
        "moved_bytes", "bytes_per_second",
    }  # fmt: skip
