"""What is left of ResNet8's accuracy without a part of its multiply-accumulates, trained again on CIFAR-10.

    python benchmarks/pruning_curve.py SHARED_FOLDER            # some hours of one core; goes on where it was stopped
    python benchmarks/pruning_curve.py SHARED_FOLDER --quick    # every step, too short to learn much: a minute

The norms of the file are folded: its layers get batch norms again to be trained. Channels inside the three blocks go in
steps, by a Taylor criterion for each multiply-accumulate, with an epoch after each and more in the end; what is left is
taught by the network that it was. Products and convolutions are in bfloat16, which is faster where the processor has
instructions for it. The same for Torch-Pruning, if it is installed (pip install --no-deps torch-pruning==1.6.1): its
channels, in as many steps, trained by the same function. The best of the last epochs on the validation images is kept,
and scored once. What is done stays in a folder (``--folder``): figures in ``results.json``.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np
import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from cifar10 import INPUT, LABEL, SIDE, Cifar10, Flipped, cifar10  # noqa: E402
from resnet8 import ResNet8, resnet8  # noqa: E402

import graphopt  # noqa: E402
from examples.results import Results  # noqa: E402
from graphopt import training  # noqa: E402
from graphopt.ir import Graph  # noqa: E402
from graphopt.ops.macs import count_macs  # noqa: E402
from graphopt.passes import FoldBatchNorm, InsertBatchNorm, PruneChannels  # noqa: E402
from graphopt.report.cost import cost_of  # noqa: E402

MODEL = Path("models") / "mlperf_tiny" / "ic_resnet8.onnx"
OPTIMIZER = {"name": "adam", "relative": 0.03}
BATCH, SEEN, BATCH_SEEN = 64, 1_024, 64
"""The images of a batch; those that the norms and the criterion see, and in batches of how many."""
RESIDUAL = ("/c0/Conv", "/c2*/Conv", "/sc*/Conv")
"""The layers whose channels the blocks pass on: they keep them."""
EXAMPLE = torch.zeros(2, 3, SIDE, SIDE)
COLUMNS = "pruned by", "removed", "MACs", "parameters", "validation %", "evaluation %", "change", "of each seed"
LOSS = training.loss_of_labels(LABEL)
STEPS_OF_SEARCH = 8
"""For the ratio of Torch-Pruning that removes so much: it has no budget of multiply-accumulates."""


@dataclass(frozen=True)
class Plan:
    """In how many steps channels go, each with an epoch; the epochs after them; the images; and the rows."""

    steps: int
    last_epochs: int
    images: int
    rows: tuple[tuple[str, float, int], ...]
    """Who prunes, the part of the multiply-accumulates, and the seed."""


OURS, THEIRS = "graphopt", "Torch-Pruning"
FULL = Plan(
    steps=3,
    last_epochs=30,
    images=45_000,
    rows=(
        *((OURS, 0.5, seed) for seed in range(3)),
        *((who, part, 0) for who, part in ((THEIRS, 0.5), (OURS, 0.3), (OURS, 0.7), (THEIRS, 0.3), (THEIRS, 0.7))),
    ),
)
QUICK = Plan(steps=2, last_epochs=1, images=2_048, rows=((OURS, 0.5, 0), (THEIRS, 0.5, 0)))


@dataclass(frozen=True)
class Curve:
    """The rows: networks of one file, pruned, trained, and scored."""

    graph: Graph
    data: Cifar10
    plan: Plan
    folder: Path
    fabric: Fabric

    def row(self, who: str, removed: float, seed: int) -> dict[str, Any]:
        """What is known of a network without a part of its multiply-accumulates, and what it scores."""
        started = time.process_time()
        checkpoints = self.folder / f"{who}-{removed:.0%}-{seed}"
        trained = {OURS: self.by_graphopt, THEIRS: self.by_torch_pruning}[who](removed, seed, checkpoints)
        return self.scored(trained) | {"seconds": round(time.process_time() - started)}

    def by_graphopt(self, removed: float, seed: int, checkpoints: Path) -> Graph:
        importance = training.Taylor(LOSS, self.batches(seed))
        pruning = PruneChannels(target_macs=1 - removed, importance=importance, per_cost=True, keep=RESIDUAL)
        data, steps = self.images(), self.plan.steps
        options = {"teacher": self.graph, "optimizer": OPTIMIZER, "fabric": self.fabric}
        small = training.prune_iteratively(
            self.normed(seed), pruning, data, LOSS, steps=steps, seed=seed, checkpoint=checkpoints, **options
        )
        options |= {"epochs": self.plan.last_epochs, "seed": seed + steps, "checkpoint": checkpoints / "last"}
        return FoldBatchNorm()(training.fine_tune(small, data, LOSS, evaluate=self.data.validation.accuracy, **options))

    def by_torch_pruning(self, removed: float, seed: int, checkpoints: Path) -> Graph:
        module, batches = resnet8(self.normed(seed)), self.batches(seed)
        for step in range(self.plan.steps + 1):
            last = step == self.plan.steps
            if not last:
                left = 1 - removed * (step + 1) / self.plan.steps
                module = without_channels(module, batches, left * count_macs(self.graph))
            training.distill(
                self.graph,
                module,
                self.images(),
                LOSS,
                evaluate=(lambda module: self.data.validation.accuracy(traced(module))) if last else None,
                optimizer=OPTIMIZER,
                fabric=self.fabric,
                epochs=self.plan.last_epochs if last else 1,
                seed=seed + step,
                checkpoint=checkpoints / ("last" if last else f"step-{step + 1}"),
            )
        return traced(module)

    def scored(self, graph: Graph) -> dict[str, Any]:
        cost = cost_of(graph)
        return {
            "macs": cost.macs,
            "parameters": cost.parameters,
            "validation": self.data.validation.accuracy(graph),
            "evaluation": self.data.evaluation.accuracy(graph),
        }

    def normed(self, seed: int) -> Graph:
        """The network with batch norms."""
        return InsertBatchNorm(calibration=[{INPUT: batch[INPUT]} for batch in self.batches(seed)])(self.graph)

    def images(self) -> Flipped:
        """The batches to learn from, in the memory format in which PyTorch's convolutions are fastest here."""
        return Flipped(self.data.train, BATCH, torch.channels_last)

    def batches(self, seed: int) -> list[dict[str, Any]]:
        """What the norms and the criterion see."""
        chosen = np.random.default_rng(seed).permutation(len(self.data.train.images))[:SEEN]
        seen = self.data.train.only(chosen)
        cuts = range(BATCH_SEEN, len(chosen), BATCH_SEEN)
        parts = zip(np.split(seen.floats, cuts), np.split(seen.classes, cuts), strict=True)
        return [{INPUT: images, LABEL: classes} for images, classes in parts]


