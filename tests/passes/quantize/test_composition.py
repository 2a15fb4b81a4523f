"""Prune, quantize, compile: fewer bytes and fewer instructions on Cortex-M4, and still the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from compiling import in_long_runs
from mlperf import NETS, calibration, graphs, quantized

from graphopt import compile
from graphopt.passes import Fuse, Pipeline, PruneChannels, Quantize, RemoveDeadChannels


@pytest.mark.parametrize("name", ["kws", *in_long_runs("resnet8", "vww", "ad")])
def test_prune_quantize_compile(name: str, shared: Path) -> None:
    data = calibration(shared, name)[:64]
    passes = [RemoveDeadChannels(), PruneChannels(ratio=0.3), Quantize(calibration=data), Fuse()]
    small = Pipeline(passes)(graphs(shared, name)[0])
    x = next(NETS[name].samples(shared))[:1]
    costs = []
    for graph in (quantized(shared, name), small):
        program = compile(graph, "cortex-m4")
        result = program.measure([x])
        np.testing.assert_array_equal(program.dequantize(*result.outputs[0]), graph(x)[0])
        costs.append((program.manifest["weight_bytes"], result.instructions))
    (bytes_before, before), (bytes_after, after) = costs
    print(f"{name}: {bytes_before:,} -> {bytes_after:,} bytes of weights, {before:,} -> {after:,} instructions")
    assert bytes_after < 0.8 * bytes_before
    assert after < 0.85 * before
