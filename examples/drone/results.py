"""What was measured, kept in a file from one run to the next."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import graphopt
from examples.detector.data import Pictures
from graphopt.evaluation.detection import MeanAveragePrecision
from graphopt.ir import Graph
from graphopt.passes import Fuse
from graphopt.report.cost import cost_of

TARGET = "cortex-m7"


class Results:
    """Rows by name. Each is measured once; the file is written after every one."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}

    def take(self, name: str, measure: Callable[[], dict[str, Any]]) -> None:
        if name not in self.rows:
            self.rows[name] = measure()
            self.file.write_text(json.dumps(self.rows, indent=1) + "\n")
            print(name, self.rows[name], flush=True)


def scores(graph: Graph, pictures: Pictures) -> dict[str, float]:
    """mAP50 with its interval, mAP50-95, parameters and multiply-accumulates."""
    cost = cost_of(graph)
    found = {"parameters": cost.parameters, "macs": cost.macs}
    for metric in ("map50", "map50-95"):
        judge = MeanAveragePrecision(metric, head="fcos")
        score = graphopt.evaluate(graph, pictures.floats, pictures.boxes, metric=judge, worst=0).score
        assert score is not None
        found |= {metric: score.value, f"{metric} low": score.low, f"{metric} high": score.high}
    return found


def on_board(graph: Graph, pictures: Pictures, samples: int) -> dict[str, Any]:
    """The program on the microcontroller's emulator: its bytes, its instructions, and whether it says what the graph
    says of some pictures."""
    program = graphopt.compile(Fuse()(graph), target=TARGET)
    judge = MeanAveragePrecision("map50", head="fcos")
    images, boxes = pictures.floats, pictures.boxes
    found = graphopt.evaluate(program, images, boxes, metric=judge, samples=samples, against=graph, worst=0)
    assert found.against is not None
    sizes, ports = program.sizes, program.manifest["inputs"] + program.manifest["outputs"]
    beside = sum(math.prod(port["shape"]) * np.dtype(port["dtype"]).itemsize for port in ports)
    return {
        "target": TARGET,
        "flash": sizes.code + sizes.weights,
        "ram": sizes.workspace + beside,
        "instructions": program.measure([images[:1]]).instructions,
        "pictures": found.samples,
        "equal": found.against.max_error == 0,
    }
