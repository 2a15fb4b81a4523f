"""What benchmarks of this machine share: a program's library, and calls that alternate.

Times are process CPU time, medians of runs that alternate, so that noise hits all alike.
"""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from graphopt.runtime import Program
from graphopt.runtime.buffers import aligned

SECONDS = 4e-3
"""Of calls in a row, before it is the next one's turn."""
ROUNDS = 25


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
