"""Networks of MLPerf Tiny, taught by their float selves: the module, x86 and a Cortex-M4 give the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mlperf import NETS, calibration, graphs, score_of_split

import graphopt
from graphopt.ir import Array
from graphopt.passes import Fuse, Quantize
from graphopt.training import QuantizedModule, distill, quantized_module

ON_BOARD = 40
"""The samples that the emulated Cortex-M4 runs."""


def outputs(module: QuantizedModule, x: Array) -> Array:
    with torch.no_grad():
        return np.concatenate([module(part).numpy() for part in torch.from_numpy(x).split(100)])


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["int4", "binary"])
@pytest.mark.parametrize("name", ["kws", "resnet8"])
def test_a_trained_network_is_its_program(name: str, weights: str, shared: Path) -> None:
    graph, x = graphs(shared, name)[0], calibration(shared, name)
    module = quantized_module(graph, Quantize(calibration=x, weights=weights))
    distill(graph, module, x, epochs=2)
    samples = np.concatenate([part.reshape(-1, *x.shape[1:]) for part in NETS[name].samples(shared)])
    wanted = outputs(module, samples)
    program = Fuse()(module.program())
    on_host = graphopt.compile(program, "host", batch=100, io="float32").run(samples)
    np.testing.assert_array_equal(on_host, wanted)
    on_board = graphopt.compile(program, "cortex-m4", batch=1, io="float32").run(samples[:ON_BOARD])
    np.testing.assert_array_equal(on_board, wanted[:ON_BOARD])
    print(f"{name}, weights {weights}: {score_of_split(shared, name, wanted):.1%}")
