"""Recurrent networks on heartbeats, trained here: accuracy in float32 and in int8, and their cost on a Cortex-M4.

    python benchmarks/ecg_gru.py FOLDER_WITH_data [EPOCHS]

Quantised on 256 beats of the training set; accuracies are of the programs compiled for the host, over all 5,000 test
beats. Sixteen of them run on the emulated Cortex-M4 too; the last column is the largest difference of their outputs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import beats

import graphopt

BATCH, SAMPLE = 500, 16
COLUMNS = ("layer", "numbers", "accuracy %", "M4 instructions", "weights B", "workspace B", "code B", "M4 - host")


def main(folder: str, epochs: str = "12") -> None:
    data = beats.load(Path(folder))
    x, y = data["x_test"], data["y_test"]
    table = Table(title=f"heartbeats: {len(x)} beats of {beats.STEPS} steps, {epochs} epochs of training")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in COLUMNS[:2] else "right", no_wrap=True)
    for layer in (nn.GRU, nn.LSTM):
        model = beats.train(layer, data["x_train"], data["y_train"], int(epochs))
        for numbers, graph in zip(("float32", "int8"), beats.quantized(model, data["x_train"]), strict=True):
            graph = graphopt.optimize(graph)
            host = graphopt.compile(graph, batch=BATCH)
            got = np.concatenate([host.run(part) for part in np.split(x, len(x) // BATCH)])
            device = graphopt.compile(graph, "cortex-m4")
            runs = [device.measure([beat[None]], count=i == 0) for i, beat in enumerate(x[:SAMPLE])]
            there = np.concatenate([run.outputs[0][0] for run in runs])
            sizes = device.sizes
            table.add_row(
                layer.__name__,
                numbers,
                f"{(got.argmax(1) == y).mean() * 100:.2f}",
                f"{runs[0].instructions or 0:,}",
                *(f"{size:,}" for size in (sizes.weights, sizes.workspace, sizes.code)),
                f"{np.abs(there.astype(np.float64) - got[:SAMPLE]).max():.0e}",
            )
    Console(width=140).print(table)


if __name__ == "__main__":
    main(*sys.argv[1:])
