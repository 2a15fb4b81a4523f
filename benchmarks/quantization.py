"""The MLPerf Tiny networks quantized: scores of the compiled host programs on the samples that did not calibrate them.

python benchmarks/quantization.py SHARED_FOLDER [NETWORK ...]
"""

from __future__ import annotations

import sys
import time
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


def main(folder: str, *names: str) -> None:
    shared, table = Path(folder), Table(title="quantized after training, activations in int8")
    for column in ("network", "weights", "score %", "packed weights B", "all constants B", "seconds to quantize"):
        table.add_column(column, justify="left" if column in ("network", "weights") else "right", no_wrap=True)
    for name in names or NETS:
        graph, fused = graphs(shared, name)
        table.add_row(name, "float32", *measured(shared, name, fused), "")
        for setting, quantize in SETTINGS.items():
            context, started = Context(calibration=calibration(shared, name)), time.perf_counter()
            quantized = quantize.run(graph, context)
            seconds = time.perf_counter() - started
            table.add_row(name, setting, *measured(shared, name, quantized), f"{seconds:.1f}")
        table.add_section()
    Console(width=120).print(table)


def measured(shared: Path, name: str, graph: Graph) -> tuple[str, str, str]:
    """The score, the bytes of packed weights, and of all constants that the program stores: biases and scales too."""
    net = NETS[name]
    program = graphopt.compile(Fuse()(graph), "host", batch=net.batch)
    outputs = program.dequantize(np.asarray(program.run(np.concatenate(list(net.samples(shared))))))
    score = score_of_split(shared, name, np.asarray(outputs))
    packed = sum(size for _, size in packed_weights(graph).values())
    return f"{100 * score:.2f}", f"{packed:,}" if packed else "", f"{program.manifest['weight_bytes']:,}"


if __name__ == "__main__":
    main(*sys.argv[1:])
