"""Float32 networks on this machine: graphopt and ONNX Runtime, one thread each, side by side in one process.

    python benchmarks/host_float32.py

Times are medians of runs that alternate between the two, so that noise hits both alike.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from rich.console import Console
from rich.table import Table

import graphopt
from graphopt.ir import worst_difference

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.models import mobilenet_v2, resnet18

ROUNDS, REPEATS = 15, 4


def session(model: torch.nn.Module, x: torch.Tensor) -> onnxruntime.InferenceSession:
    """The same model in ONNX Runtime on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/model.onnx"
        torch.onnx.export(model, (x,), path, dynamo=False, verbose=False)
        return onnxruntime.InferenceSession(path, options)


def main() -> None:
    table = Table(title="milliseconds of one inference, batch 1, 224x224, one thread")
    for column in ("network", "graphopt", "ONNX Runtime", "ratio", "difference"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for name, build in (("MobileNetV2", mobilenet_v2), ("ResNet18", resnet18)):
        model, x = build().eval(), torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
        program = graphopt.compile(graphopt.optimize(graphopt.trace(model, (x,))))
        peer = session(model, x)
        ours, theirs = [], []
        samples = np.repeat(x.numpy(), REPEATS, axis=0)
        for _ in range(ROUNDS):
            run = program.measure([samples])
            ours.append(run.seconds or 0.0)
            for _ in range(REPEATS):
                started = time.perf_counter()
                (reference,) = peer.run(None, {peer.get_inputs()[0].name: x.numpy()})
                theirs.append(time.perf_counter() - started)
        a, b = statistics.median(ours) * 1e3, statistics.median(theirs) * 1e3
        difference = worst_difference(run.outputs[0][0], reference)
        table.add_row(name, f"{a:.2f}", f"{b:.2f}", f"{a / b:.2f}", f"{difference:.1e}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
