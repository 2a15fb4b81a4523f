"""What others take for the int8 networks of MLPerf Tiny on microcontrollers."""

from __future__ import annotations

# millions of instructions of TensorFlow Lite Micro with CMSIS-NN, built from its sources and counted in the same way
TFLM = {
    "kws": {"cortex-m4": 7.70, "cortex-m55": 1.82, "cortex-m3": 10.5, "cortex-m0": 29.0},
    "resnet8": {"cortex-m4": 29.9, "cortex-m55": 4.91, "cortex-m3": 41.8, "cortex-m0": 97.6},
    "vww": {"cortex-m4": 24.1, "cortex-m55": 6.56, "cortex-m3": 32.0, "cortex-m0": 86.9},
    "ad": {"cortex-m4": 0.583, "cortex-m55": 0.150, "cortex-m3": 0.956, "cortex-m0": 1.76},
}
# milliseconds of ST's X-CUBE-AI 9.0 on a Cortex-M4 at 120 MHz, as published with its results of MLPerf Tiny
X_CUBE_AI = {"kws": 43.2, "resnet8": 165.1, "vww": 88.9, "ad": 5.26}
