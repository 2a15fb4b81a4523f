"""The int8 files of MLPerf Tiny on this machine: graphopt and LiteRT on the same file, one thread each, side by side.

    python benchmarks/lite_rt.py SHARED_FOLDER [--target x86-64-v3]

LiteRT (pip install ai-edge-litert) has its own kernels; the last columns tell in how many elements of the first outputs
the two are not equal, on integers that are drawn, and by how much at most. Times are process CPU time, medians of calls
that alternate.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
from peers import lite_rt, versions
from rich.console import Console
from rich.table import Table
from timing import alternating

import graphopt
from graphopt.ir import Array

COLUMNS = "file", "graphopt", "LiteRT", "LiteRT / graphopt", "elements that differ", "at most by"


def drawn(program: graphopt.Program) -> list[Array]:
    """Inputs over the whole range of their dtype."""
    chance, ports = np.random.default_rng(0), program.manifest["inputs"]
    limits = [np.iinfo(port["dtype"]) for port in ports]
    return [
        chance.integers(limit.min, limit.max, port["shape"], port["dtype"], endpoint=True)
        for limit, port in zip(limits, ports, strict=True)
    ]


def row(file: Path, target: str) -> list[str]:
    program = graphopt.compile(graphopt.optimize(graphopt.load(file)), target)
    session, inputs = program.session(), drawn(program)
    results = session.output_buffers()
    session.run(*inputs, out=results)
    call, theirs = lite_rt(file, inputs)
    seconds = alternating({"ours": lambda: session.run(*inputs, out=results), "theirs": call})
    apart = np.abs(results[0].astype(int) - theirs[0].astype(int))
    times = [f"{seconds[who] * 1e6:,.1f}" for who in ("ours", "theirs")]
    ratio = f"{seconds['theirs'] / seconds['ours']:.2f}"
    return [file.name, *times, ratio, f"{np.count_nonzero(apart)} of {apart.size}", str(apart.max())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, metavar="SHARED_FOLDER", help="with models")
    parser.add_argument("--target", default="host")
    asked = parser.parse_args()
    table = Table(title=f"microseconds of a call, one thread, target {asked.target}")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == COLUMNS[0] else "right")
    for file in sorted((asked.shared / "models" / "mlperf_tiny").glob("*.tflite")):
        table.add_row(*row(file, asked.target))
    Console(width=120).print(table, versions({"LiteRT": "ai-edge-litert"}))


if __name__ == "__main__":
    main()
