"""How to draw the operators that work element by element."""

from __future__ import annotations

import numpy as np
from onnx import helper

from graphopt.testing.onnx_files.drawing import FileDrawing
from graphopt.testing.onnx_files.table import draws

INTEGERS = ("int32", "int64", "uint8", "int8")
ANY = ("float32", "float32", "float64", *INTEGERS)

RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("Acos", "Asin"), (-1, 1)),
    **dict.fromkeys(("Atanh",), (-0.9, 0.9)),
    **dict.fromkeys(("Acosh",), (1, 9)),
    **dict.fromkeys(("Log", "Reciprocal"), (0.1, 9)),
    **dict.fromkeys(("Sqrt",), (0.01, 9)),
    **dict.fromkeys(("Tan",), (-1.4, 1.4)),
    **dict.fromkeys(("Asinh", "Atan", "Cos", "Erf", "Sigmoid", "Sin", "Tanh"), (-9, 9)),
    **dict.fromkeys(("Cosh", "Exp", "Sinh"), (-4, 4)),
}
"""The smooth functions, and where they are drawn."""


@draws(*RANGES)
def smooth(f: FileDrawing, op: str) -> object:
    low, high = RANGES[op]
    dtype = "float64" if f.chance(10) else "float32"
    return f.node(op, [f.operand(dtype=dtype, low=low, high=high)])


@draws("Abs", "Neg", "Relu", "Sign", "Identity")
def moving_no_digit(f: FileDrawing, op: str) -> object:
    dtype = f.choice(("float32", "float32", "float64", "int32", "int8"))
    x = f.operand(dtype=dtype, low=-120, high=120, exact=op == "Sign")
    return f.node(op, [x], exact=True)


@draws("Ceil", "Floor", "Round")
def rounding(f: FileDrawing, op: str) -> object:
    return f.node(op, [f.operand(low=-6, high=6, exact=True)], exact=True)


@draws("IsNaN", "IsInf")
def tests_of_numbers(f: FileDrawing, op: str) -> object:
    signs = f.some(detect_negative=f.integer(0, 1), detect_positive=f.integer(0, 1)) if op == "IsInf" else {}
    return f.node(op, [f.operand()], exact=True, **signs)


ATTRIBUTES: dict[str, dict[str, tuple[float, float]]] = {
    "Celu": {"alpha": (0.5, 2)},
    "Elu": {"alpha": (0.5, 2)},
    "HardSigmoid": {"alpha": (0.1, 0.5), "beta": (0, 1)},
    "HardSwish": {},
    "LeakyRelu": {"alpha": (-0.5, 0.5)},
    "Mish": {},
    "Selu": {"alpha": (0.5, 2), "gamma": (0.5, 2)},
    "Shrink": {"lambd": (0, 1), "bias": (-1, 1)},
    "Softplus": {},
    "Softsign": {},
    "ThresholdedRelu": {"alpha": (0, 1)},
}
"""Activations, and the ranges of their attributes."""


@draws(*ATTRIBUTES)
def activation(f: FileDrawing, op: str) -> object:
    ranges = ATTRIBUTES[op].items()
    attributes = f.some(**{name: float(np.float32(f.rng.uniform(*span))) for name, span in ranges})
    return f.node(op, [f.operand(low=-9, high=9, exact=op in ("Shrink", "ThresholdedRelu"))], **attributes)


@draws("Gelu")
def gelu(f: FileDrawing, op: str) -> object:
    return f.node(op, [f.operand(low=-9, high=9)], **f.some(approximate=f.choice(["none", "tanh"])))


@draws("PRelu")
def prelu(f: FileDrawing, op: str) -> object:
    x = f.operand(1)
    return f.node(op, [x, f.like(x)])


@draws("Clip")
def clip(f: FileDrawing, op: str) -> object:
    dtype = f.choice(("float32", "float32", "int32", "int8")) if f.opset >= 12 else "float32"
    x = f.operand(dtype=dtype, low=-9, high=9)
    low, high = np.sort(f.numbers((2,), dtype, -5, 5))
    if f.opset < 11:
        return f.node(op, [x], exact=True, **f.some(min=float(low), max=float(high)))
    bounds = [f.constant(bound, dtype) if f.chance(70) else "" for bound in (low, high)]
    return f.node(op, [x, *bounds], exact=True)


@draws("Add", "Sub", "Mul")
def arithmetic(f: FileDrawing, op: str) -> object:
    x = f.operand(dtype=f.choice(ANY), low=-30, high=30)
    return f.node(op, [x, f.like(x, low=0, high=4)][:: f.choice((1, -1))])


