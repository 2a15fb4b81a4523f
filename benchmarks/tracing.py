"""CPU seconds of tracing PyTorch models with a fixed and a free batch, and of compiling a file.

    python benchmarks/tracing.py [--json]

Seconds of tracing are the least of some, without the check against the model. Those of compiling MobileNetV2 are of a
process of its own, from the ONNX file to the library, with all imports and the linker.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import graphopt

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.models import mobilenet_v2, resnet18

ROUNDS = 3


class Last(nn.Module):
    """A recurrent layer, and a linear one on its last step."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.GRU(64, 128, batch_first=True), nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(self.layer(x)[0][:, -1])
        return y


class Steps(nn.Module):
    """The same, written out as a loop over a cell."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(64, 128), nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = torch.zeros(x.shape[0], 128)
        for step in x.unbind(1):
            state = self.cell(step, state)
        y: torch.Tensor = self.head(state)
        return y


def transformer() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, batch_first=True), 4, enable_nested_tensor=False)


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "GRU, 100 steps": (Last, (2, 100, 64)),
    "a loop of 100 GRU cells": (Steps, (2, 100, 64)),
    "transformer, 4 layers": (transformer, (2, 16, 64)),
    "ResNet18": (resnet18, (2, 3, 64, 64)),
    "MobileNetV2": (mobilenet_v2, (2, 3, 96, 96)),
}


def traced(make: Callable[[], nn.Module], shape: tuple[int, ...], free: bool) -> float:
    model, seconds = make().eval(), []
    for _ in range(ROUNDS):
        started = time.process_time()
        graphopt.trace(model, (torch.zeros(shape),), dynamic_batch=free, check=False)
        seconds.append(time.process_time() - started)
    return min(seconds)


COMPILE = "import sys, graphopt; graphopt.compile(graphopt.optimize(graphopt.load(sys.argv[1])))"


def compiled() -> float:
    """Of MobileNetV2 at 224 x 224."""
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/model.onnx"
        graphopt.save(graphopt.trace(mobilenet_v2().eval(), (torch.zeros(1, 3, 224, 224),)), file)
        before = os.times()
        subprocess.run([sys.executable, "-c", COMPILE, file], check=True)
        after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="The tensor attributes")
    found = {name: {"fixed": traced(*model, False), "free": traced(*model, True)} for name, model in MODELS.items()}
    seconds = compiled()
    if options.json:
        print(json.dumps({"trace": found, "compile": seconds}, indent=2))
        return
    table = Table("model", "fixed batch", "free batch", title="CPU seconds of tracing")
    for name, each in found.items():
        table.add_row(name, *(f"{value:.2f}" for value in each.values()))
    Console(width=100).print(table)
    print(f"compiling MobileNetV2, with imports: {seconds:.1f} CPU seconds")


if __name__ == "__main__":
    main()
