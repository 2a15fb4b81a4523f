"""The MLPerf Tiny networks quantized: scores of the compiled host programs on the samples that did not calibrate them.

python benchmarks/quantization.py SHARED_FOLDER [--only NETWORK ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from mlperf import NETS, calibration, graphs, score_of_split

import graphopt
from graphopt.ir import Graph
from graphopt.passes import Context, Fuse, MixedPrecision, Quantize
from graphopt.passes.quantize.layers import packed_weights

SETTINGS: dict[str, Quantize] = {
    "int8": Quantize(),
    "int4, rounded to nearest": Quantize(weights="int4", recover=()),
    "int4": Quantize(weights="int4"),
    "int4 and int8, 5/8 of the bytes": MixedPrecision(budget=0.625),
}


@dataclass(frozen=True)
class Row:
    """Score in percent; bytes of packed weights, and of all constants of the program: biases and scales too."""

    network: str
    weights: str
    score: float
    packed: int
    constants: int
    seconds: float | None = None


def rows(shared: Path, name: str) -> Iterator[Row]:
    graph, fused = graphs(shared, name)
    yield Row(name, "float32", *measured(shared, name, fused))
    for setting, quantize in SETTINGS.items():
        context, started = Context(calibration=calibration(shared, name)), time.perf_counter()
        quantized = quantize.run(graph, context)
        seconds = time.perf_counter() - started
        yield Row(name, setting, *measured(shared, name, quantized), seconds)


def measured(shared: Path, name: str, graph: Graph) -> tuple[float, int, int]:
    net = NETS[name]
    program = graphopt.compile(Fuse()(graph), "host", batch=net.batch)
    outputs = program.dequantize(np.asarray(program.run(np.concatenate(list(net.samples(shared))))))
    score = score_of_split(shared, name, np.asarray(outputs))
    packed = sum(size for _, size in packed_weights(graph).values())
    return 100 * score, packed, program.manifest["weight_bytes"]


def printed(found: list[Row]) -> Table:
    table = Table(title="quantized after training, activations in int8")
    for column in ("network", "weights", "score %", "packed weights B", "all constants B", "seconds to quantize"):
        table.add_column(column, justify="left" if column in ("network", "weights") else "right", no_wrap=True)
    for row in found:
        packed, seconds = f"{row.packed:,}" if row.packed else "", f"{row.seconds:.1f}" if row.seconds else ""
        table.add_row(row.network, row.weights, f"{row.score:.2f}", packed, f"{row.constants:,}", seconds)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, metavar="SHARED_FOLDER", help="with models and data")
    parser.add_argument("--only", nargs="*", metavar="NETWORK", help="these networks alone")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    asked = parser.parse_args()
    found = [row for name in asked.only or NETS for row in rows(asked.shared, name)]
    Console(width=120).print(printed(found))
    if asked.json:
        asked.json.write_text(json.dumps([asdict(row) for row in found], indent=1) + "\n")


if __name__ == "__main__":
    main()
