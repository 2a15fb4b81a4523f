"""Float32 networks on this machine: graphopt and ONNX Runtime, one thread each, side by side in one process.

    python benchmarks/host_float32.py [TARGET [NETWORK ...]]

Times are process CPU time, medians of calls that alternate between the two, so that noise hits both alike. The ratio is
ONNX Runtime's time by graphopt's: above 1 graphopt is ahead.
"""

from __future__ import annotations

import os
import sys
import tempfile
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import onnxruntime
import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from alternating import Library, alternating
from models import mobilenet_v2, resnet18
from nets_conv import Net, seeded, tcn, tiny_yolo, unet

import graphopt
from graphopt.ir import worst_difference

ROUNDS = 15
NETS = {
    "MobileNetV2-224": lambda: seeded(mobilenet_v2(), 1, 3, 224, 224),
    "ResNet18-224": lambda: seeded(resnet18(), 1, 3, 224, 224),
    "U-Net-128": unet,
    "tiny_yolo-320": tiny_yolo,
    "TCN-200": tcn,
}


def session(net: Net) -> onnxruntime.InferenceSession:
    """The same model in ONNX Runtime on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/model.onnx"
        torch.onnx.export(*net, path, dynamo=False, verbose=False)
        return onnxruntime.InferenceSession(path, options)


def main(target: str = "host", *names: str) -> None:
    table = Table(title=f"milliseconds of one inference on {target}, batch 1, one thread")
    for column in ("network", "graphopt", "ONNX Runtime", "ratio", "difference"):
        table.add_column(column, justify="left" if column == "network" else "right")
    with tempfile.TemporaryDirectory() as folder:
        for name in names or NETS:
            net = NETS[name]()
            library = Library(graphopt.compile(graphopt.optimize(graphopt.trace(*net)), target), Path(folder))
            peer = session(net)
            inputs = {port.name: x.numpy() for port, x in zip(peer.get_inputs(), net[1], strict=True)}
            for array, x in zip(library.ports[0], net[1], strict=True):
                array[...] = x.numpy()
            times = alternating({"ours": library, "theirs": partial(peer.run, None, inputs)}, ROUNDS)
            pairs = zip(library.ports[1], peer.run(None, inputs), strict=True)
            difference = max(worst_difference(y, np.asarray(reference)) for y, reference in pairs)
            ours, theirs = (times[kind] * 1e3 for kind in ("ours", "theirs"))
            table.add_row(name, f"{ours:.3f}", f"{theirs:.3f}", f"{theirs / ours:.2f}", f"{difference:.1e}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main(*sys.argv[1:])
