"""Deep matrix products on cores with DSP: in parts, whose sums fit the routines."""

import numpy as np
import pytest
from compiling import check_program

from graphopt.ir import Graph, arg, constant
from graphopt.ops import LinearInteger, Requantize
from graphopt.passes import Fuse

pytestmark = pytest.mark.usefixtures("usual_kernels")


def deep(rows: int, depth: int, outputs: int, dtype: str = "int8") -> Graph:
    """A layer of weights whose sums may need more than 24 bits, and do where all inputs are at one end."""
    rng = np.random.default_rng(depth)
    x = arg("x", dtype, (rows, depth))
    weight = rng.integers(-127, 128, (outputs, depth)).astype(np.int8)
    weight[0] = 127
    bias = rng.integers(-999, 999, outputs, np.int32 if dtype == "int8" else np.int64)
    sums = LinearInteger(zero_point=-128)(x, constant(weight), constant(bias))
    scales = constant(np.full(outputs, 1 << 30, np.int32)), constant(np.full(outputs, 48, np.int32))
    return Fuse()(Graph((x,), (Requantize(zero_point=-100)(sums, *scales),)))


@pytest.mark.parametrize(("rows", "depth", "outputs"), [(1, 3001, 10), (2, 1500, 7)])
def test_deep_products_go_by_the_routines(rows: int, depth: int, outputs: int) -> None:
    program = check_program(deep(rows, depth, outputs), "cortex-m4")
    rules = [row["rule"] for row in program.manifest["kernels"] if row["kernel"].startswith("linear")]
    assert len(rules) > 1
    assert all("linear_by_products for dsp" in rule for rule in rules)


@pytest.mark.parametrize(("depth", "dtype"), [(200, "int8"), (28, "int16")])
def test_other_products_stay_whole(depth: int, dtype: str) -> None:
    program = check_program(deep(1, depth, 10, dtype), "cortex-m4")
    assert len(program.manifest["kernels"]) == 1
