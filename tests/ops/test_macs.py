"""Multiply-accumulates: an integer form has those of the operator on reals that it is the form of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphopt.ir import Value, arg, constant
from graphopt.ops import (
    LSTM,
    Conv,
    ConvInteger,
    ConvTransposeInteger,
    ConvXnor,
    Linear,
    LinearInteger,
    LstmSequence,
    MatMul,
    MatMulInteger,
    PackSigns,
)
from graphopt.ops.macs import macs_of


def zeros(*shape: int, dtype: str = "float32") -> Value:
    return constant(np.zeros(shape, dtype))


IMAGE, BYTES = arg("x", "float32", (2, 6, 9, 8)), arg("q", "int8", (2, 6, 9, 8))
ROWS, ROW_BYTES = arg("r", "float32", (3, 5, 7)), arg("s", "int8", (3, 5, 7))
COUNTS: dict[str, tuple[Value, int]] = {
    "conv": (Conv(group=3)(IMAGE, zeros(12, 2, 3, 3), zeros(12)), 2 * 12 * 7 * 6 * 2 * 9),
    "conv_integer": (
        ConvInteger(group=3)(BYTES, zeros(12, 2, 3, 3, dtype="int8"), zeros(12, dtype="int32")),
        2 * 12 * 7 * 6 * 2 * 9,
    ),
    "conv_transpose_integer": (
        ConvTransposeInteger()(BYTES, zeros(6, 4, 3, 3, dtype="int8"), zeros(4, dtype="int32")),
        2 * 6 * 9 * 8 * 4 * 9,
    ),
    "conv_xnor": (
        ConvXnor(channels=6)(PackSigns()(IMAGE), zeros(12, 1, 3, 3, dtype="uint32"), zeros(12, dtype="int32")),
        2 * 12 * 7 * 6 * 6 * 9,
    ),
    "linear": (Linear()(ROWS, zeros(4, 7), zeros(4)), 3 * 5 * 7 * 4),
    "linear_integer": (
        LinearInteger()(ROW_BYTES, zeros(4, 7, dtype="int8"), zeros(4, dtype="int32")),
        3 * 5 * 7 * 4,
    ),
    "matmul": (MatMul()(ROWS, zeros(7, 4)), 3 * 5 * 7 * 4),
    "matmul_integer": (MatMulInteger()(ROW_BYTES, zeros(7, 4, dtype="int8")), 3 * 5 * 7 * 4),
    "lstm": (LSTM().apply(ROWS, zeros(1, 16, 7), zeros(1, 16, 4), zeros(1, 32)).results[0], 3 * 5 * 16 * (7 + 4)),
    "lstm_sequence": (LstmSequence()(arg("g", "float32", (3, 5, 16)), zeros(16, 4)), 3 * 5 * 16 * 4),
}


@pytest.mark.parametrize("name", COUNTS)
def test_by_hand(name: str) -> None:
    value, expected = COUNTS[name]
    assert macs_of(value.node) == expected


def test_a_quantized_net_has_those_of_its_float_net(shared: Path) -> None:
    from mlperf import graphs, quantized

    from graphopt.ops.macs import count_macs

    assert count_macs(quantized(shared, "kws")) == count_macs(graphs(shared, "kws")[0]) > 2_000_000
