"""Arithmetic, activations and comparisons, as models of one operator."""

from __future__ import annotations

from frontends.tflite.case import (
    ALL,
    BYTES,
    FLOAT,
    INT8,
    ONE,
    RELU,
    SAME,
    SIGNED,
    SIGNED_ONE,
    UINT8,
    WIDE,
    Case,
    c,
    ints,
    x,
)

ELEMENTS: dict[str, Case] = {
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
}
