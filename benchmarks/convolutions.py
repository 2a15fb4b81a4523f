"""Float32 convolutions on this machine: the direct form, Winograd's and ONNX Runtime, one thread each, by turns.

    python benchmarks/convolutions.py [--target x86-64-v3] [--json FILE]

Each is a chain of a few equal layers with weights of their own. Of one whose window is not 3x3, or that has strides,
there is no form of Winograd. Times are process CPU time, medians.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import torch
from peers import onnx_runtime, versions
from rich.console import Console
from rich.table import Table
from timing import Library, alternating

import graphopt
from graphopt.ir import Graph
from graphopt.targets.kernels import winograd

LAYERS = 4
FORMS = {"direct": 1.0, "Winograd": -1e9}
"""The least gain for which Winograd's form is taken."""


@dataclass(frozen=True)
class Case:
    """Layers of a window over a square plane of so many pixels a side, from some channels to others."""

    inputs: int
    outputs: int
    size: int
    window: int = 3
    stride: int = 1

    def __str__(self) -> str:
        channels = f"{self.inputs}" if self.inputs == self.outputs else f"{self.inputs} to {self.outputs}"
        stride = f", stride {self.stride}" if self.stride > 1 else ""
        return f"{self.window}x{self.window}, {channels} channels{stride}, {self.size}"

    @property
    def layers(self) -> int:
        return LAYERS if self.inputs == self.outputs and self.stride == 1 else 1

    @property
    def macs(self) -> int:
        pixels = (self.size // self.stride) ** 2
        return self.layers * pixels * self.inputs * self.outputs * self.window**2

    def graph(self) -> Graph:
        torch.manual_seed(0)
        pad = self.window // 2
        layers = [torch.nn.Conv2d(self.inputs, self.outputs, self.window, self.stride, pad) for _ in range(self.layers)]
        x = torch.zeros(1, self.inputs, self.size, self.size)
        return graphopt.optimize(graphopt.trace(torch.nn.Sequential(*layers).eval(), (x,)))


CASES = (
    Case(64, 64, 56),
    Case(128, 128, 28),
    Case(256, 256, 14),
    Case(512, 512, 7),
    Case(32, 32, 64),
    Case(16, 16, 128),
    Case(64, 128, 56, stride=2),
    Case(3, 64, 224, window=7, stride=2),
)


def measured(case: Case, target: str) -> dict[str, float]:
    """Multiply-adds of the direct form a second, of each who can run it."""
    graph, chance = case.graph(), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        runs: dict[str, Callable[[], object]] = {}
        for form, least in FORMS.items():
            with patch.object(winograd, "LEAST_GAIN", least):
                program = graphopt.compile(graph, target)
            rules = [row["rule"] for row in program.manifest["kernels"] if row["macs"]]
            if form == "direct" or all("winograd" in rule for rule in rules):
                runs[form] = library = Library(program, Path(folder))
                library.ports[0][0][...] = chance.standard_normal(library.ports[0][0].shape)
        if "ONNX Runtime" in versions():
            runs["ONNX Runtime"], _ = onnx_runtime(graph, library.ports[0])
        return {who: case.macs / seconds for who, seconds in alternating(runs).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="host")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    asked = parser.parse_args()
    rows = {str(case): measured(case, asked.target) for case in CASES}
    table = Table(title=f"10^9 multiply-adds of the direct form a second, one thread, target {asked.target}")
    columns = (*FORMS, "ONNX Runtime")
    for column in ("layer, size of the plane", *columns):
        table.add_column(column, justify="right" if table.columns else "left")
    for case, row in rows.items():
        table.add_row(case, *(f"{row[who] / 1e9:.0f}" if who in row else "" for who in columns))
    Console(width=120).print(table)
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
