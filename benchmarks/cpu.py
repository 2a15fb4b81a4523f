"""Networks on this machine: graphopt and its peers on the same graphs, one thread each, side by side in one process.

    python benchmarks/cpu.py SHARED_FOLDER [--target x86-64-v3] [--only NAME ...] [--torch-compile] [--json FILE]

Peers are ONNX Runtime and OpenVINO (pip install openvino), where they are installed; torch.compile, which takes long to
compile, on request, for what is a torch module. Networks are those of MLPerf Tiny, some with random weights, and those
of packages that are installed (``trained.py``). All are called from Python, ours by ``session.run(x, out=y)``. Times
are process CPU time, medians of calls that alternate, so that noise hits all alike. int8 is static, weights by channel:
peers get the same graph of quantize and dequantize. dB is the ratio of signal to noise against our float32. A ratio is
the time of the faster peer by ours: above 1 graphopt is ahead. In int8 only peers that keep within a decibel of our
ratio count for it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import mlperf
from models import mobilenet_v2, resnet18
from nets import minilm, vit
from nets_conv import seeded, tcn, tiny_yolo, unet
from peers import PEERS, Call, torch_compile, versions
from ratios import CONVOLUTIONAL, OURS, ahead, gain
from timing import alternating
from trained import installed

import graphopt
from graphopt.ir import Array, Graph
from graphopt.passes import Fuse, InsertQuantization, LowerInteger, Pipeline, default_pipeline

Module = tuple[torch.nn.Module, tuple[torch.Tensor, ...]]
SAMPLES = 8
"""Those that calibrate a net with random weights, and that tell what noise is left."""
TORCH = "torch.compile"


class Recurrent(torch.nn.Module):
    """The outputs of all steps of a recurrent layer."""

    def __init__(self, layer: torch.nn.LSTM | torch.nn.GRU) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0]


def recurrent(kind: type[torch.nn.LSTM | torch.nn.GRU]) -> Module:
    """One layer of 128 units over 100 steps."""
    torch.manual_seed(0)
    return seeded(Recurrent(kind(128, 128, batch_first=True)), 1, 100, 128)


def batch_of_four(net: Module) -> Module:
    module, inputs = net
    return module, tuple(x.repeat(4, *[1] * (x.ndim - 1)) for x in inputs)


MODULES: dict[str, Callable[[], Module]] = {
    "MobileNetV2-224": lambda: seeded(mobilenet_v2(), 1, 3, 224, 224),
    "ResNet18-224": lambda: seeded(resnet18(), 1, 3, 224, 224),
    "tiny_yolo-320": tiny_yolo,
    "ViT 4x192": vit,
    "MiniLM-64": minilm,
    "MiniLM-64, batch 4": lambda: batch_of_four(minilm()),
    "LSTM 100x128": lambda: recurrent(torch.nn.LSTM),
    "GRU 100x128": lambda: recurrent(torch.nn.GRU),
    "TCN": tcn,
    "U-Net-128": unet,
}


@dataclass(frozen=True)
class Net:
    """A network as it was loaded, samples, for each the arrays of its inputs, and the module that it was."""

    name: str
    graph: Graph
    samples: list[list[Array]]
    module: torch.nn.Module | None = None

    @property
    def batches(self) -> list[dict[str, Array]]:
        names = [self.graph.names[value.node] for value in self.graph.inputs]
        return [dict(zip(names, sample, strict=True)) for sample in self.samples]


def nets(shared: Path, wanted: list[str]) -> Iterator[Net]:
    """The networks of MLPerf Tiny on their data, those of MODULES on noise, and those of packages."""
    for name in mlperf.NETS:
        if not wanted or name in wanted:
            samples = [[x[None]] for x in mlperf.calibration(shared, name)]
            yield Net(name, mlperf.graphs(shared, name)[0], samples)
    for name, build in MODULES.items():
        if not wanted or name in wanted:
            module, inputs = build()
            graph = graphopt.trace(module, inputs, dynamic_batch=False)
            chance = np.random.default_rng(0)
            first, *others = (x.numpy() for x in inputs)
            noise = [chance.standard_normal(first.shape, np.float32) for _ in range(SAMPLES)]
            yield Net(name, graph, [[x, *others] for x in noise], module)
    for name, load in installed().items():
        if not wanted or name in wanted:
            yield Net(name, *load(shared))


def ours(graph: Graph, target: str, inputs: list[Array]) -> tuple[Call, list[Array]]:
    """A call by a session, and what it gives; its ports are those of the float graph."""
    session = graphopt.compile(graph, target, io="float32").session()
    places, results = session.input_buffers(), session.output_buffers()
    for place, x in zip(places, inputs, strict=True):
        place[...] = x
    session.run(*places, out=results)
    return lambda: session.run(*places, out=results), [y.copy() for y in results]


def measured(net: Net, target: str, compile_torch: bool) -> dict[str, dict[str, dict[str, float]]]:
    """Seconds of a call, in float32 and in int8, of each who can run it; and of int8 the decibels."""
    float32 = graphopt.optimize(net.graph)
    inserted = Pipeline([*default_pipeline()[:-1], InsertQuantization(calibration=net.batches)])(net.graph)
    int8 = Pipeline([LowerInteger(), Fuse()])(inserted)
    inputs, reference = net.samples[0], None
    found: dict[str, dict[str, dict[str, float]]] = {}
    for kind, own, theirs in (("float32", float32, float32), ("int8", int8, inserted)):
        made = {OURS: ours(own, target, inputs)}
        for name in versions():
            try:
                made[name] = PEERS[name](theirs, inputs)
            except Exception as error:  # each peer raises its own, of what it cannot do
                print(f"{net.name}, {kind}: {name} cannot run it: {str(error).strip().splitlines()[-1]}")
        if compile_torch and net.module is not None and kind == "float32":
            made[TORCH] = torch_compile(net.module, inputs)
        reference = reference or made[OURS][1]
        found[kind] = {
            "seconds": alternating({name: call for name, (call, _) in made.items()}),
            "dB": {name: noise_ratio(result, reference) for name, (_, result) in made.items()},
        }
    return found


def noise_ratio(results: list[Array], reference: list[Array]) -> float:
    """In decibels, over all outputs; at most 200."""
    y, wanted = (np.concatenate([a.ravel() for a in arrays]).astype(np.float64) for arrays in (results, reference))
    return float(10 * np.log10((wanted**2).sum() / max(1e-20 * (wanted**2).sum(), ((y - wanted) ** 2).sum())))


def printed(rows: dict[str, Any], kind: str, target: str) -> Table:
    names = [name for name in (OURS, *versions(), TORCH) if any(name in row[kind]["seconds"] for row in rows.values())]
    table = Table(title=f"{kind}: microseconds of a call, one thread, target {target}")
    table.add_column("network")
    for name in names:
        table.add_column(name, justify="right")
        if kind == "int8":
            table.add_column("dB", justify="right")
    for column in ("faster peer / ours", *(["float32 / int8"] if kind == "int8" else [])):
        table.add_column(column, justify="right")
    for net, row in rows.items():
        cells = []
        for name in names:
            seconds, noise = (row[kind][key].get(name) for key in ("seconds", "dB"))
            cells.append("" if seconds is None else f"{seconds * 1e6:,.1f}")
            cells += ["" if noise is None else f"{noise:.1f}"] if kind == "int8" else []
        ratio = ahead(row[kind], close=kind == "int8")
        cells.append("" if ratio is None else f"{ratio:.2f}")
        table.add_row(net, *cells, *([f"{gain(row):.2f}"] if kind == "int8" else []))
    return table


def means(rows: dict[str, Any]) -> Iterator[str]:
    """The geometric means that are asked for, of the rows that are there."""
    large = [r for name in MODULES if name in rows and (r := ahead(rows[name]["float32"], close=False))]
    if large:
        yield f"float32, outside MLPerf Tiny: faster peer / ours {statistics.geometric_mean(large):.2f}"
    gains = [gain(rows[name]) for name in CONVOLUTIONAL if name in rows]
    if gains:
        yield f"convolutional networks: float32 / int8 {statistics.geometric_mean(gains):.2f}"


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, metavar="SHARED_FOLDER", help="with models and data")
    parser.add_argument("--target", default="host")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="these networks alone")
    parser.add_argument("--torch-compile", action="store_true", help="compare with torch.compile too")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    console, rows = Console(width=140), dict[str, Any]()
    for net in nets(asked.shared, asked.only):
        rows[net.name] = measured(net, asked.target, asked.torch_compile)
        console.print(f"{net.name}: done")
    peers = versions() | ({TORCH: torch.__version__} if asked.torch_compile else {})
    for kind in ("float32", "int8"):
        console.print(printed(rows, kind, asked.target))
    console.print(*means(rows), f"{processor()}; {peers}", sep="\n")
    if asked.json:
        about = {"processor": processor(), "target": asked.target, "peers": peers}
        asked.json.write_text(json.dumps({"about": about, "networks": rows}, indent=1))


if __name__ == "__main__":
    main()
