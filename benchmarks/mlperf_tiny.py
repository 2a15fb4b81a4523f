"""The MLPerf Tiny networks on a microcontroller: instructions of one inference, memory, code.

python benchmarks/mlperf_tiny.py FOLDER_WITH_THE_FOUR_ONNX_FILES [TARGET]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import graphopt
from graphopt.ir import worst_difference
from graphopt.passes.contract import random_inputs

# instructions of the C that onnx2c makes of each, GCC 12.2 -O3, Cortex-M4
ONNX2C = {
    "kws_dscnn": 19_900_000,
    "ic_resnet8": 119_900_000,
    "vww_mobilenetv1_025_96": 54_100_000,
    "ad_autoencoder": 1_340_000,
}


def main(folder: str, target: str = "cortex-m4") -> None:
    table = Table(title=f"float32 on {target}")
    for column in ("network", "instructions", "onnx2c / ours", "difference", "code B", "weights B", "workspace B"):
        table.add_column(column, justify="left" if column == "network" else "right", no_wrap=True)
    for name, baseline in ONNX2C.items():
        graph = graphopt.bind_batch(graphopt.load(Path(folder) / f"{name}.onnx"), 1)
        program = graphopt.compile(graphopt.optimize(graph), target=target)
        inputs = random_inputs(graph, seed=0)
        run, sizes = program.measure(inputs), program.sizes
        instructions = run.instructions or 0
        table.add_row(
            name,
            f"{instructions:,}",
            f"{baseline / instructions:.2f}" if instructions else "",
            f"{worst_difference(run.outputs[0][0], np.asarray(graph(**inputs)[0])):.1e}",
            *(f"{size:,}" for size in (sizes.code, sizes.weights, sizes.workspace)),
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main(*sys.argv[1:])
