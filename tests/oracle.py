"""ONNX Runtime as the oracle of what a file says: on one thread, with none of its optimizations.

At its default level it makes integer kernels of graphs in QDQ form. On CPUs with AVX2 and without VNNI these hold the
sum of two products of bytes in 16 bits, where it saturates, so that the answer depends on the machine. Its kernels of
integer operators do so at any level: what has such is held to its QDQ twin, or to ONNX's reference evaluator.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from graphopt.ir import Array

SILENT = 4


def session(model: onnx.ModelProto | bytes | str | Path) -> onnxruntime.InferenceSession:
    """A session for a model, its bytes, or its file (which external weights need)."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else model
    source = str(source) if isinstance(source, Path) else source
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run(model: onnx.ModelProto | bytes | str | Path, inputs: Mapping[str, Array]) -> list[Array]:
    """The outputs of a model for inputs by name."""
    return [np.asarray(y) for y in session(model).run(None, dict(inputs))]
