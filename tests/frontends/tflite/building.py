"""Cases drawn as TFLite files: their data by a seed, their results quantized for the range that they have."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frontends.tflite.case import FLOAT, INT8, INT16, SAME, UINT8, Case, Operand
from frontends.tflite.drawing import Drawn, FileTensor, draw, quantize
from frontends.tflite.oracle import Reference
from graphopt.ir import Array


@dataclass
class Made:
    """A model, what LiteRT takes, what the graph takes, and the scale of the results, 0 where they have none."""

    model: bytes
    stored: list[Array]
    reals: list[Array]
    scales: list[float]
    zeros: list[int]


def parameters(dtype: str, low: float, high: float) -> tuple[float, int]:
    """Scale and zero point for a range."""
    low, high = min(low, 0.0), max(high, 1e-3)
    if dtype == INT16:
        return float(np.float32(max(-low, high) / 32767)), 0
    limits = np.iinfo(dtype)
    scale = float(np.float32((high - low) / 255))
    return scale, int(np.clip(np.rint(limits.min - low / scale), limits.min, limits.max))


class Builder:
    """Draws a case in one variant."""

    def __init__(self, name: str, case: Case, variant: str, batch: int = 1) -> None:
        self.case, self.variant = case, variant
        self.random = np.random.default_rng(zlib.crc32(name.encode()))
        self.tensors: list[FileTensor] = []
        self.stored: list[Array] = []
        self.reals: list[Array] = []
        self.scales: dict[int, Array] = {}
        for index, operand in enumerate(case.operands):
            if operand is not None:
                self.add(index, operand)

    def add(self, index: int, operand: Operand) -> None:
        name, shape, dtype = f"t{index}", operand.shape, operand.dtype or self.variant
        if operand.role == "plain":
            assert operand.value is not None
            tensor = FileTensor(name, str(operand.value.dtype), shape, operand.value if operand.constant else None)
            self.tensors.append(tensor)
            if not operand.constant:
                self.stored.append(operand.value)
                self.reals.append(operand.value)
            return
        low, high = (-1.0, 1.0) if operand.role in ("weight", "bias") else (operand.low, operand.high)
        data = self.random.uniform(low, high, shape).astype(np.float32)
        if dtype == FLOAT:
            tensor = FileTensor(name, FLOAT, shape, data if operand.constant else None)
            stored, real = data, data
        elif operand.role == "weight":
            axes = tuple(a for a in range(data.ndim) if a != operand.axis) if self.case.per_channel else None
            scale = (np.abs(data).max(axis=axes, keepdims=True) / 127).astype(np.float32)
            stored = quantize(data, scale, 0, INT8)
            self.scales[index] = scale.reshape(-1)
            tensor = FileTensor(name, INT8, shape, stored, scale.reshape(-1).tolist(), [0] * scale.size, operand.axis)
            if self.variant == UINT8:
                tensor = FileTensor(name, UINT8, shape, (stored.astype(int) + 128), scale.reshape(-1).tolist(), [128])
            real = data
        elif operand.role == "bias":
            steps = np.asarray(np.float64(self.data_scale()) * next(iter(self.scales.values())), np.float32)
            stored = np.rint(data / steps).astype("int64" if dtype == INT16 else "int32")
            tensor = FileTensor(name, str(stored.dtype), shape, stored, np.atleast_1d(steps).tolist(), [0] * steps.size)
            real = data
        else:
            scale, zero = parameters(dtype, low, high)
            stored = quantize(data, np.float32(scale), zero, dtype)
            real = (stored.astype(np.float32) - zero) * np.float32(scale)
            tensor = FileTensor(name, dtype, shape, stored if operand.constant else None, [scale], [zero])
        self.tensors.append(tensor)
        if not operand.constant:
            self.stored.append(stored)
            self.reals.append(real)

    @property
    def shape(self) -> Sequence[int]:
        """One of the rank of the first operand, for a result whose shape is not known yet."""
        return self.case.shape or [1] * len(self.tensors[0].shape)

    def data_scale(self) -> float:
        return next(t.scale[0] for t in self.tensors if t.data is None and t.scale)

    def drawn(self, results: Sequence[tuple[float, int] | None], shapes: Sequence[Sequence[int]] | None) -> bytes:
        outputs = []
        for i, found in enumerate(results):
            dtype = self.case.dtype or self.variant
            scale, zero = ([found[0]], [found[1]]) if found else ([], [])
            outputs.append(FileTensor(f"y{i}", dtype, shapes[i] if shapes else self.shape, None, scale, zero))
        inputs = [None if o is None else f"t{i}" for i, o in enumerate(self.case.operands)]
        operator = Drawn(
            self.case.op,
            inputs,
            [o.name for o in outputs],
            self.case.options,
            self.case.kind,
            version=self.case.version,
        )
        given = [t.name for t in self.tensors if t.data is None]
        return draw([*self.tensors, *outputs], [operator], given, [o.name for o in outputs])


def made(name: str, case: Case, variant: str) -> Made:
    """A case drawn: its results quantized for the range that they have in float32, their shapes as LiteRT has them."""
    builder = Builder(name, case, variant)
    results: list[tuple[float, int] | None] = [None] * case.outputs
    if variant != FLOAT and case.dtype is None:
        if case.result == SAME:
            first = next(t for t in builder.tensors if t.scale)
            results = [(first.scale[0], first.zero[0])] * case.outputs
        elif case.result == "range":
            plain = Builder(name, case, FLOAT)
            ranges = Reference(plain.drawn([None] * case.outputs, None), case.plain)(plain.reals)
            results = [parameters(variant, float(y.min()), float(y.max())) for y in ranges]
        else:
            assert not isinstance(case.result, str)
            results = [case.result[variant]] * case.outputs
    shapes = Reference(builder.drawn(results, None), case.plain).shapes
    model = builder.drawn(results, shapes)
    scales, zeros = [r[0] if r else 0.0 for r in results], [r[1] if r else 0 for r in results]
    return Made(model, builder.stored, builder.reals, scales, zeros)
