"""Maxima behind convolutions are kernels of their own where routines compute these, with the same results."""

import numpy as np
import pytest
from compiling import check_program

import graphopt
from graphopt.ir import Graph, arg, constant
from graphopt.ops import ConvInteger, MaxPool, Requantize
from graphopt.passes import Fuse

POOLING = "max_pool"


def pooled() -> Graph:
    rng = np.random.default_rng(0)
    x = arg("x", "int8", (1, 1, 12, 12))
    weight, bias = rng.integers(-127, 128, (8, 1, 3, 3)).astype(np.int8), rng.integers(-999, 999, 8, np.int32)
    plane = ConvInteger(pads=(1, 1, 1, 1))(x, constant(weight), constant(bias))
    scaled = Requantize()(plane, constant(np.int32(1 << 30)), constant(np.int32(38)))
    return Fuse()(Graph((x,), (MaxPool(kernel=(2, 2), strides=(2, 2))(scaled),)))


@pytest.mark.parametrize(("target", "apart"), [("cortex-m4", True), ("cortex-m55", True), ("cortex-m0", False)])
def test_poolings_are_cut_off_for_routines(target: str, apart: bool) -> None:
    program = check_program(pooled(), target)
    kernels = [row["kernel"] for row in program.manifest["kernels"]]
    assert any(POOLING in name for name in kernels) == apart


def test_the_fewest_bytes_keep_them_fused() -> None:
    program = graphopt.compile(pooled(), "cortex-m4", optimize="size")
    assert len(program.manifest["kernels"]) == 1
    x = np.random.default_rng(1).integers(-128, 128, (1, 1, 12, 12)).astype(np.int8)
    assert (program.run(x) == pooled()(x)[0]).all()
