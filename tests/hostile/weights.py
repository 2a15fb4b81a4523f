"""Weights that are no finite numbers, and data that need not be."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from hostile.sources import floats, model, node, one


def spoiled(weight: np.ndarray, value: float = np.nan) -> np.ndarray:
    """A weight with one element that is no finite number."""
    weight = weight.copy()
    weight.flat[-1] = value
    return weight


def unbounded() -> dict[str, onnx.ModelProto]:
    """Weights that hold a NaN or an infinity, one for every kind of operator that has weights."""
    image, sequence, positive = (1, 2, 6, 6), (3, 1, 2), np.abs(floats(2)) + 1
    recurrent = {"hidden_size": 3, "x": sequence}
    scale, zero = spoiled(np.ones(2, np.float32)), np.zeros(2, np.int8)
    dequantized = model(
        [
            node("DequantizeLinear", ["q", "s", "z"], ["w"], "dequantized", axis=0),
            node("Conv", ["x", "w"], ["y"], "conv"),
        ],
        {"q": np.ones((2, 2, 3, 3), np.int8), "s": scale, "z": zero},
        image,
    )
    transposed = model(
        [node("Transpose", ["w"], ["t"], perm=[1, 0]), node("MatMul", ["x", "t"], ["y"], "product")],
        {"w": spoiled(floats(3, 4))},
    )
    return {
        "conv": one("Conv", spoiled(floats(2, 2, 3, 3)), x=image),
        "conv_infinite": one("Conv", spoiled(floats(2, 2, 3, 3), -np.inf), x=image),
        "conv_bias": one("Conv", floats(2, 2, 3, 3), spoiled(floats(2)), x=image),
        "conv_transpose": one("ConvTranspose", spoiled(floats(2, 2, 3, 3)), x=image),
        "gemm": one("Gemm", spoiled(floats(4, 3))),
        "gemm_factor": one("Gemm", floats(4, 3), alpha=float("inf")),
        "matmul": one("MatMul", spoiled(floats(4, 3))),
        "matmul_batched": one("MatMul", spoiled(floats(2, 6, 3)), x=image),
        "matmul_transposed": transposed,
        "batch_norm": one("BatchNormalization", *[positive] * 3, spoiled(positive), x=image),
        "layer_norm": one("LayerNormalization", spoiled(floats(4))),
        "lstm": one("LSTM", spoiled(floats(1, 12, 2)), floats(1, 12, 3), **recurrent),
        "lstm_state": one("LSTM", floats(1, 12, 2), spoiled(floats(1, 12, 3)), **recurrent),
        "gru": one("GRU", spoiled(floats(1, 9, 2)), floats(1, 9, 3), **recurrent),
        "rnn": one("RNN", spoiled(floats(1, 3, 2)), floats(1, 3, 3), **recurrent),
        "quantize": one("QuantizeLinear", np.float32(np.nan), np.int8(0)),
        "dequantize": dequantized,
    }


def masks() -> dict[str, onnx.ModelProto]:
    """Models with infinities that are data."""
    infinite = np.array([np.nan, np.inf, -np.inf, 1e30], np.float32)
    chosen = one("Where", infinite, np.array([True, False, True, False]))
    chosen.graph.node[0].input[:] = ["c1", "c0", "x"]
    return {
        "add": one("Add", infinite),
        "where": chosen,
        "pad": one("Pad", np.array([0, 1, 0, 1]), np.float32(-np.inf)),
        "clip": one("Clip", np.float32(-np.inf), np.float32(np.inf)),
        "constant_of_shape": model(
            [
                node("ConstantOfShape", ["s"], ["k"], value=numpy_helper.from_array(np.array([-np.inf], np.float32))),
                node("Max", ["x", "k"], ["y"]),
            ],
            {"s": np.array([1, 4])},
        ),
        "mask": model(
            [
                node("MatMul", ["x", "x"], ["scores"]),
                node("Add", ["scores", "mask"], ["masked"]),
                node("Softmax", ["masked"], ["p"]),
                node("MatMul", ["p", "x"], ["y"]),
            ],
            {"mask": np.triu(np.full((4, 4), -np.inf, np.float32), 1)},
            (4, 4),
        ),
    }
