"""What a network scores, and what its program takes on the microcontroller."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import graphopt
from examples.detector.data import Pictures
from graphopt.evaluation.detection import MeanAveragePrecision
from graphopt.ir import Graph
from graphopt.passes import Fuse
from graphopt.report.cost import cost_of

TARGET = "cortex-m7"


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
