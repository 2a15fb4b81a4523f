"""Every operator that is read, as models of one operator: in float32, and quantized as the table says."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from frontends.tflite.drawing import Drawn, FileTensor, draw, quantize
from frontends.tflite.oracle import Reference
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


IMAGE = x(1, 7, 6, 4)
CONV = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
DEPTHWISE = {**CONV, "depthMultiplier": 1}
POOL = {"filterHeight": 3, "filterWidth": 2, "strideH": 2, "strideW": 1}
VALID, SAME_PADDING = 1, 0
RELU, RELU_N1, RELU6, TANH = 1, 2, 3, 4


def conv(kind: str, *operands: Operand | None, variants: Sequence[str] = WIDE, **options: Any) -> Case:
    op, defaults = {"conv": ("CONV_2D", CONV), "depthwise": ("DEPTHWISE_CONV_2D", DEPTHWISE)}[kind]
    options_of = {"conv": "Conv2DOptions", "depthwise": "DepthwiseConv2DOptions"}[kind]
    return Case(op, operands, options_of, {**defaults, **options}, variants)


def pool(op: str, variants: Sequence[str] = ALL, operand: Operand = IMAGE, **options: Any) -> Case:
    return Case(op, [operand], "Pool2DOptions", {**POOL, **options}, variants, SAME)


CASES: dict[str, Case] = {
    "conv": conv("conv", IMAGE, w(5, 3, 3, 4), b(5), padding=SAME_PADDING),
    "conv_valid": conv("conv", IMAGE, w(5, 3, 2, 4), b(5), padding=VALID, fusedActivationFunction=RELU),
    "conv_strides": conv("conv", IMAGE, w(3, 3, 3, 4), b(3), strideH=2, strideW=3, fusedActivationFunction=RELU6),
    "conv_dilated": conv("conv", IMAGE, w(3, 3, 3, 4), b(3), dilationHFactor=2, dilationWFactor=2),
    "conv_groups": conv("conv", IMAGE, w(6, 3, 3, 2), b(6), variants=WIDE),
    "conv_relu_n1": conv("conv", IMAGE, w(3, 2, 2, 4), b(3), fusedActivationFunction=RELU_N1),
    "conv_per_tensor": Case("CONV_2D", [IMAGE, w(5, 3, 3, 4), b(5)], "Conv2DOptions", CONV, ALL, per_channel=False),
    "conv_wide": conv("conv", x(1, 5, 5, 3), w(2, 5, 5, 3), b(2), padding=SAME_PADDING),
    "depthwise": conv("depthwise", IMAGE, w(1, 3, 3, 4, axis=3), b(4)),
    "depthwise_valid": conv("depthwise", IMAGE, w(1, 3, 2, 4, axis=3), b(4), padding=VALID, strideH=2, strideW=2),
    "depthwise_multiplier": conv(
        "depthwise", IMAGE, w(1, 3, 3, 12, axis=3), b(12), depthMultiplier=3, fusedActivationFunction=RELU
    ),
    "depthwise_dilated": conv("depthwise", IMAGE, w(1, 3, 3, 4, axis=3), b(4), dilationHFactor=2, dilationWFactor=2),
    "depthwise_per_tensor": Case(
        "DEPTHWISE_CONV_2D",
        [IMAGE, w(1, 3, 3, 4, axis=3), b(4)],
        "DepthwiseConv2DOptions",
        DEPTHWISE,
        ALL,
        per_channel=False,
    ),
    "transpose_conv": Case(
        "TRANSPOSE_CONV",
        [k(1, 7, 9, 5), w(5, 3, 3, 2), x(1, 4, 5, 2), b(5)],
        "TransposeConvOptions",
        {"strideH": 2, "strideW": 2, "padding": SAME_PADDING},
        WIDE,
    ),
    "transpose_conv_valid": Case(
        "TRANSPOSE_CONV",
        [k(1, 9, 11, 5), w(5, 3, 3, 2), x(1, 4, 5, 2)],
        "TransposeConvOptions",
        {"strideH": 2, "strideW": 2, "padding": VALID},
        WIDE,
    ),
    "transpose_conv_even": Case(
        "TRANSPOSE_CONV",
        [k(1, 8, 10, 5), w(5, 3, 3, 2), x(1, 4, 5, 2), b(5)],
        "TransposeConvOptions",
        {"strideH": 2, "strideW": 2, "padding": SAME_PADDING, "fusedActivationFunction": RELU},
        WIDE,
    ),
    "average_pool": pool("AVERAGE_POOL_2D"),
    "average_pool_valid": pool("AVERAGE_POOL_2D", padding=VALID, fusedActivationFunction=RELU),
    "average_pool_whole": pool("AVERAGE_POOL_2D", filterHeight=7, filterWidth=6, padding=VALID),
    "max_pool": pool("MAX_POOL_2D"),
    "max_pool_valid": pool("MAX_POOL_2D", padding=VALID, fusedActivationFunction=RELU6),
    "l2_pool": pool("L2_POOL_2D", (FLOAT,)),
    "fully_connected": Case("FULLY_CONNECTED", [x(3, 8), w(5, 8), b(5)], "FullyConnectedOptions", {}, WIDE),
    "fully_connected_per_tensor": Case(
        "FULLY_CONNECTED",
        [x(1, 8), w(5, 8), b(5)],
        "FullyConnectedOptions",
        {"fusedActivationFunction": RELU},
        ALL,
        per_channel=False,
    ),
    "fully_connected_image": Case("FULLY_CONNECTED", [x(1, 2, 2, 4), w(5, 16)], "FullyConnectedOptions", {}, WIDE),
    "fully_connected_kept": Case(
        "FULLY_CONNECTED", [x(1, 3, 4), w(5, 4), b(5)], "FullyConnectedOptions", {"keepNumDims": True}, WIDE
    ),
    "fully_connected_computed": Case("FULLY_CONNECTED", [x(2, 8), x(5, 8)], "FullyConnectedOptions", {}, ALL),
    "batch_matmul": Case("BATCH_MATMUL", [x(2, 3, 4), x(2, 4, 5)], "BatchMatMulOptions", {}, WIDE),
    "batch_matmul_adjoint": Case(
        "BATCH_MATMUL", [x(2, 4, 3), x(2, 5, 4)], "BatchMatMulOptions", {"adjX": True, "adjY": True}, WIDE
    ),
    **{
        op.lower(): Case(op, [x(1, 3, 4, 2), x(1, 3, 4, 2, low=-1, high=3)], f"{op.title()}Options", {}, ALL)
        for op in ("ADD", "SUB", "MUL")
    },
    "add_relu": Case("ADD", [x(1, 3, 4, 2), x(1, 3, 4, 2)], "AddOptions", {"fusedActivationFunction": RELU}, ALL),
    "add_channels": Case("ADD", [x(1, 3, 4, 2), c(2)], "AddOptions", {}, ALL),
    "add_spread": Case("ADD", [x(1, 3, 4, 2), x(1, 1, 4, 1)], "AddOptions", {}, ALL),
    "mul_channels": Case("MUL", [x(1, 3, 4, 2), c(1, 1, 1, 2)], "MulOptions", {}, ALL),
    "sub_row": Case("SUB", [c(4), x(3, 4)], "SubOptions", {}, ALL),
    "div": Case("DIV", [x(1, 3, 4, 2), x(1, 3, 4, 2, low=1, high=3)], "DivOptions", {}, ALL),
    "add_integers": Case("ADD", [ints([[1, -2, 3]]), ints([[4, 5, -6]])], "AddOptions", {}, (FLOAT,), dtype="int32"),
    "maximum": Case("MAXIMUM", [x(1, 3, 4, 2), x(1, 3, 4, 2)], "MaximumMinimumOptions", {}, ALL, SAME),
    "minimum": Case("MINIMUM", [x(1, 3, 4, 2), c(2)], "MaximumMinimumOptions", {}, ALL, SAME),
    "abs": Case("ABS", [x(2, 5)], "AbsOptions", {}, WIDE),
    "neg": Case("NEG", [x(2, 5)], "NegOptions", {}, (FLOAT,)),
    "exp": Case("EXP", [x(2, 5)], "ExpOptions", {}, SIGNED),
    "log": Case("LOG", [x(2, 5, low=0.5, high=4)], None, {}, SIGNED),
    "sqrt": Case("SQRT", [x(2, 5, low=0.5, high=4)], None, {}, WIDE),
    "rsqrt": Case("RSQRT", [x(2, 5, low=0.5, high=4)], None, {}, SIGNED),
    "sin": Case("SIN", [x(2, 5)], None, {}, (FLOAT,)),
    "cos": Case("COS", [x(2, 5)], "CosOptions", {}, (FLOAT,)),
    "ceil": Case("CEIL", [x(2, 5)], None, {}, (FLOAT,), plain=False),
    "floor": Case("FLOOR", [x(2, 5)], None, {}, (FLOAT,)),
    "round": Case("ROUND", [x(2, 5)], None, {}, (FLOAT,), plain=False),
    "sign": Case("SIGN", [x(2, 5)], "SignOptions", {}, (FLOAT,)),
    "square": Case("SQUARE", [x(2, 5)], "SquareOptions", {}, (FLOAT,)),
    "squared_difference": Case("SQUARED_DIFFERENCE", [x(2, 5), x(2, 5)], "SquaredDifferenceOptions", {}, SIGNED),
    "pow": Case("POW", [x(2, 5, low=0.5, high=2), x(2, 5)], "PowOptions", {}, (FLOAT,)),
    "floor_div": Case("FLOOR_DIV", [x(2, 5), x(2, 5, low=0.5)], "FloorDivOptions", {}, (FLOAT,)),
    "floor_mod": Case("FLOOR_MOD", [x(2, 5), x(2, 5, low=0.5)], "FloorModOptions", {}, (FLOAT,)),
    "floor_div_integers": Case(
        "FLOOR_DIV", [ints([7, -7, 7, -7]), ints([2, 2, -2, -2])], "FloorDivOptions", {}, (FLOAT,), dtype="int32"
    ),
    "add_n": Case("ADD_N", [x(2, 5), x(2, 5), x(2, 5)], "AddNOptions", {}, (FLOAT,)),
    "relu": Case("RELU", [x(1, 3, 4, 2)], None, {}, ALL),
    "relu6": Case("RELU6", [x(1, 3, 4, 2, low=-2, high=8)], None, {}, ALL),
    "relu_n1_to_1": Case("RELU_N1_TO_1", [x(2, 5)], None, {}, BYTES),
    "relu_0_to_1": Case("RELU_0_TO_1", [x(2, 5)], None, {}, BYTES),
    "leaky_relu": Case("LEAKY_RELU", [x(1, 3, 4, 2)], "LeakyReluOptions", {"alpha": 0.25}, ALL),
    "prelu": Case("PRELU", [x(1, 3, 4, 2), c(1, 1, 2, low=0, high=0.5)], None, {}, BYTES),
    "elu": Case("ELU", [x(2, 5)], None, {}, SIGNED, plain=False),
    "gelu": Case("GELU", [x(2, 5)], "GeluOptions", {"approximate": False}, BYTES),
    "gelu_tanh": Case("GELU", [x(2, 5)], "GeluOptions", {"approximate": True}, BYTES),
    "hard_swish": Case("HARD_SWISH", [x(1, 3, 4, 2, low=-4, high=4)], "HardSwishOptions", {}, BYTES),
    "logistic": Case("LOGISTIC", [x(2, 5, low=-6, high=6)], None, {}, ALL, ONE),
    "tanh": Case("TANH", [x(2, 5, low=-3, high=3)], None, {}, ALL, SIGNED_ONE),
    "softmax": Case("SOFTMAX", [x(3, 8, low=-4, high=4)], "SoftmaxOptions", {"beta": 1.0}, ALL, ONE),
    "softmax_beta": Case("SOFTMAX", [x(1, 2, 3, 5)], "SoftmaxOptions", {"beta": 0.5}, ALL, ONE),
    "log_softmax": Case(
        "LOG_SOFTMAX", [x(3, 8)], "LogSoftmaxOptions", {}, BYTES, {INT8: (16 / 256, 127), UINT8: (16 / 256, 255)}
    ),
    "l2_normalization": Case("L2_NORMALIZATION", [x(3, 8)], "L2NormOptions", {}, BYTES, SIGNED_ONE),
    **{
        op.lower(): Case(op, [x(3, 4), x(3, 4)], f"{op.title().replace('_', '')}Options", {}, BYTES, dtype="bool")
        for op in ("EQUAL", "NOT_EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL")
    },
    "less_scales": Case("LESS", [x(3, 4), x(3, 4, low=-1)], "LessOptions", {}, ALL, dtype="bool"),
    "equal_bools": Case(
        "EQUAL",
        [ints([True, False, True], dtype="bool"), ints([True, True, False], dtype="bool")],
        "EqualOptions",
        {},
        (FLOAT,),
        dtype="bool",
    ),
    **{
        op.lower(): Case(
            op,
            [ints([[True, False, True]], dtype="bool"), ints([[True, True, False]], dtype="bool")],
            f"{op.title().replace('_', '')}Options",
            {},
            (FLOAT,),
            dtype="bool",
        )
        for op in ("LOGICAL_AND", "LOGICAL_OR")
    },
    "logical_not": Case(
        "LOGICAL_NOT", [ints([[True, False]], dtype="bool")], "LogicalNotOptions", {}, (FLOAT,), dtype="bool"
    ),
    "select": Case(
        "SELECT", [ints([True, False, True], dtype="bool"), x(3, 4), x(3, 4)], "SelectOptions", {}, ALL, SAME
    ),
    "select_v2": Case(
        "SELECT_V2", [ints([[True], [False], [True]], dtype="bool"), x(3, 4), x(4)], "SelectV2Options", {}, ALL, SAME
    ),
    "cast": Case("CAST", [x(2, 5)], "CastOptions", {"outDataType": 2}, (FLOAT,), dtype="int32"),
    "cast_back": Case("CAST", [ints([[1, -2, 3]])], "CastOptions", {"inDataType": 2}, (FLOAT,)),
    "mean": Case("MEAN", [IMAGE, k(1, 2)], "ReducerOptions", {"keepDims": False}, ALL),
    "mean_kept": Case("MEAN", [IMAGE, k(1, 2)], "ReducerOptions", {"keepDims": True}, ALL),
    "mean_channels": Case("MEAN", [IMAGE, k([-1])], "ReducerOptions", {"keepDims": False}, ALL),
    "sum": Case("SUM", [IMAGE, k([2])], "ReducerOptions", {"keepDims": False}, ALL, plain=False),
    "reduce_max": Case("REDUCE_MAX", [IMAGE, k(1, 2)], "ReducerOptions", {"keepDims": True}, ALL, SAME),
    "reduce_min": Case("REDUCE_MIN", [x(3, 4), k([1])], "ReducerOptions", {}, ALL, SAME),
    "reduce_prod": Case("REDUCE_PROD", [x(3, 4), k([1])], "ReducerOptions", {}, SIGNED),
    "reduce_any": Case(
        "REDUCE_ANY",
        [ints([[True, False], [False, False]], dtype="bool"), k([1])],
        "ReducerOptions",
        {},
        (FLOAT,),
        dtype="bool",
    ),
    "reduce_all": Case(
        "REDUCE_ALL",
        [ints([[True, False], [True, True]], dtype="bool"), k([1])],
        "ReducerOptions",
        {},
        (FLOAT,),
        dtype="bool",
    ),
    "arg_max": Case("ARG_MAX", [x(3, 8), k(1)], "ArgMaxOptions", {"outputType": 2}, BYTES, dtype="int32"),
    "arg_min": Case("ARG_MIN", [x(1, 3, 4, 5), k(-1)], "ArgMinOptions", {"outputType": 4}, BYTES, dtype="int64"),
    "cumsum": Case("CUMSUM", [x(3, 4), k(1)], "CumsumOptions", {"exclusive": True, "reverse": True}, (FLOAT,)),
    "reshape": Case("RESHAPE", [x(1, 3, 4, 2), k(1, -1)], "ReshapeOptions", {}, ALL, SAME),
    "reshape_options": Case("RESHAPE", [x(1, 3, 4)], "ReshapeOptions", {"newShape": [1, 12]}, ALL, SAME),
    "squeeze": Case("SQUEEZE", [x(1, 3, 1, 4)], "SqueezeOptions", {"squeezeDims": [2]}, ALL, SAME),
    "expand_dims": Case("EXPAND_DIMS", [x(1, 3, 4), k([1])], "ExpandDimsOptions", {}, ALL, SAME),
    "transpose": Case("TRANSPOSE", [x(1, 3, 4, 2), k(0, 2, 1, 3)], "TransposeOptions", {}, ALL, SAME),
    "concatenation": Case(
        "CONCATENATION", [x(1, 3, 4, 2), x(1, 3, 4, 3)], "ConcatenationOptions", {"axis": 3}, ALL, SAME
    ),
    "concatenation_scales": Case(
        "CONCATENATION", [x(1, 3), x(1, 4, low=-1, high=3)], "ConcatenationOptions", {"axis": -1}, (FLOAT, UINT8)
    ),
    "pack": Case("PACK", [x(3, 4), x(3, 4)], "PackOptions", {"valuesCount": 2, "axis": 1}, ALL, SAME),
    "unpack": Case("UNPACK", [x(3, 2, 4)], "UnpackOptions", {"num": 2, "axis": 1}, ALL, SAME, outputs=2),
    "split": Case("SPLIT", [k(3), x(1, 3, 4, 4)], "SplitOptions", {"numSplits": 2}, ALL, SAME, outputs=2),
    "split_v": Case(
        "SPLIT_V", [x(1, 3, 6), k(1, 2, -1), k(2)], "SplitVOptions", {"numSplits": 3}, ALL, SAME, outputs=3
    ),
    "pad": Case("PAD", [x(1, 3, 4, 2), k([[0, 0], [1, 2], [0, 1], [0, 0]])], "PadOptions", {}, ALL, SAME),
    "pad_v2": Case(
        "PADV2", [x(1, 3, 4, low=-2, high=2), k([[0, 0], [1, 2], [0, 1]]), c(1)], "PadV2Options", {}, ALL, SAME
    ),
    "mirror_pad": Case("MIRROR_PAD", [x(1, 3, 4), k([[0, 0], [1, 2], [2, 1]])], "MirrorPadOptions", {}, ALL, SAME),
    "mirror_pad_symmetric": Case(
        "MIRROR_PAD", [x(1, 3, 4), k([[0, 0], [3, 2], [2, 1]])], "MirrorPadOptions", {"mode": 1}, ALL, SAME
    ),
    "slice": Case(
        "SLICE", [x(1, 3, 4, 2), k(0, 1, 0, 0), k(1, 2, -1, 1)], "SliceOptions", {}, ALL, SAME, shape=(1, 2, 4, 1)
    ),
    "strided_slice": Case(
        "STRIDED_SLICE",
        [x(2, 5, 6), k(0, 1, -1), k(2, 5, -7), k(1, 2, -1)],
        "StridedSliceOptions",
        {"beginMask": 1, "endMask": 1},
        ALL,
        SAME,
    ),
    "strided_slice_shrunk": Case(
        "STRIDED_SLICE",
        [x(2, 5, 6), k(0, -2), k(0, 0), k(1, 1)],
        "StridedSliceOptions",
        {"beginMask": 1, "endMask": 1, "shrinkAxisMask": 2},
        ALL,
        SAME,
    ),
    "strided_slice_new_axis": Case(
        "STRIDED_SLICE",
        [x(2, 5), k(0, 0, 1), k(0, 0, 4), k(1, 1, 1)],
        "StridedSliceOptions",
        {"beginMask": 1, "endMask": 1, "newAxisMask": 2},
        ALL,
        SAME,
    ),
    "reverse_v2": Case("REVERSE_V2", [x(2, 5), k([1])], "ReverseV2Options", {}, ALL, SAME),
    "gather": Case("GATHER", [x(3, 5, 2), k(4, 0, 0)], "GatherOptions", {"axis": 1}, ALL, SAME),
    "gather_computed": Case("GATHER", [x(5, 2), ints(4, 0, 0)], "GatherOptions", {"axis": 0}, ALL, SAME),
    "gather_nd": Case("GATHER_ND", [x(3, 5), k([[0, 4], [2, 1]])], "GatherNdOptions", {}, ALL, SAME),
    "embedding_lookup": Case("EMBEDDING_LOOKUP", [ints(4, 0, 2), c(5, 3)], None, {}, ALL, SAME),
    "tile": Case("TILE", [x(1, 3, 2), k(1, 2, 3)], "TileOptions", {}, ALL, SAME),
    "broadcast_to": Case(
        "BROADCAST_TO", [x(1, 3, 1), k(2, 3, 4)], "BroadcastToOptions", {}, ALL, SAME, plain=False, version=2
    ),
    "depth_to_space": Case("DEPTH_TO_SPACE", [x(1, 3, 2, 8)], "DepthToSpaceOptions", {"blockSize": 2}, BYTES, SAME),
    "space_to_depth": Case("SPACE_TO_DEPTH", [x(1, 4, 6, 2)], "SpaceToDepthOptions", {"blockSize": 2}, BYTES, SAME),
    "space_to_batch": Case(
        "SPACE_TO_BATCH_ND",
        [x(1, 5, 6, 2), k(2, 3), k([[1, 0], [0, 0]])],
        "SpaceToBatchNDOptions",
        {},
        ALL,
        SAME,
    ),
    "batch_to_space": Case(
        "BATCH_TO_SPACE_ND",
        [x(6, 3, 2, 2), k(2, 3), k([[1, 0], [0, 1]])],
        "BatchToSpaceNDOptions",
        {},
        ALL,
        SAME,
    ),
    "quantize": Case(
        "QUANTIZE",
        [real(1, 12)],
        "QuantizeOptions",
        {},
        ALL[1:],
        {INT8: (4 / 255, 7), UINT8: (4 / 255, 99), INT16: (2**-14, 0)},
    ),
    "quantize_again": Case(
        "QUANTIZE", [x(1, 12)], "QuantizeOptions", {}, (INT8, INT16), {INT8: (3 / 255, 7), INT16: (2**-13, 0)}
    ),
    "dequantize": Case("DEQUANTIZE", [x(1, 12)], "DequantizeOptions", {}, ALL[1:], dtype=FLOAT, version=3),
    "shape": Case("SHAPE", [x(2, 3)], "ShapeOptions", {"outType": 2}, SIGNED, dtype="int32"),
    "broadcast_args": Case("BROADCAST_ARGS", [k(1, 3, 1), k(2, 1, 4)], None, {}, (FLOAT,), dtype="int32"),
    "zeros_like": Case("ZEROS_LIKE", [x(2, 3)], "ZerosLikeOptions", {}, (FLOAT,)),
    "fill": Case("FILL", [k(2, 3), x()], "FillOptions", {}, (FLOAT,)),
    **{
        f"resize_nearest_{name}": Case(
            "RESIZE_NEAREST_NEIGHBOR",
            [x(1, 3, 4, 2), k(*size)],
            "ResizeNearestNeighborOptions",
            {"alignCorners": align, "halfPixelCenters": half},
            ALL,
            SAME,
        )
        for name, size, align, half in (
            ("up", (6, 8), False, False),
            ("odd", (5, 7), False, False),
            ("half", (5, 9), False, True),
            ("aligned", (5, 7), True, False),
            ("down", (2, 2), False, True),
        )
    },
    **{
        f"resize_bilinear_{name}": Case(
            "RESIZE_BILINEAR",
            [x(1, 3, 4, 2), k(*size)],
            "ResizeBilinearOptions",
            {"alignCorners": align, "halfPixelCenters": half},
            BYTES,
            SAME,
        )
        for name, size, align, half in (
            ("up", (6, 8), False, False),
            ("half", (5, 9), False, True),
            ("aligned", (5, 7), True, False),
            ("down", (2, 2), False, True),
        )
    },
    "resize_bilinear_wide": Case(
        "RESIZE_BILINEAR",
        [x(1, 3, 4, 2), k(5, 9)],
        "ResizeBilinearOptions",
        {"halfPixelCenters": True},
        (INT16,),
        SAME,
        steps=128,  # LiteRT weighs by multiples of 1 / 1024 along both axes
    ),
}
