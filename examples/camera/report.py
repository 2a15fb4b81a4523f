"""Scores the rows that train.py has stored, on the test pictures, which nothing was chosen by.

    python -m examples.camera.report camera-run

Each row is the mean over the seeds that are done, with a 95 % interval from pictures drawn anew; in int8 too, where the
row is one that would be deployed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

import graphopt
from examples.camera.cells import read_cells
from examples.camera.scores import Seen, mean, ratio, seen
from graphopt.evaluation.intervals import ConfidenceInterval
from graphopt.ir import Array, Graph
from graphopt.ops.macs import count_macs
from graphopt.passes import Fuse, Quantize

ROWS = ("base", "further", "half", "half-from-scratch", "quarter", "quarter-from-scratch")
DEPLOYED = ("further", "half", "quarter")
INT8 = " in int8"
PAIRS = (
    ("half", "further"),
    ("half", "half-from-scratch"),
    ("half in int8", "half"),
    ("quarter", "further"),
    ("quarter", "quarter-from-scratch"),
)
"""Rows of which one is printed as a part of the other."""
Record = dict[str, Any]
CALIBRATION = 64
"""Training pictures that give the ranges of int8."""


class Report:
    """The rows of a folder, each scored once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.test, training = (read_cells(folder / "cells", split) for split in ("test", "train"))
        self.calibration = training.images[:CALIBRATION]
        self.kept: dict[str, list[Seen]] = {}

    def graphs(self, row: str) -> list[Graph]:
        """Those of the seeds that are done, before they are quantized."""
        name = row.removesuffix(INT8)
        return [graphopt.load(file) for file in sorted(self.folder.glob(f"seed-*/{name}.gopt"))]

    def seen(self, row: str) -> list[Seen]:
        if row not in self.kept:
            graphs = self.graphs(row)
            if row.endswith(INT8):
                graphs = [quantized(graph, self.calibration) for graph in graphs]
            self.kept[row] = [seen(graph, self.test) for graph in graphs]
        return self.kept[row]

    def rows(self) -> Iterator[Record]:
        for row in [*ROWS, *(name + INT8 for name in DEPLOYED)]:
            graphs, runs = self.graphs(row), self.seen(row)
            if not runs:
                continue
            found, limits = mean("map50", runs)
            yield {
                "row": row,
                "seeds": len(runs),
                "MACs": round(sum(map(count_macs, graphs)) / len(graphs)),
                "weights": round(sum(map(weights, graphs)) / len(graphs)),
                "mAP50": round(found, 4),
                "interval": interval(limits),
                "each": [round(mean("map50", [own])[0], 4) for own in runs],
                "mAP50-95": round(mean("map50-95", runs)[0], 4),
            }

    def ratios(self) -> Iterator[Record]:
        for row, other in PAIRS:
            ours, theirs = self.seen(row), self.seen(other)
            count = min(len(ours), len(theirs))
            if count:
                found, limits = ratio("map50", ours[:count], theirs[:count])
                yield {"row": row, "of": other, "seeds": count, "part": round(found, 4), "interval": interval(limits)}


def quantized(graph: Graph, calibration: Array) -> Graph:
    return Fuse()(Quantize(calibration=calibration)(graph))


def weights(graph: Graph) -> int:
    """The weights of convolutions, once batch norms are folded into them."""
    return sum(node.inputs[1].constant.size for node in graph.nodes if node.op.name == "conv")


def interval(limits: ConfidenceInterval | None) -> list[float] | None:
    return None if limits is None else [round(limits.low, 4), round(limits.high, 4)]


HEADS = {
    "row": "---",
    "MACs": "---:",
    "weights": "---:",
    "mAP50": "---:",
    "95 %": "---",
    "each seed": "---",
    "mAP50-95": "---:",
}


def table(rows: Sequence[Record]) -> str:
    """The rows in Markdown."""
    cells = [
        [
            row["row"],
            f"{row['MACs']:,}",
            f"{row['weights']:,}",
            f"{row['mAP50']:.4f}",
            " to ".join(f"{limit:.3f}" for limit in row["interval"]),
            ", ".join(f"{score:.3f}" for score in row["each"]),
            f"{row['mAP50-95']:.4f}",
        ]
        for row in rows
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [list(HEADS), list(HEADS.values()), *cells])


def sentence(part: Record) -> str:
    low, high = part["interval"]
    return f"- {part['row']} has {part['part']:.1%} of the mAP50 of {part['of']} ({low:.1%} to {high:.1%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where train.py has stored the run")
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    report = Report(folder)
    rows, parts = list(report.rows()), list(report.ratios())
    (folder / "test.json").write_text(json.dumps({"rows": rows, "parts": parts}, indent=1) + "\n")
    print(table(rows), "", *map(sentence, parts), sep="\n")


if __name__ == "__main__":
    main()
