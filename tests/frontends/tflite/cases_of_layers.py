"""Convolutions, poolings and products, as models of one operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from frontends.tflite.case import ALL, FLOAT, IMAGE, RELU, RELU6, RELU_N1, SAME, WIDE, Case, Operand, b, k, w, x

CONV = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
DEPTHWISE = {**CONV, "depthMultiplier": 1}
POOL = {"filterHeight": 3, "filterWidth": 2, "strideH": 2, "strideW": 1}
VALID, SAME_PADDING = 1, 0


def conv(kind: str, *operands: Operand | None, variants: Sequence[str] = WIDE, **options: Any) -> Case:
    op, defaults = {"conv": ("CONV_2D", CONV), "depthwise": ("DEPTHWISE_CONV_2D", DEPTHWISE)}[kind]
    options_of = {"conv": "Conv2DOptions", "depthwise": "DepthwiseConv2DOptions"}[kind]
    return Case(op, operands, options_of, {**defaults, **options}, variants)


def pool(op: str, variants: Sequence[str] = ALL, operand: Operand = IMAGE, **options: Any) -> Case:
    return Case(op, [operand], "Pool2DOptions", {**POOL, **options}, variants, SAME)


LAYERS: dict[str, Case] = {
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
}
