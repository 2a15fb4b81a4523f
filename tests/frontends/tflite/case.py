"""A model of one operator as data: its operands, its options, and how its result is quantized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphopt.ir import Array

FLOAT, INT8, UINT8, INT16 = "float32", "int8", "uint8", "int16"
SIGNED = (FLOAT, INT8)
BYTES = (FLOAT, INT8, UINT8)
WIDE = (FLOAT, INT8, INT16)
ALL = (FLOAT, INT8, UINT8, INT16)
SAME = "same"
Fixed = Mapping[str, tuple[float, int]]
ONE: Fixed = {INT8: (1 / 256, -128), UINT8: (1 / 256, 0), INT16: (1 / 32768, 0)}
SIGNED_ONE: Fixed = {INT8: (1 / 128, 0), UINT8: (1 / 128, 128), INT16: (1 / 32768, 0)}


@dataclass(frozen=True)
class Operand:
    """An input of the operator: ``data`` of a range, constant ``weight``s or ``bias``, or ``plain`` as it is.

    ``value`` is there for constants, and for plain inputs of the model, ``constant`` tells them apart.
    """

    role: str
    shape: tuple[int, ...]
    low: float = -2.0
    high: float = 2.0
    axis: int = 0
    value: Array | None = None
    constant: bool = False
    dtype: str | None = None
    """That of data, where it is another than that of the variant."""


def x(*shape: int, low: float = -2.0, high: float = 2.0) -> Operand:
    return Operand("data", shape, low, high)


def real(*shape: int) -> Operand:
    """An input of floats, whatever the result is."""
    return Operand("data", shape, dtype=FLOAT)


def w(*shape: int, axis: int = 0) -> Operand:
    return Operand("weight", shape, axis=axis, constant=True)


def b(size: int) -> Operand:
    return Operand("bias", (size,), constant=True)


def c(*shape: int, low: float = -2.0, high: float = 2.0) -> Operand:
    """A constant that is quantized as data is."""
    return Operand("data", shape, low, high, constant=True)


def k(*value: Any, dtype: str = "int32") -> Operand:
    """A constant that says axes, sizes and the like."""
    array = np.asarray(value[0] if len(value) == 1 else value, dtype)
    return Operand("plain", array.shape, value=array, constant=True)


def ints(*value: Any, dtype: str = "int32") -> Operand:
    """An input of integers or bools."""
    array = np.asarray(value[0] if len(value) == 1 else value, dtype)
    return Operand("plain", array.shape, value=array)


@dataclass(frozen=True)
class Case:
    """A model of one operator; ``result`` says how it is quantized: by its range, as its operand, or as given."""

    op: str
    operands: Sequence[Operand | None]
    kind: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    variants: Sequence[str] = SIGNED
    result: str | Fixed = "range"
    dtype: str | None = None
    """That of the result, where it is no real."""
    outputs: int = 1
    per_channel: bool = True
    steps: int = 1
    """By how many steps a quantized result may differ."""
    plain: bool = True
    """Whether LiteRT's reference kernels have it."""
    shape: tuple[int, ...] | None = None
    """That of the result, where LiteRT does not find it by itself."""
    version: int = 1


IMAGE = x(1, 7, 6, 4)
RELU, RELU_N1, RELU6, TANH = 1, 2, 3, 4
