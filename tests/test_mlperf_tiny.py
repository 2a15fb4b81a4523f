"""The four MLPerf Tiny nets from their ONNX files: accuracy against ONNX Runtime, every machine, exact costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from compiling import FLOAT32_BOUND, assert_close, in_long_runs
from mlperf import NETS, graphs, input_name, path_of, program
from oracle import session

from graphopt.errors import BudgetExceeded
from graphopt.ir import bind_batch

POINT = 0.001
"""A tenth of a percentage point: what accuracy may differ by from ONNX Runtime's."""


@pytest.mark.parametrize("name", ["kws", "ad", *in_long_runs("resnet8", "vww")])
def test_is_as_accurate_as_onnx_runtime(name: str, shared: Path) -> None:
    net = NETS[name]
    samples = np.concatenate(list(net.samples(shared)))
    reference = session(path_of(shared, name))
    graph = graphs(shared, name)[0]
    wanted = np.concatenate([reference.run(None, {input_name(graph): x})[0] for x in net.samples(shared)])
    got = program(shared, name, "host", net.batch).run(samples)
    assert isinstance(got, np.ndarray)
    errors = np.abs(got - wanted).reshape(len(got), -1).max(1) / np.abs(wanted).max()
    assert (errors > FLOAT32_BOUND).mean() <= net.outliers
    ours, theirs = net.score(shared, got), net.score(shared, wanted)
    assert abs(ours - theirs) <= POINT
    assert abs(ours - net.known) <= POINT


def check_on(name: str, target: str, shared: Path, samples: int) -> None:
    """The first samples, against the evaluation of the graph as it was loaded."""
    graph = graphs(shared, name)[0]
    x = np.concatenate([s for s, _ in zip(NETS[name].samples(shared), range(samples), strict=False)])[:samples]
    got = program(shared, name, target).run(x)
    assert_close(bind_batch(graph, samples)(x), [np.asarray(got)], f"{name} on {target}")


@pytest.mark.parametrize("target", ["aarch64", *in_long_runs("armv7", "cortex-m7")])
@pytest.mark.parametrize("name", ["kws", "ad", *in_long_runs("resnet8", "vww")])
def test_runs_on_arm(name: str, target: str, shared: Path) -> None:
    check_on(name, target, shared, samples=3)


@pytest.mark.parametrize("target", ["cortex-m0", "cortex-m3", "cortex-m33"])
@pytest.mark.parametrize("name", ["kws", *in_long_runs("resnet8", "vww", "ad")])
def test_runs_on_small_microcontrollers(name: str, target: str, shared: Path) -> None:
    check_on(name, target, shared, samples=1)


@pytest.mark.parametrize("name", ["kws", *in_long_runs("resnet8")])
def test_runs_on_cortex_m55(name: str, shared: Path) -> None:
    check_on(name, "cortex-m55", shared, samples=1)


@pytest.mark.parametrize("name", ["ad", *in_long_runs("vww")])
def test_weights_beyond_the_flash_of_cortex_m55_are_refused(name: str, shared: Path) -> None:
    with pytest.raises(BudgetExceeded, match=r"bytes of weights, the emulated mps3-an547 has 524,288 of flash"):
        check_on(name, "cortex-m55", shared, samples=1)


INSTRUCTIONS = {"kws": 6_280_000, "resnet8": 21_480_000, "vww": 15_470_000, "ad": 604_000}
"""At most so many on Cortex-M4 for one inference; fewer is fine, and a reason to lower the figure."""

ONNX2C = {"kws": 19_900_000, "resnet8": 119_900_000, "vww": 54_100_000, "ad": 1_340_000}
"""What onnx2c takes for the same nets at -O3."""


@pytest.mark.parametrize("name", ["kws", "resnet8", *in_long_runs("vww", "ad")])
def test_instructions_on_cortex_m4(name: str, shared: Path) -> None:
    x = next(NETS[name].samples(shared))[:1]
    result = program(shared, name, "cortex-m4").measure([x])
    assert_close(graphs(shared, name)[0](x), result.outputs[0], name)
    assert result.instructions is not None
    assert result.instructions <= INSTRUCTIONS[name] < ONNX2C[name]