@draws("Div")
def division(f: FileDrawing, op: str) -> object:
    x = f.operand(dtype=f.choice(("float32", "float32", "float64", "int32", "int64")), low=-30, high=30)
    return f.node(op, [x, f.like(x, low=1, high=5)])


@draws("Pow")
def power(f: FileDrawing, op: str) -> object:
    if f.chance(60):
        return f.node(op, [f.operand(low=-3, high=3), f.constant(f.choice((2.0, 3.0, 1.0, 0.0)), "float32")])
    x = f.operand(low=0.2, high=4)
    return f.node(op, [x, f.like(x)])


@draws("Mod")
def modulo(f: FileDrawing, op: str) -> object:
    """Of integers with the sign of the divisor, or with fmod that of the dividend."""
    if f.chance(50):
        x = f.operand(dtype="float32", low=-9, high=9, exact=True, whole=True)
        return f.node(op, [x, f.constant(f.choice((1.0, 2.0, 2.5)), "float32")], fmod=1)
    x = f.operand(dtype=f.choice(("int32", "int64", "int8")), low=-30, high=30)
    return f.node(op, [x, f.like(x, low=1, high=5)], **f.some(fmod=1))


@draws("Max", "Min", "Mean", "Sum")
def of_several(f: FileDrawing, op: str) -> object:
    dtype = f.choice(("float32", "float32", "float64", "int32")) if op in ("Max", "Min") else "float32"
    x = f.operand(dtype=dtype)
    more = [f.like(x, low=-2, high=2) for _ in range(f.integer(0, 2))]
    return f.node(op, [x, *more], exact=op in ("Max", "Min"))


@draws("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
def comparison(f: FileDrawing, op: str) -> object:
    x = f.operand(dtype=f.choice(("float32", "float32", "float64", "int32", "int64")), exact=True)
    return f.node(op, [x, f.like(x)], exact=True)


@draws("And", "Or", "Xor")
def logic(f: FileDrawing, op: str) -> object:
    x = f.operand(dtype="bool")
    return f.node(op, [x, f.like(x)], exact=True)


@draws("Not")
def negation(f: FileDrawing, op: str) -> object:
    return f.node(op, [f.operand(dtype="bool")], exact=True)


@draws("BitwiseAnd", "BitwiseOr", "BitwiseXor")
def bits(f: FileDrawing, op: str) -> object:
    x = f.operand(dtype=f.choice(INTEGERS), low=-128, high=127)
    return f.node(op, [x, f.like(x, low=-128, high=127)])


@draws("BitwiseNot")
def inverted(f: FileDrawing, op: str) -> object:
    return f.node(op, [f.operand(dtype=f.choice(INTEGERS), low=-128, high=127)])


@draws("BitShift")
def shift(f: FileDrawing, op: str) -> object:
    x = f.operand(dtype=f.choice(("uint8", "uint32", "uint64")), low=0, high=100)
    return f.node(op, [x, f.like(x, low=0, high=6)], direction=f.choice(["LEFT", "RIGHT"]))


@draws("Where")
def where(f: FileDrawing, op: str) -> object:
    x = f.operand(dtype=f.choice(("float32", "int64", "int32")))
    return f.node(op, [f.like(x, "bool"), x, f.like(x)], exact=True)


CASTS = ("float32", "float32", "int32", "int64", "bool", "uint8", "int8")


@draws("Cast")
def cast(f: FileDrawing, op: str) -> object:
    """Floats are within the range of the integers."""
    to = f.choice(("float32", "float64", "int32", "int64", "int8", "bool"))
    x = f.operand(dtype=f.choice(CASTS), low=-100, high=100, exact=True)
    return f.node(op, [x], exact=True, to=helper.np_dtype_to_tensor_dtype(np.dtype(to)))


@draws("CastLike")
def cast_like(f: FileDrawing, op: str) -> object:
    x = f.operand(dtype=f.choice(("float32", "int32")), low=-100, high=100, exact=True)
    return f.node(op, [x, f.constant([1], f.choice(("float32", "int64", "int8", "bool")))], exact=True)


@draws("Dropout")
def dropout(f: FileDrawing, op: str) -> object:
    return f.node(op, [f.operand()], exact=True)


@draws("Trilu")
def triangle(f: FileDrawing, op: str) -> object:
    x = f.operand(2, 4, dtype=f.choice(("float32", "int64")))
    places = [f.constant(f.integer(-3, 3), "int64")] if f.chance(60) else []
    return f.node(op, [x, *places], exact=True, **f.some(upper=f.integer(0, 1)))
