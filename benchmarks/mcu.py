"""The int8 networks of MLPerf Tiny on Cortex-M: instructions of one inference by core, and bytes on a Cortex-M4.

    python benchmarks/mcu.py FOLDER_WITH_data_AND_models [--json]

Weights are those of the int8 programs that `Quantize` makes with its defaults. Every program gives the same bytes as
the one for the host on the first samples, or this ends with an error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import mlperf

import graphopt
from graphopt import Program
from graphopt.ir import Array, Graph
from graphopt.passes import Fuse, Quantize, RemoveDeadChannels

CORES = ("cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "cortex-m3", "cortex-m0")
SAMPLES = 2

# millions of instructions of TFLite Micro with CMSIS-NN, by core, built from its sources and counted in the same way
TFLM = {
    "kws": {"cortex-m4": 7.70, "cortex-m55": 1.82, "cortex-m3": 10.5, "cortex-m0": 29.0},
    "resnet8": {"cortex-m4": 29.9, "cortex-m55": 4.91, "cortex-m3": 41.8, "cortex-m0": 97.6},
    "vww": {"cortex-m4": 24.1, "cortex-m55": 6.56, "cortex-m3": 32.0, "cortex-m0": 86.9},
    "ad": {"cortex-m4": 0.583, "cortex-m55": 0.150, "cortex-m3": 0.956, "cortex-m0": 1.76},
}


def without_dead_channels(shared: Path) -> Graph:
    """Visual wake words without the channels that give the same number for every input, which are most of it."""
    alive = RemoveDeadChannels()(mlperf.graphs(shared, "vww")[0])
    return Fuse()(Quantize(calibration=mlperf.calibration(shared, "vww"))(alive))


def sww(shared: Path) -> Graph:
    windows = mlperf.data(shared, "sww_windows.npz")["x"]
    return Fuse()(Quantize(calibration=windows)(graphopt.load(shared / "models" / "mlperf_tiny" / "sww_dscnn.onnx")))


NETS: dict[str, Callable[[Path], Graph]] = {
    "kws": lambda shared: mlperf.quantized(shared, "kws"),
    "resnet8": lambda shared: mlperf.quantized(shared, "resnet8"),
    "vww": lambda shared: mlperf.quantized(shared, "vww"),
    "vww, dead channels removed": without_dead_channels,
    "ad": lambda shared: mlperf.quantized(shared, "ad"),
    "sww": sww,
}


def samples(shared: Path, name: str, program: Program) -> list[list[Array]]:
    """The first samples as the integers that the program takes."""
    file = name.partition(",")[0]
    x = mlperf.data(shared, "sww_windows.npz")["x"] if file == "sww" else mlperf.calibration(shared, file)
    (port,) = program.manifest["inputs"]
    integers = np.round(x[:SAMPLES] / np.float32(port["scale"])) + port["zero_point"]
    return [[row] for row in np.clip(integers, -128, 127).astype(np.int8).reshape(-1, *port["shape"])]


def measured(shared: Path, name: str) -> dict[str, object]:
    """Instructions by core, and the bytes of the program for Cortex-M4."""
    graph = NETS[name](shared)
    host = graphopt.compile(graph)
    given = samples(shared, name, host)
    want = host.measure_batches(given).outputs
    row: dict[str, object] = {}
    for core in CORES:
        program = graphopt.compile(graph, core, stack=core == "cortex-m4")
        run = program.measure_batches(given)
        if not all(np.array_equal(a[0], b[0]) for a, b in zip(run.outputs, want, strict=True)):
            raise SystemExit(f"{name} on {core} gives other bytes than the host")
        row[core] = run.instructions
        if core == "cortex-m4":
            sizes = program.sizes
            row |= {"code": sizes.code, "weights": sizes.weights, "workspace": sizes.workspace}
            row["stack"] = program.manifest.get("stack_bytes")
    last = {graph.names[v.node]: "nhwc" for v in graph.inputs if v.type.rank == 4}
    within = graphopt.compile(graph, "cortex-m4", layout=last, io_in_arena=True)
    row["with ports"] = within.manifest["workspace_bytes"]
    return row


def instructions_table(rows: dict[str, dict[str, object]]) -> Table:
    table = Table(title="int8: instructions of one inference, and those of TFLite Micro with CMSIS-NN over them")
    table.add_column("network")
    for core in CORES:
        table.add_column(core, justify="right", no_wrap=True)
    for name, row in rows.items():
        cells = []
        for core in CORES:
            count, theirs = row[core], TFLM.get(name, {}).get(core)
            assert isinstance(count, int)
            cells.append(f"{count:,}" + (f" ({theirs * 1e6 / count:.2f})" if theirs else ""))
        table.add_row(name, *cells)
    return table


def bytes_table(rows: dict[str, dict[str, object]]) -> Table:
    table = Table(title="int8 on cortex-m4, bytes; with ports: with inputs, channels last, and outputs")
    columns = ("code", "weights", "stack", "workspace", "with ports")
    for column in ("network", *columns):
        table.add_column(column, justify="left" if column == "network" else "right", no_wrap=True)
    for name, row in rows.items():
        table.add_row(name, *(f"{row[column]:,}" for column in columns))
    return table


def main(folder: str, form: str = "") -> None:
    rows = {name: measured(Path(folder), name) for name in NETS}
    if form == "--json":
        print(json.dumps(rows, indent=2))
        return
    console = Console(width=140)
    console.print(instructions_table(rows))
    console.print(bytes_table(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
