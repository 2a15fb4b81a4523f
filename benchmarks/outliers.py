"""Trained networks whose int8 loses most of the signal, and what brings it back: a few operators in more bits.

    python benchmarks/outliers.py SHARED_FOLDER

The networks are those of packages that are installed (``trained.py``). Half of the samples calibrate; decibels of
signal to noise of the first output, against float32, are of these and of the other half. Times are those of
``Program.profile`` on this machine, with float32 ports.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import trained

import graphopt
from graphopt.ir import Array, Graph
from graphopt.passes import Pipeline, Quantize
from graphopt.passes.contract import signal_to_noise

SAMPLES = 16
STREAM = {
    **dict.fromkeys(("*norms*", "*.add", "*.add_1", "*narrow", "*attention.out"), "int16"),
    "*attention.add": "int8",
}
"""What a transformer's blocks hand on: the sums, their norms, and the layers that write to it."""
WAYS: dict[str, dict[str, dict[str, Any]]] = {
    "MiniLM, trained": {
        "int8": {},
        "the stream in int16": {"overrides": STREAM},
        "the same, layers read int8": {"overrides": STREAM, "layer_inputs": "int8"},
    },
    "silero-vad, a chunk": {"int8": {}, "the spectrum in float32": {"overrides": {"/model/stft/*": "float32"}}},
}
"""Options of ``Quantize``, by the name of the network and what they are."""


def first_outputs(graph: Graph, batches: list[dict[str, Array]]) -> list[Array]:
    return [graph(**batch)[0] for batch in batches]


def decibels(graph: Graph, batches: list[dict[str, Array]], wanted: list[Array]) -> float:
    return signal_to_noise(np.stack(wanted), np.stack(first_outputs(graph, batches)))


def microseconds(graph: Graph, batch: Mapping[str, Array]) -> float:
    seconds = graphopt.compile(graph, "host", io="float32").profile(batch).seconds
    assert seconds is not None
    return seconds * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    options = parser.parse_args()
    trained.SAMPLES = SAMPLES
    table = Table(title="signal to noise in dB, and microseconds of a call on this machine")
    for column in ("network", "way", "calibration", "others", "us"):
        table.add_column(column, justify="left" if column in ("network", "way") else "right", no_wrap=True)
    for network, load in trained.installed().items():
        if network not in WAYS:
            continue
        graph, samples = load(options.shared)
        names = [graph.names[value.node] for value in graph.inputs]
        batches = [dict(zip(names, sample, strict=True)) for sample in samples]
        seen, others = batches[::2], batches[1::2]
        floats = graphopt.optimize(graph)
        wanted = [first_outputs(floats, half) for half in (seen, others)]
        table.add_row(network, "float32", "", "", f"{microseconds(floats, seen[0]):,.1f}")
        for way, given in WAYS[network].items():
            small = Pipeline([Quantize(calibration=seen, **given), "fuse"])(graph)
            ratios = (f"{decibels(small, *pair):.1f}" for pair in zip((seen, others), wanted, strict=True))
            table.add_row(network, way, *ratios, f"{microseconds(small, seen[0]):,.1f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
