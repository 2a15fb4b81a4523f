"""int8 against float32 on this machine, and ONNX Runtime's int8 of the same quantized model beside, one thread each.

    python benchmarks/host_int8.py SHARED_FOLDER [TARGET]

Times are process CPU time, medians of runs that alternate, so that noise hits all alike; ONNX Runtime is at its default
level, at which its int8 saturates where the processor has no VNNI. The signal-to-noise ratio is that of the outputs
against those of float32.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from alternating import Library, alternating
from mlperf import NETS, calibration, graphs
from models import mobilenet_v2, resnet18

import graphopt
from graphopt.ir import Array, Graph
from graphopt.passes import Fuse, InsertQuantization, LowerInteger, Pipeline, default_pipeline

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
