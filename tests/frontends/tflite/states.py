"""Models of one recurrent operator, which keeps a state."""

from __future__ import annotations

import numpy as np

from frontends.tflite.building import parameters
from frontends.tflite.case import FLOAT, INT8, RELU, TANH
from frontends.tflite.drawing import Drawn, FileTensor, constant, draw
from graphopt.ir import Array

FILTERS, MEMORY, SIZE = 8, 5, 6
STEPS, HIDDEN = 7, 4


def floats(*shape: int, seed: int, reach: float = 1.0) -> Array:
    return np.random.default_rng(seed).uniform(-reach, reach, shape).astype(np.float32)


def svdf(rank: int, integers: bool, bias: bool) -> bytes:
    units = FILTERS // rank
    scales = (
        {"x": 2 / 255, "w": 1 / 127, "t": 1 / 32767, "s": 8 / 32767, "y": 8 / 255}
        if integers
        else dict.fromkeys("xwtsy", 0.0)
    )
    kind = INT8 if integers else FLOAT
    tensors = [
        FileTensor("x", kind, (1, SIZE), None, [scales["x"]] if integers else [], [0] if integers else []),
        constant("w", floats(FILTERS, SIZE, seed=1), scales["w"]),
        constant("t", floats(FILTERS, MEMORY, seed=2), scales["t"], "int16"),
        constant("b", floats(units, seed=3), scales["t"] * scales["s"], "int32"),
        FileTensor(
            "s",
            "int16" if integers else FLOAT,
            (1, FILTERS * MEMORY),
            None,
            [scales["s"]] if integers else [],
            [0] if integers else [],
            variable=True,
        ),
        FileTensor("y", kind, (1, units), None, [scales["y"]] if integers else [], [-128] if integers else []),
    ]
    options = {"rank": rank, "fusedActivationFunction": RELU}
    drawn = Drawn(
        "SVDF", ["x", "w", "t", "b" if bias else None, "s"], ["y"], options, "SVDFOptions", version=3 if integers else 1
    )
    return draw(tensors, [drawn], ["x"], ["y"])


def lstm(integers: bool, time_major: bool = False, **options: float) -> bytes:
    shape = (STEPS, 1, SIZE) if time_major else (1, STEPS, SIZE)
    x_scale, x_zero = parameters(INT8, -2, 2)
    h_scale, h_zero = 1 / 128, 0
    quantized = ([x_scale], [x_zero]) if integers else ([], [])
    hidden = ([h_scale], [h_zero]) if integers else ([], [])
    kind = INT8 if integers else FLOAT
    tensors = [FileTensor("x", kind, shape, None, *quantized)]
    for g, gate in enumerate("ifco"):
        scale = (0.9 + 0.1 * g) / 127 if integers else 0.0
        tensors += [
            constant(f"w{gate}", floats(HIDDEN, SIZE, seed=g, reach=0.8), scale),
            constant(f"r{gate}", floats(HIDDEN, HIDDEN, seed=10 + g, reach=0.8), scale),
            constant(f"b{gate}", floats(HIDDEN, seed=20 + g), scale * x_scale, "int32"),
        ]
    tensors += [
        FileTensor("h", kind, (1, HIDDEN), None, *hidden, variable=True),
        FileTensor(
            "c",
            "int16" if integers else FLOAT,
            (1, HIDDEN),
            None,
            [2.0**-11] if integers else [],
            [0] if integers else [],
            variable=True,
        ),
        FileTensor("y", kind, (*shape[:2], HIDDEN), None, *hidden),
    ]
    inner = [
        FileTensor(f"m{i}", INT8 if i == 4 else "int16", (), None, [h_scale if i == 4 else 2.0**-12], [0])
        for i in range(5)
    ]
    names = ["x", *(f"w{g}" for g in "ifco"), *(f"r{g}" for g in "ifco"), *[None] * 3, *(f"b{g}" for g in "ifco")]
    names += [None, None, "h", "c", *[None] * 4]
    chosen = {"fusedActivationFunction": TANH, "timeMajor": time_major, **options}
    kinds = "UnidirectionalSequenceLSTMOptions"
    used = inner if integers else []
    drawn = Drawn("UNIDIRECTIONAL_SEQUENCE_LSTM", names, ["y"], chosen, kinds, [t.name for t in used])
    return draw([*tensors, *used], [drawn], ["x"], ["y"])
