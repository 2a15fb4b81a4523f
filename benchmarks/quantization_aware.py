"""ResNet8 trained for weights of 4 bits and of 1 bit, activations of 8, on images of CIFAR-10.

    python benchmarks/quantization_aware.py SHARED_FOLDER            # goes on where it was stopped
    python benchmarks/quantization_aware.py SHARED_FOLDER --quick    # every step, too short to learn much

The float network teaches; training begins with what passes recover. The best epoch on the validation images is kept,
and scored once, by the program on integers. What is done stays in a folder (``--folder``): ``results.json``.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from cifar10 import LABEL, Cifar10, Flipped, cifar10  # noqa: E402

import graphopt  # noqa: E402
from examples.results import Results  # noqa: E402
from graphopt import training  # noqa: E402
from graphopt.ir import Graph  # noqa: E402
from graphopt.passes import Quantize  # noqa: E402

MODEL = Path("models") / "mlperf_tiny" / "ic_resnet8.onnx"
ENDS = {"/c0/Conv": "int8", "/fc/Gemm": "int8"}
"""The first and the last layer, at 8 bits where the others are binary."""
QUICK_IMAGES = 1_024


@dataclass(frozen=True)
class Setting:
    """Widths, and on how many images, how long and by what steps they are trained for."""

    widths: dict[str, Any]
    relative: float
    images: int
    epochs: int = 2


SETTINGS = {
    "int4": Setting({"weights": "int4"}, relative=0.0005, images=20_000),
    "binary, first and last layer int8": Setting(
        {"weights": "binary", "overrides": ENDS}, relative=0.003, images=20_000
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, metavar="SHARED_FOLDER", help="with models and data")
    parser.add_argument("--quick", action="store_true", help="every step, too short to learn much")
    parser.add_argument("--folder", type=Path, help="where to keep what is done")
    parser.add_argument("--cache", type=Path, default=Path("out"), help="where the images are, or are fetched to")
    asked = parser.parse_args()
    folder = asked.folder or Path("out") / ("quantization-aware-quick" if asked.quick else "quantization-aware")
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)

    data, results = cifar10(asked.shared, asked.cache), Results(folder / "results.json")
    graph = graphopt.load(asked.shared / MODEL)
    results.take("float", lambda: scored(graph, data))
    for name, setting in SETTINGS.items():
        quantize = Quantize(calibration=data.calibration, **setting.widths)
        results.take(f"{name}, not trained", lambda quantize=quantize: scored(quantize(graph), data))
        if asked.quick:
            setting = replace(setting, images=QUICK_IMAGES, epochs=1)
        results.take(name, lambda s=setting, n=name: trained(graph, data, s, folder / n))
    Console(width=120).print(printed(results.rows))


def trained(graph: Graph, data: Cifar10, setting: Setting, checkpoint: Path) -> dict[str, Any]:
    started = time.process_time()
    small = training.quantization_aware(
        graph,
        Flipped(data.train.only(slice(setting.images))),
        training.loss_of_labels(LABEL),
        **setting.widths,
        calibration=data.calibration,
        teacher=graph,
        evaluate=data.validation.accuracy,
        epochs=setting.epochs,
        optimizer={"name": "adam", "relative": setting.relative},
        checkpoint=checkpoint,
    )
    found = scored(small, data) | {"epoch": small.history.best, "of": setting.epochs}
    return found | {"seconds": round(time.process_time() - started)}


def scored(graph: Graph, data: Cifar10) -> dict[str, Any]:
    return {"validation": data.validation.accuracy(graph), "evaluation": data.evaluation.accuracy(graph)}


def printed(rows: dict[str, Any]) -> Table:
    table = Table(title="ResNet8 on CIFAR-10, activations in int8")
    for column in ("weights", "epoch", "validation %", "evaluation %", "seconds"):
        table.add_column(column, justify="left" if column == "weights" else "right")
    for name, row in rows.items():
        epoch = f"{row['epoch']} of {row['of']}" if "epoch" in row else ""
        scores = [f"{100 * row[key]:.2f}" for key in ("validation", "evaluation")]
        table.add_row(name, epoch, *scores, str(row.get("seconds", "")))
    return table


if __name__ == "__main__":
    main()
