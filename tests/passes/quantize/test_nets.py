"""The four MLPerf Tiny nets in int8: accuracy of the compiled program over all samples, equal bytes on every core."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from compiling import in_long_runs
from mlperf import NETS, program, quantized, score_of_split

from graphopt import Program, compile
from graphopt.ir import Constant, Input
from graphopt.ops import Dequantize, Fused, Quantize

FLOAT = {"kws": 0.910, "resnet8": 0.873, "vww": 0.870, "ad": 0.872}
AT_LEAST = {"kws": 0.905, "resnet8": 0.868, "vww": 0.860, "ad": 0.867}


SMALL = ["kws", "ad"]
EACH = [*SMALL, *in_long_runs(*(name for name in NETS if name not in SMALL))]


@cache
def int8_program(shared: Path, name: str, target: str, batch: int = 1) -> Program:
    return compile(quantized(shared, name), target, batch=batch)


@pytest.mark.parametrize("name", EACH)
def test_accuracy(name: str, shared: Path) -> None:
    net = NETS[name]
    samples = np.concatenate(list(net.samples(shared)))
    int8 = int8_program(shared, name, "host", net.batch)
    got = int8.dequantize(np.asarray(int8.run(samples)))
    wanted = program(shared, name, "host", net.batch).run(samples)
    assert score_of_split(shared, name, np.asarray(wanted)) == pytest.approx(FLOAT[name], abs=1e-3)
    assert score_of_split(shared, name, np.asarray(got)) >= AT_LEAST[name]


@pytest.mark.parametrize("name", NETS)
def test_all_of_it_is_integers(name: str, shared: Path) -> None:
    graph = quantized(shared, name)
    edges = (Constant, Input, Quantize, Dequantize)
    inside = [n for n in graph.nodes if not isinstance(n.op, edges)]
    assert [n for n in inside if any(t.is_float for t in n.types)] == []
    assert all(not t.is_float for n in inside if isinstance(n.op, Fused) for m in n.op.body.nodes for t in m.types)


def check_bytes(name: str, target: str, shared: Path, samples: int) -> None:
    x = next(NETS[name].samples(shared))[:samples]
    int8 = int8_program(shared, name, target)
    got = int8.dequantize(np.asarray(int8.run(x)))
    np.testing.assert_array_equal(got, quantized(shared, name)(x)[0])


@pytest.mark.parametrize("target", ["aarch64", "armv7", "cortex-m4"])
@pytest.mark.parametrize("name", EACH)
def test_equal_bytes_on_arm(name: str, target: str, shared: Path) -> None:
    check_bytes(name, target, shared, 2)


@pytest.mark.parametrize("target", ["cortex-m0", "cortex-m55", *in_long_runs("cortex-m3", "cortex-m7", "cortex-m33")])
@pytest.mark.parametrize("name", ["kws", *in_long_runs("resnet8")])
def test_equal_bytes_on_every_microcontroller(name: str, target: str, shared: Path) -> None:
    check_bytes(name, target, shared, 1)


INSTRUCTIONS = {"kws": 9_200_000, "resnet8": 46_300_000, "vww": 24_600_000, "ad": 710_000}
"""At most so many on Cortex-M4 for one inference."""


@pytest.mark.parametrize("name", ["kws", "resnet8", "ad", *in_long_runs("vww")])
def test_instructions_on_cortex_m4(name: str, shared: Path) -> None:
    result = int8_program(shared, name, "cortex-m4").measure([next(NETS[name].samples(shared))[:1]])
    assert result.instructions is not None
    assert result.instructions <= INSTRUCTIONS[name]


@pytest.mark.parametrize("weights", ["int4", "binary"])
@pytest.mark.parametrize("name", ["kws", *in_long_runs("resnet8")])
def test_narrow_weights_run_packed(name: str, weights: str, shared: Path) -> None:
    """Not how accurate they are, which is for what recovers them, but that the bytes are equal, and few."""
    graph = quantized(shared, name, weights=weights)
    x = next(NETS[name].samples(shared))[:1]
    whole = int8_program(shared, name, "cortex-m4").manifest["weight_bytes"]
    for target in ("host", "cortex-m4"):
        narrow = compile(graph, target)
        np.testing.assert_array_equal(narrow.dequantize(np.asarray(narrow.run(x))), graph(x)[0])
        assert narrow.manifest["weight_bytes"] < whole * {"int4": 0.65, "binary": 0.35}[weights]
