"""int8 against float32 on this machine, and ONNX Runtime's int8 of the same quantized model beside, one thread each.

    python benchmarks/host_int8.py SHARED_FOLDER [TARGET]

Times are process CPU time, medians of runs that alternate, so that noise hits all alike; ONNX Runtime is at its default
level, at which its int8 saturates where the processor has no VNNI. The signal-to-noise ratio is that of the outputs
against those of float32.
"""

from __future__ import annotations

import ctypes
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from mlperf import NETS, calibration, graphs
from models import mobilenet_v2, resnet18

import graphopt
from graphopt.ir import Array, Graph
from graphopt.passes import Fuse, InsertQuantization, LowerInteger, Pipeline, default_pipeline
from graphopt.runtime import Program
from graphopt.runtime.buffers import aligned

SECONDS = 4e-3
"""Of calls in a row, before it is the next one's turn."""
ROUNDS = 25
SHAPES = {"MobileNetV2-224": (mobilenet_v2, 1.0, 224), "MobileNetV2-0.35-96": (mobilenet_v2, 0.35, 96)}


def nets(shared: Path) -> Iterator[tuple[str, Graph, Array]]:
    """Each net as it was loaded, and the samples that calibrate it."""
    for name in NETS:
        yield name, graphs(shared, name)[0], calibration(shared, name)
    chance = torch.Generator().manual_seed(0)
    for name, (build, width, size) in SHAPES.items():
        x = torch.randn(8, 3, size, size, generator=chance)
        yield name, graphopt.trace(build(width).eval(), (x[:2],)), x.numpy()
    x = torch.randn(8, 3, 224, 224, generator=chance)
    yield "ResNet18-224", graphopt.trace(resnet18().eval(), (x[:2],)), x.numpy()


class Library:
    """A program's library, loaded once, with its ports and its workspace."""

    def __init__(self, program: Program, folder: Path) -> None:
        path = folder / f"{len(list(folder.iterdir()))}.so"  # a library that is loaded must not be written over
        path.write_bytes(program.built["libmodel.so"])
        manifest = self.manifest = program.manifest
        self.run_ = ctypes.CDLL(str(path)).model_run
        self.ports = [[aligned(tuple(p["shape"]), p["dtype"], 64) for p in manifest[k]] for k in ("inputs", "outputs")]
        self.pointers = [(ctypes.c_void_p * len(ports))(*(a.ctypes.data for a in ports)) for ports in self.ports]
        self.workspace = aligned((manifest["workspace_bytes"],), "uint8", 64)

    def __call__(self) -> None:
        self.run_(*self.pointers, ctypes.c_void_p(self.workspace.ctypes.data), None)


def alternating(runs: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """The median CPU seconds of a call of each."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    repeats = {}
    for name, run in runs.items():
        run()
        repeats[name] = max(1, int(SECONDS / cpu_seconds(run, 3)))
    for _ in range(ROUNDS):
        for name, run in runs.items():
            run()
            times[name].append(cpu_seconds(run, repeats[name]))
    return {name: statistics.median(taken) for name, taken in times.items()}


def cpu_seconds(run: Callable[[], object], repeats: int) -> float:
    started = time.process_time()
    for _ in range(repeats):
        run()
    return max(1e-7, (time.process_time() - started) / repeats)


def session(graph: Graph) -> Callable[[Array], Array] | None:
    """ONNX Runtime on a model, if it is installed."""
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    made = onnxruntime.InferenceSession(graphopt.to_onnx(graph).SerializeToString(), options)
    name = made.get_inputs()[0].name
    return lambda x: np.asarray(made.run(None, {name: x})[0])


def noise_ratio(y: Array, reference: Array) -> float:
    """In decibels."""
    return float(10 * np.log10((reference**2).sum() / max(1e-30, ((y - reference) ** 2).sum())))


def main(folder: str, target: str = "host") -> None:
    table = Table(title=f"microseconds of one inference on {target}, batch 1, one thread; int8 static, by channel")
    for column in ("net", "float32", "int8", "float32 ports", "float32 / int8", "dB", "ORT float32", "ORT int8", "dB"):
        table.add_column(column, justify="left" if column == "net" else "right", no_wrap=True)
    ratios: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        for name, loaded, samples in nets(Path(folder)):
            float32 = graphopt.optimize(loaded)
            inserted = Pipeline([*default_pipeline()[:-1], InsertQuantization(calibration=samples)])(loaded)
            int8 = Pipeline([LowerInteger(), Fuse()])(inserted)
            programs = [graphopt.compile(g, target, io=io) for g, io in ((float32, "native"), (int8, "native"))]
            programs.append(graphopt.compile(int8, target, io="float32"))
            runs: dict[str, Callable[[], object]] = {}
            for kind, program in zip(("float32", "int8", "ports"), programs, strict=True):
                runs[kind] = library = Library(program, Path(place))
                (port,) = library.ports[0]
                port[...] = next(iter(program.samples([samples[:1]])))[0]
            reference, ours = (np.asarray(programs[i].run(samples[:8])) for i in (0, 2))
            peers = {"ORT float32": session(float32), "ORT int8": session(inserted)}
            runs |= {kind: partial(peer, samples[:1]) for kind, peer in peers.items() if peer is not None}
            times = alternating(runs)
            ratios[name] = times["float32"] / times["int8"]
            row = [*(f"{times[kind] * 1e6:.1f}" for kind in ("float32", "int8", "ports"))]
            row += [f"{ratios[name]:.2f}", f"{noise_ratio(ours, reference):.1f}"]
            row += [f"{times[kind] * 1e6:.1f}" if kind in times else "" for kind in ("ORT float32", "ORT int8")]
            if (peer := peers["ORT int8"]) is not None:
                theirs = np.concatenate([peer(x[None]) for x in samples[:8]])
                row.append(f"{noise_ratio(theirs, reference):.1f}")
            table.add_row(name, *row)
    Console(width=130).print(table)
    convolutional = statistics.geometric_mean(ratio for name, ratio in ratios.items() if name != "ad")
    print(f"float32 / int8, geometric mean of the convolutional nets: {convolutional:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
