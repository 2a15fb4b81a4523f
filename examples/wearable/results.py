"""What a network scores, and what its program takes on the microcontroller."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import graphopt
from examples.wearable.beats import Beats
from examples.wearable.networks import board
from graphopt.ir import Graph
from graphopt.passes import optimize


def scores(graph: Graph, beats: Beats) -> dict[str, float]:
    """Accuracy and macro-F1 with their intervals, in percent."""
    found = {}
    for metric in ("top1", "f1"):
        score = graphopt.evaluate(graph, beats.x, beats.label, metric=metric, worst=0).score
        assert score is not None and score.low is not None and score.high is not None
        values = {"": score.value, " low": score.low, " high": score.high}
        found |= {metric + suffix: 100 * value for suffix, value in values.items()}
    return found


def on_board(graph: Graph, beats: Beats, samples: int) -> dict[str, Any]:
    """The program on the microcontroller's emulator: its bytes, its instructions, and whether it says what the graph
    says of some beats."""
    program = graphopt.compile(optimize(graph), board(), stack=True)
    found = graphopt.evaluate(program, beats.x, beats.label, samples=samples, against=graph, worst=0)
    assert found.against is not None
    sizes, told = program.sizes, program.manifest
    beside = sum(math.prod(p["shape"]) * np.dtype(p["dtype"]).itemsize for p in told["inputs"] + told["outputs"])
    return {
        "flash": sizes.code + sizes.weights,
        "ram": sizes.workspace + beside + told["stack_bytes"],
        "instructions": program.measure([beats.x[:1]]).instructions,
        "beats": found.samples,
        "equal": found.against.max_error == 0,
    }
