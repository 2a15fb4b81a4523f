"""What a call from Python costs over the call in C, and how soon a saved program gives its first result.

    python benchmarks/session.py [--json]

The program of the calls is a linear layer of 16 by 16; that of the cold start has twelve convolutions and a megabyte of
weights, and starts in a process of its own. Microseconds are of the CPU, medians of rounds that alternate; milliseconds
are of the clock.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import graphopt
from graphopt.ir import Batch, Graph, arg, constant
from graphopt.ops import Conv, Linear, Relu
from graphopt.runtime.buffers import address

CALLS, ROUNDS, SAMPLES, STARTS = 2_000, 9, 1_000, 9
RNG = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape).astype("float32")


def small() -> Graph:
    x = arg("x", "float32", (Batch(), 16))
    return Graph((x,), (Linear()(x, constant(weights(16, 16)), constant(weights(16))),))


def megabyte() -> Graph:
    x = y = arg("x", "float32", (1, 48, 8, 8))
    for _ in range(12):
        y = Relu()(Conv(pads=(1, 1, 1, 1))(y, constant(weights(48, 48, 3, 3) / 20), constant(weights(48))))
    return graphopt.optimize(Graph((x,), (y,)))


def calls(folder: str) -> dict[str, tuple[Callable[[], object], int]]:
    """Ways to run the small program, and the samples of each."""
    program = graphopt.compile(small())
    session = program.session()
    (x,), (y,) = session.input_buffers(), session.output_buffers()
    (many,), (results,) = session.input_buffers(SAMPLES), session.output_buffers(SAMPLES)
    path = Path(folder) / "bare.so"
    path.write_bytes(program.files["libmodel.so"])
    function = ctypes.CDLL(str(path)).model_run
    pointers = [(ctypes.c_void_p * 1)(address(array)) for array in (x, y)]
    return {
        f"in C: session.run on {SAMPLES:,} samples": (lambda: session.run(many, out=results), SAMPLES),
        "by ctypes alone, of ready pointers": (lambda: function(*pointers, None, None), 1),
        "session.run(x, out=y)": (lambda: session.run(x, out=y), 1),
        "session.run(x)": (lambda: session.run(x), 1),
        "program.run(x)": (lambda: program.run(x), 1),
    }


def microseconds() -> dict[str, float]:
    """The CPU time of one sample by each way."""
    with tempfile.TemporaryDirectory() as folder:
        ways = calls(folder)
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, (call, samples) in ways.items():
                count = max(1, CALLS // samples)
                started = time.process_time()
                for _ in range(count):
                    call()
                found[name].append((time.process_time() - started) / count / samples * 1e6)
    return {name: statistics.median(rounds) for name, rounds in found.items()}


START = """
import sys, time
from graphopt.runtime import Program
started = time.perf_counter()
session = Program.load(sys.argv[1]).session()
inputs = session.input_buffers()
loaded = time.perf_counter()
session.run(*inputs)
first = time.perf_counter()
session.run(*inputs)
print(loaded - started, first - loaded, time.perf_counter() - first)
"""


def milliseconds() -> dict[str, float]:
    """The steps of a cold start, imports left out."""
    with tempfile.TemporaryDirectory() as folder:
        graphopt.compile(megabyte()).save(f"{folder}/net")
        command = [sys.executable, "-c", START, f"{folder}/net"]
        starts = [subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout for _ in range(STARTS)]
    columns = zip(*([float(part) * 1e3 for part in start.split()] for start in starts), strict=True)
    names = ("load and check the program", "the first run", "the second run")
    return dict(zip(names, map(statistics.median, columns), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = {"microseconds": microseconds(), "milliseconds": milliseconds()}
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for unit, title in (("microseconds", "one call"), ("milliseconds", "cold start of a megabyte")):
        table = Table("", unit, title=title)
        for name, value in found[unit].items():
            table.add_row(name, f"{value:.2f}")
        Console(width=100).print(table)


if __name__ == "__main__":
    main()