def without_channels(module: ResNet8, batches: list[dict[str, Any]], most: float) -> ResNet8:
    """The module after the least global pruning of Torch-Pruning, by its Taylor criterion, that leaves at most so many
    multiply-accumulates."""
    import torch_pruning as tp

    module.zero_grad()
    for batch in batches:
        LOSS(module(torch.from_numpy(batch[INPUT])), {LABEL: torch.from_numpy(batch[LABEL])}).backward()
    gradients = [parameter.grad for parameter in module.parameters()]

    def pruned(ratio: float) -> ResNet8:
        small = copy.deepcopy(module)
        for parameter, gradient in zip(small.parameters(), gradients, strict=True):
            parameter.grad = gradient
        stay = [small.head, small.stem[0], *(block.second[0] for block in small.blocks)]
        criterion = tp.importance.TaylorImportance()
        tp.pruner.BasePruner(
            small, EXAMPLE, criterion, global_pruning=True, pruning_ratio=ratio, ignored_layers=stay
        ).step()
        small.zero_grad()
        return small

    low, high = 0.0, 1.0
    for _ in range(STEPS_OF_SEARCH):
        ratio = (low + high) / 2
        if count_macs(traced(pruned(ratio))) > most:
            low = ratio
        else:
            high = ratio
    return pruned(high)


def traced(module: torch.nn.Module) -> Graph:
    return FoldBatchNorm()(graphopt.trace(module.eval(), (EXAMPLE,)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, metavar="SHARED_FOLDER", help="with models and data")
    parser.add_argument("--quick", action="store_true", help="every step, too short to learn much")
    parser.add_argument("--folder", type=Path, help="where to keep what is done")
    parser.add_argument("--cache", type=Path, default=Path("out"), help="where the images are, or are fetched to")
    asked = parser.parse_args()
    plan = QUICK if asked.quick else FULL
    folder = asked.folder or Path("out") / ("pruning-curve-quick" if asked.quick else "pruning-curve")
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)

    data, results = cifar10(asked.shared, asked.cache), Results(folder / "results.json")
    data = data._replace(train=data.train.only(slice(plan.images)))
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    fabric.launch()
    curve = Curve(graphopt.load(asked.shared / MODEL), data, plan, folder, fabric)
    results.take("float", lambda: curve.scored(curve.graph))
    for row in plan.rows:
        if row[0] == OURS or importlib.util.find_spec("torch_pruning"):
            results.take("{} {:.0%} {}".format(*row), lambda row=row: curve.row(*row))
    Console(width=120).print(printed(results.rows, plan))


def printed(rows: dict[str, Any], plan: Plan) -> Table:
    """A table; of several seeds the mean, and each."""
    table = Table(title=f"ResNet8, CIFAR-10: {plan.steps} + {plan.last_epochs} epochs of {plan.images:,} images")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == COLUMNS[0] else "right")
    before = rows["float"]
    table.add_row("", "0%", *cells([before], before))
    for who, removed in sorted({row[:2] for row in plan.rows}, key=lambda row: (row[0] != OURS, row[1])):
        name = f"{who} {removed:.0%}"
        if own := [row for key, row in rows.items() if key.rpartition(" ")[0] == name]:
            table.add_row(who, f"{removed:.0%}", *cells(own, before))
    return table


def cells(rows: list[dict[str, Any]], before: dict[str, Any]) -> list[str]:
    mean = {key: statistics.fmean(row[key] for row in rows) for key in before}
    each = [f"{row['evaluation']:.2%}" for row in rows] if len(rows) > 1 else []
    change = 100 * (mean["evaluation"] - before["evaluation"])
    return [
        *(f"{round(mean[key]):,}" for key in ("macs", "parameters")),
        *(f"{100 * mean[key]:.2f}" for key in ("validation", "evaluation")),
        f"{change:+.2f}",
        ", ".join(each),
    ]


if __name__ == "__main__":
    main()
