"""What bytes of a camera and budgets of RAM cost on a Cortex-M4: int8 networks of MLPerf Tiny, channels last.

    python benchmarks/mcu_ports.py FOLDER_WITH_data_AND_models [--json]

Ports and their buffers are in the workspace. ``mcu.py`` has what the same networks take without all this.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from mcu import NETS
from rich.console import Console
from rich.table import Table

import graphopt
from graphopt import Port, Program
from graphopt.ir import Graph

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CAMERAS: dict[str, dict[str, dict[str, Any]]] = {
    "resnet8": {"int8": {}, "flip_sign": {"dtype": "uint8", "scale": 1}},
    "vww, dead channels removed": {
        "int8": {},
        "flip_sign": {"dtype": "uint8", "scale": 1 / 255},
        "lookup": {"dtype": "uint8", "scale": 1 / 255, "mean": 0.5, "std": 0.5},
        "channel_lookup": {"dtype": "uint8", "scale": 1 / 255, **IMAGENET},
    },
}
"""By network, the ports by the kernel that reads their bytes; int8 is what needs none."""
BUDGETS = (
    ("kws", 5_200, False),
    ("kws", 4_800, True),
    ("resnet8", 16_000, False),
    ("resnet8", 15_000, True),
    ("vww, dead channels removed", 13_950, True),
    ("ad", 800, False),
)
"""A network, the bytes that it may take, and whether its rows are pushed: a little more than the least."""


def counted(graph: Graph, port: Port, **options: Any) -> dict[str, Any]:
    """Instructions of one inference of noise, and bytes of the workspace."""
    (value,) = graph.inputs
    program = graphopt.compile(graph, "cortex-m4", ports={graph.names[value.node]: port}, **options)
    run = program.measure([noise(program)])
    return {"instructions": run.instructions, "workspace": program.sizes.workspace}


def noise(program: Program) -> np.ndarray[Any, Any]:
    (port,) = program.manifest["inputs"]
    limits = np.iinfo(port["dtype"])
    return np.random.default_rng(0).integers(limits.min, limits.max + 1, port["shape"]).astype(port["dtype"])


def measured(shared: Path) -> dict[str, list[dict[str, Any]]]:
    cameras = [
        {"network": net, "kernel": kernel, **counted(NETS[net](shared), Port(layout="nhwc", **port), io_in_arena=True)}
        for net, ports in CAMERAS.items()
        for kernel, port in ports.items()
    ]
    budgets = [
        {"network": net, "ram": ram, "pushed": pushed, **within(NETS[net](shared), ram, pushed)}
        for net, ram, pushed in BUDGETS
    ]
    return {"cameras": cameras, "budgets": budgets}


def within(graph: Graph, ram: int, pushed: bool) -> dict[str, Any]:
    if pushed:
        return counted(graph, Port(layout="nhwc", push_rows=True), ram=ram)
    (value,) = graph.inputs
    port = Port(layout="nhwc") if value.type.rank == 4 else Port()
    return counted(graph, port, ram=ram, io_in_arena=True)


def main(folder: str, form: str = "") -> None:
    found = measured(Path(folder))
    if form == "--json":
        print(json.dumps(found, indent=1))
        return
    for title, rows in found.items():
        table = Table(*rows[0], title=title)
        for row in rows:
            table.add_row(
                *(f"{x:,}" if isinstance(x, int) and not isinstance(x, bool) else str(x) for x in row.values())
            )
        Console().print(table)


if __name__ == "__main__":
    main(*sys.argv[1:])
