"""The int8 networks of MLPerf Tiny on Cortex-M: instructions of one inference by core, and bytes on a Cortex-M4.

    python benchmarks/mcu.py FOLDER_WITH_data_AND_models [--json]

Weights are those of the int8 programs that `Quantize` makes with its defaults. Every program gives the same bytes as
the one for the host on the first samples, or this ends with an error.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import mlperf
from mcu_peers import TFLM

import graphopt
from graphopt import Port, Program
from graphopt.errors import BudgetExceeded
from graphopt.ir import Array, Graph
from graphopt.passes import Fuse, Quantize, RemoveDeadChannels

CORES = ("cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "cortex-m3", "cortex-m0")
SAMPLES = 2
FIGURES = {"instructions": "instructions", "cycles": "cycles", "code": "code_bytes"}
"""What is predicted, and its key in the manifest."""
Rows = dict[str, dict[str, Any]]
"""By network; of each, by program, its figures."""


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


def measured(shared: Path, name: str) -> dict[str, Any]:
    """Instructions by core, and bytes on a Cortex-M4 and M55, as it is by default and in other ways."""
    graph = NETS[name](shared)
    host = graphopt.compile(graph)
    given = samples(shared, name, host)
    want = host.measure_batches(given).outputs

    def counted(core: str, moved: bool = False, **options: Any) -> dict[str, Any]:
        """What a program takes, once its outputs are known to be those of the host."""
        program = graphopt.compile(graph, core, stack=True, **options)
        inputs = [[np.moveaxis(x, 1, -1) for x in sample] for sample in given] if moved else given
        run = program.measure_batches(inputs)
        if not all(np.array_equal(a[0], b[0]) for a, b in zip(run.outputs, want, strict=True)):
            raise SystemExit(f"{name} on {core} with {options} gives other bytes than the host")
        sizes = {"code": program.sizes.code, "weights": program.sizes.weights, "workspace": program.sizes.workspace}
        sizes["flash"] = sizes["code"] + sizes["weights"]
        took = {"instructions": run.instructions, "cycles": run.cycles, **sizes}
        return {**took, "stack": program.manifest.get("stack_bytes"), **errors(program, took)}

    last = {graph.names[v.node]: "nhwc" for v in graph.inputs if v.type.rank == 4}
    ports: dict[str, Any] = {"moved": bool(last), "layout": last, "io_in_arena": True}
    return {
        **{core: counted(core) for core in CORES},
        "with ports": counted("cortex-m4", **ports),
        "least": counted("cortex-m4", ram=least_ram(graph, layout=last, io_in_arena=True), **ports),
        **({"pushed": counted("cortex-m4", **pushed(graph, last))} if last else {}),
        "size": counted("cortex-m4", optimize="size"),
        "speed": counted("cortex-m4", optimize="speed"),
    }


def pushed(graph: Graph, last: dict[str, str]) -> dict[str, Any]:
    """The options of a program whose input comes row by row, with the least RAM."""
    ports = {name: Port(layout="nhwc", push_rows=True) for name in last}
    return {"moved": True, "ports": ports, "ram": least_ram(graph, ports=ports)}


def errors(program: Program, took: dict[str, Any]) -> dict[str, float]:
    """By how much the predictions of a program are off, where there are any."""
    predicted = program.manifest.get("predicted", {})
    return {f"{name} error": predicted[key] / took[name] - 1 for name, key in FIGURES.items() if key in predicted}


def least_ram(graph: Graph, **options: Any) -> int:
    """The bytes that a program cannot do without, as the refusal of a single byte says."""
    try:
        graphopt.compile(graph, "cortex-m4", ram=1, **options)
    except BudgetExceeded as refused:
        found = re.search(r"([0-9,]+) bytes of RAM needed", str(refused))
        assert found is not None
        return int(found[1].replace(",", ""))
    return 1


def instructions_table(rows: Rows) -> Table:
    table = Table(title="int8: instructions of one inference, and those of TFLite Micro with CMSIS-NN over them")
    table.add_column("network")
    for core in CORES:
        table.add_column(core, justify="right", no_wrap=True)
    for name, row in rows.items():
        cells = []
        for core in CORES:
            count, theirs = row[core]["instructions"], TFLM.get(name, {}).get(core)
            cells.append(f"{count:,}" + (f" ({theirs * 1e6 / count:.2f})" if theirs else ""))
        table.add_row(name, *cells)
    return table


def figures_table(title: str, rows: Rows, columns: tuple[tuple[str, str, str], ...]) -> Table:
    """Columns are a heading, the program, and what of it."""
    table = Table(title=title)
    table.add_column("network")
    for heading, *_ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, row in rows.items():
        cells = (cell(row[program][figure]) if program in row else "" for _, program, figure in columns)
        table.add_row(name, *cells)
    return table


def cell(figure: int | None) -> str:
    return "" if figure is None else f"{figure:,}"


def errors_table(rows: Rows) -> Table:
    """By how much predictions are off; empty for cores whose costs are not known."""
    table = Table(title="predicted over counted: instructions, cycles, code")
    table.add_column("network")
    for heading in PREDICTED:
        table.add_column(heading, justify="right")
    for name, row in rows.items():
        given = ([row[program].get(f"{one} error") for one in FIGURES] for program in PREDICTED.values())
        table.add_row(name, *(", ".join(f"{e:+.1%}" for e in errors if e is not None) for errors in given))
    return table


OPTIMIZED = {"size": "size", "balanced": "cortex-m4", "speed": "speed"}
"""The programs by what they were optimized for."""
SIZES = ("code", "weights", "stack", "workspace")
TABLES = {
    "int8 on cortex-m4, bytes; with ports: with inputs, channels last, and outputs": (
        *((size, "cortex-m4", size) for size in SIZES),
        ("with ports", "with ports", "workspace"),
    ),
    "int8 on cortex-m55": (
        ("instructions", "cortex-m55", "instructions"),
        *((size, "cortex-m55", size) for size in SIZES),
    ),
    "int8 on cortex-m4, with ports, as it is by default and with the least RAM": (
        ("by default", "with ports", "workspace"),
        ("instructions", "with ports", "instructions"),
        ("least", "least", "workspace"),
        ("instructions", "least", "instructions"),
        ("rows pushed", "pushed", "workspace"),
        ("instructions", "pushed", "instructions"),
    ),
    **{
        f"int8 on cortex-m4, optimize={optimize}": tuple(
            (figure, program, figure) for figure in ("instructions", "cycles", "code", "weights", "flash")
        )
        for optimize, program in OPTIMIZED.items()
    },
}
PREDICTED = {**OPTIMIZED, **{f"balanced on {core}": core for core in CORES[1:]}}
"""The programs whose costs may have been predicted: on cortex-m4, where no other core is named."""


def main(folder: str, form: str = "") -> None:
    rows = {name: measured(Path(folder), name) for name in NETS}
    if form == "--json":
        print(json.dumps(rows, indent=2))
        return
    console = Console(width=140)
    console.print(instructions_table(rows))
    for title, columns in TABLES.items():
        console.print(figures_table(title, rows, columns))
    console.print(errors_table(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
