"""What the operators that move elements refuse."""

from __future__ import annotations

import math

import pytest

from graphopt.errors import InvalidGraph
from graphopt.ir import arg
from graphopt.ops import Pad


@pytest.mark.parametrize(("dtype", "value"), [("int32", -math.inf), ("int8", 128), ("uint8", 0.5), ("bool", 2)])
def test_a_pad_is_a_number_of_its_dtype(dtype: str, value: float) -> None:
    x = arg("x", dtype, (1, 2))
    assert Pad(pads=(0, 1, 0, 0), value=1)(x).type.shape == (1, 3)
    with pytest.raises(InvalidGraph, match=f"pad of {dtype}"):
        Pad(pads=(0, 1, 0, 0), value=value)(x)
