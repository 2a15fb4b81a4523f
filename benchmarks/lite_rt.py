"""The int8 files of MLPerf Tiny on this machine: graphopt and LiteRT on the same file, one thread each, side by side.

    python benchmarks/lite_rt.py SHARED_FOLDER [--target x86-64-v3] [--json FILE]

LiteRT (pip install ai-edge-litert) has its own kernels; the last columns tell in how many elements of the first outputs
the two are not equal, on integers that are drawn, and by how much at most. Times are process CPU time, medians of calls
that alternate.
"""

from __future__ import annotations

import argparse
import json
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


def drawn(program: graphopt.Program) -> list[Array]:
    """Inputs over the whole range of their dtype."""
    chance, ports = np.random.default_rng(0), program.manifest["inputs"]
    limits = [np.iinfo(port["dtype"]) for port in ports]
    return [
        chance.integers(limit.min, limit.max, port["shape"], port["dtype"], endpoint=True)
        for limit, port in zip(limits, ports, strict=True)
    ]


def measured(file: Path, target: str) -> dict[str, float]:
    """Seconds of a call of each, and in how many elements their first outputs differ, and by how much at most."""
    program = graphopt.compile(graphopt.optimize(graphopt.load(file)), target)
    session, inputs = program.session(), drawn(program)
    results = session.output_buffers()
    session.run(*inputs, out=results)
    call, theirs = lite_rt(file, inputs)
    seconds = alternating({"graphopt": lambda: session.run(*inputs, out=results), "LiteRT": call})
    apart = np.abs(results[0].astype(int) - theirs[0].astype(int))
    return {**seconds, "differ": int(np.count_nonzero(apart)), "elements": apart.size, "at most by": int(apart.max())}


def printed(rows: dict[str, dict[str, float]], target: str) -> Table:
    table = Table(title=f"microseconds of a call, one thread, target {target}")
    for column in ("file", "graphopt", "LiteRT", "LiteRT / graphopt", "elements that differ", "at most by"):
        table.add_column(column, justify="right" if table.columns else "left")
    for file, row in rows.items():
        times = (f"{row[who] * 1e6:,.1f}" for who in ("graphopt", "LiteRT"))
        apart = f"{row['differ']} of {row['elements']}"
        table.add_row(file, *times, f"{row['LiteRT'] / row['graphopt']:.2f}", apart, str(row["at most by"]))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, metavar="SHARED_FOLDER", help="with models")
    parser.add_argument("--target", default="host")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    asked = parser.parse_args()
    files = sorted((asked.shared / "models" / "mlperf_tiny").glob("*.tflite"))
    rows = {file.stem: measured(file, asked.target) for file in files}
    Console(width=120).print(printed(rows, asked.target), versions({"LiteRT": "ai-edge-litert"}))
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
