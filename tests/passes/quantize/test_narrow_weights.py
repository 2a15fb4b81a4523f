"""KWS and ResNet8 with weights of four bits, and of four and eight under a budget: compiled, over all samples."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from mlperf import NETS, calibration, graphs, score_of_split

from graphopt import compile
from graphopt.ir import Graph
from graphopt.passes import Fuse, MixedPrecision, Quantize
from graphopt.passes.quantize.layers import packed_weights

FLOAT = {"kws": 0.910, "resnet8": 0.873}


def score(shared: Path, name: str, quantized: Graph) -> float:
    net = NETS[name]
    program = compile(Fuse()(quantized), "host", batch=net.batch)
    outputs = program.run(np.concatenate(list(net.samples(shared))))
    return score_of_split(shared, name, np.asarray(program.dequantize(np.asarray(outputs))))


@cache
def whole(shared: Path, name: str) -> int:
    """The bytes of all weights in int8."""
    wide = Quantize(calibration=calibration(shared, name))(graphs(shared, name)[0])
    return sum(size for _, size in packed_weights(wide).values())


@pytest.mark.parametrize("name", ["kws", pytest.param("resnet8", marks=pytest.mark.slow)])
def test_four_bits_in_all_layers_lose_little(name: str, shared: Path) -> None:
    narrow = Quantize(calibration=calibration(shared, name), weights="int4")(graphs(shared, name)[0])
    packed = packed_weights(narrow)
    assert {bits for bits, _ in packed.values()} == {4}
    assert sum(size for _, size in packed.values()) * 2 == whole(shared, name)
    assert score(shared, name, narrow) >= FLOAT[name] - 0.015


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kws", "resnet8"])
def test_five_eighths_of_the_bytes_lose_less(name: str, shared: Path) -> None:
    mixed = MixedPrecision(calibration=calibration(shared, name), budget=0.625)(graphs(shared, name)[0])
    packed = packed_weights(mixed)
    assert {bits for bits, _ in packed.values()} == {4, 8}
    assert sum(size for _, size in packed.values()) <= whole(shared, name) * 0.625
    assert score(shared, name, mixed) >= FLOAT[name] - 0.007
