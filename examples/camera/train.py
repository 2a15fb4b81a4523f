"""Trains the smart camera's detector, prunes it, and trains what pruning must be compared with.

    python -m examples.camera.train cells_320.zip camera-run

Four rows for each seed: the base; the base trained further; the base pruned, with as much training; a net of the
pruned size, trained from scratch for as long as all of that. The last two come in two sizes: half the
multiply-accumulates, and half the filters of every layer, which is a quarter of them. A run that was interrupted goes
on where it was.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric

import graphopt
from examples.camera.cells import Cells, Varied, read_cells, unpack
from examples.camera.loss import detection_loss
from examples.camera.net import HEIGHT, WIDTH, CameraNet
from examples.camera.scores import scores
from graphopt import training as train
from graphopt.ir import Graph
from graphopt.ops.macs import count_macs
from graphopt.passes import PruneChannels

STEP = 2e-3
"""Of AdamW, from scratch; half of it for what is trained already."""
DECAY = 0.02


@dataclass(frozen=True)
class Plan:
    """How wide the net is, how long it is trained, how much further, and in how many steps it is pruned."""

    width: int = 16
    half_width: int = 11
    epochs: int = 40
    steps: int = 5
    epochs_per_step: int = 2
    last_epochs: int = 10
    seeds: int = 3

    @property
    def further(self) -> int:
        return self.steps * self.epochs_per_step + self.last_epochs


QUICK = Plan(width=6, half_width=4, epochs=2, steps=2, epochs_per_step=1, last_epochs=1, seeds=1)


@dataclass(frozen=True)
class Run:
    """The rows of one seed, in a folder of their own."""

    plan: Plan
    seed: int
    cells: Cells
    folder: Path
    fabric: Fabric | None = None

    def traced(self, width: int) -> Graph:
        torch.manual_seed(self.seed)
        return graphopt.trace(CameraNet(width).eval(), (torch.zeros(2, 3, HEIGHT, WIDTH),))

    def trained(self, name: str, graph: Graph, epochs: int, step: float) -> Graph:
        return train.fine_tune(graph, Varied(self.cells), detection_loss, epochs=epochs, **self.options(name, step))

    def base(self) -> Graph:
        return self.trained("base", self.traced(self.plan.width), self.plan.epochs, STEP)

    def further(self) -> Graph:
        return self.trained("further", self.base(), self.plan.further, STEP / 2)

    def pruned(self, name: str, pruning: PruneChannels) -> Graph:
        """The base in steps to its smaller size, a little training after each, and more in the end."""
        small = train.prune_iteratively(
            self.base(),
            pruning,
            Varied(self.cells),
            detection_loss,
            steps=self.plan.steps,
            epochs_per_step=self.plan.epochs_per_step,
            **self.options(f"{name}-steps", STEP / 2),
        )
        return self.trained(name, small, self.plan.last_epochs, STEP / 2)

    def half(self) -> Graph:
        return self.pruned("half", PruneChannels(target_macs=0.5, scope="local", importance=self.importance()))

    def quarter(self) -> Graph:
        return self.pruned("quarter", PruneChannels(ratio=0.5, scope="local", importance=self.importance()))

    def half_from_scratch(self) -> Graph:
        return self.from_scratch("half-from-scratch", self.plan.half_width)

    def quarter_from_scratch(self) -> Graph:
        return self.from_scratch("quarter-from-scratch", self.plan.width // 2)

    def from_scratch(self, name: str, width: int) -> Graph:
        return self.trained(name, self.traced(width), self.plan.epochs + self.plan.further, STEP)

    def importance(self) -> train.Taylor:
        """What the loss would change by without a filter, on the training pictures as they are."""
        images, boxes = (torch.from_numpy(a) for a in (self.cells.images, self.cells.boxes))
        batches = [{"images": x, "label": y} for x, y in zip(images.split(8), boxes.split(8), strict=True)]
        return train.Taylor(detection_loss, batches)

    def options(self, name: str, step: float) -> dict[str, object]:
        return {
            "optimizer": {"name": "AdamW", "lr": step, "weight_decay": DECAY},
            "frozen": ("start",),
            "seed": self.seed,
            "checkpoint": self.folder / "checkpoints" / name,
            "fabric": self.fabric,
        }


ROWS = {
    "base": Run.base,
    "further": Run.further,
    "half": Run.half,
    "half-from-scratch": Run.half_from_scratch,
    "quarter": Run.quarter,
    "quarter-from-scratch": Run.quarter_from_scratch,
}


def results(plan: Plan, archive: Path, folder: Path, fabric: Fabric | None) -> Iterator[dict[str, object]]:
    """Each row as it is done: its graph is stored, and scored on the validation pictures."""
    unpack(archive, folder / "cells")
    cells, held_out = (read_cells(folder / "cells", split) for split in ("train", "val"))
    for row, seed in order(plan):
        run = Run(plan, seed, cells, folder / f"seed-{seed}", fabric)
        file = run.folder / f"{row}.gopt"
        if file.exists():
            continue
        began = time.process_time()
        graph = ROWS[row](run)
        graphopt.save(graph, file)
        yield {
            "row": row,
            "seed": seed,
            "MACs": count_macs(graph),
            "CPU seconds": round(time.process_time() - began),
            **{f"val {name}": round(score, 4) for name, score in scores(graph, held_out).items()},
        }


def order(plan: Plan) -> list[tuple[str, int]]:
    """The rows of half the size of all seeds, then the others."""
    names = list(ROWS)
    return [(row, seed) for part in (names[:4], names[4:]) for seed in range(plan.seeds) for row in part]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="cells_320.zip")
    parser.add_argument("folder", type=Path, help="where the run is stored")
    parser.add_argument("--quick", action="store_true", help="a small net and few epochs, to see that all of it works")
    parser.add_argument("--bf16", action="store_true", help="convolve in bfloat16: fast where the CPU has it")
    given = parser.parse_args()
    torch.set_num_threads(1)
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed") if given.bf16 else None
    given.folder.mkdir(parents=True, exist_ok=True)
    with (given.folder / "results.jsonl").open("a") as file:
        for result in results(QUICK if given.quick else Plan(), given.archive, given.folder, fabric):
            line = json.dumps(result)
            print(line, flush=True)
            file.write(line + "\n")
            file.flush()


if __name__ == "__main__":
    main()
