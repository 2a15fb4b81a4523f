"""What is left of ResNet8's accuracy without a part of its multiply-accumulates, trained again on CIFAR-10.

    python benchmarks/pruning_curve.py SHARED_FOLDER            # an hour of one core; goes on where it was stopped
    python benchmarks/pruning_curve.py SHARED_FOLDER --quick    # every step, too short to learn much: a minute

Channels go at once, by a Taylor criterion; then the network that it was teaches what is left. The same for
Torch-Pruning, if it is installed (pip install --no-deps torch-pruning==1.6.1): its channels, and then the same training
by the same function. The best epoch on the validation images is kept, and scored once. What is done stays in a folder
(``--folder``): networks as ``.gopt``, figures in ``results.json``.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from cifar10 import INPUT, LABEL, SIDE, Cifar10, Varied, cifar10  # noqa: E402
from resnet8 import resnet8  # noqa: E402

import graphopt  # noqa: E402
from examples.drone.results import Results  # noqa: E402
from graphopt import training  # noqa: E402
from graphopt.ir import Graph  # noqa: E402
from graphopt.ops.macs import count_macs  # noqa: E402
from graphopt.passes import PruneChannels  # noqa: E402
from graphopt.report.cost import cost_of  # noqa: E402

MODEL = Path("models") / "mlperf_tiny" / "ic_resnet8.onnx"
OPTIMIZER = {"name": "adam", "relative": 0.01}
SCORED_BY, BATCH = 2_048, 64
"""The images that the criterion sees, and in batches of how many."""
COLUMNS = "pruned by", "removed", "MACs", "parameters", "validation %", "evaluation %", "change", "of each seed"
STEPS_OF_SEARCH = 12
"""For the ratio of Torch-Pruning that removes so much: it has no budget of multiply-accumulates."""


@dataclass(frozen=True)
class Plan:
    """How long every row is trained, on how many images, and the seeds by the part that is removed."""

    epochs: int
    images: int
    seeds: dict[float, int]


FULL = Plan(epochs=6, images=45_000, seeds={0.3: 1, 0.5: 3, 0.7: 1})
QUICK = Plan(epochs=1, images=4_096, seeds={0.5: 1})


@dataclass(frozen=True)
class Curve:
    """The rows: networks of one file, pruned, trained, and scored."""

    graph: Graph
    data: Cifar10
    plan: Plan
    folder: Path

    def row(self, who: str, removed: float, seed: int) -> dict[str, Any]:
        """What is known of a network without a part of its multiply-accumulates, and what it scores."""
        started = time.process_time()
        pruned = PRUNED_BY[who](self, removed, seed)
        name = f"{who}-{removed:.0%}-{seed}"
        trained = training.fine_tune(
            pruned,
            Varied(self.data.train, BATCH),
            training.loss_of_labels(LABEL),
            teacher=self.graph,
            evaluate=self.data.validation.accuracy,
            epochs=self.plan.epochs,
            optimizer=OPTIMIZER,
            seed=seed,
            checkpoint=self.folder / f"{name}.checkpoint",
        )
        graphopt.save(trained, self.folder / f"{name}.gopt")
        return self.scored(trained) | {
            "validation by epoch": [epoch.metric for epoch in trained.history.epochs],
            "seconds": round(time.process_time() - started),
        }

    def scored(self, graph: Graph) -> dict[str, Any]:
        cost = cost_of(graph)
        return {
            "macs": cost.macs,
            "parameters": cost.parameters,
            "validation": self.data.validation.accuracy(graph),
            "evaluation": self.data.evaluation.accuracy(graph),
        }

    def batches(self, seed: int) -> list[dict[str, Any]]:
        """What the criterion sees."""
        chosen = np.random.default_rng(seed).permutation(len(self.data.train.images))[:SCORED_BY]
        seen = self.data.train.only(chosen)
        cuts = range(BATCH, len(chosen), BATCH)
        parts = zip(np.split(seen.floats, cuts), np.split(seen.classes, cuts), strict=True)
        return [{INPUT: images, LABEL: classes} for images, classes in parts]

    def by_graphopt(self, removed: float, seed: int) -> Graph:
        importance = training.Taylor(training.loss_of_labels(LABEL), self.batches(seed))
        return PruneChannels(target_macs=1 - removed, importance=importance)(self.graph)

    def by_torch_pruning(self, removed: float, seed: int) -> Graph:
        """The least ratio of its global pruning by its Taylor criterion that removes as much."""
        import torch_pruning as tp

        module, example = resnet8(self.graph), torch.rand(2, 3, SIDE, SIDE) * 255
        for batch in self.batches(seed):
            images, classes = torch.from_numpy(batch[INPUT]), torch.from_numpy(batch[LABEL])
            torch.nn.functional.cross_entropy(module(images), classes).backward()
        gradients = [parameter.grad for parameter in module.parameters()]

        def pruned(ratio: float) -> Graph:
            small = copy.deepcopy(module)
            for parameter, gradient in zip(small.parameters(), gradients, strict=True):
                parameter.grad = gradient
            tp.pruner.BasePruner(
                small,
                example,
                importance=tp.importance.TaylorImportance(),
                global_pruning=True,
                pruning_ratio=ratio,
                ignored_layers=[small.head],
            ).step()
            return graphopt.trace(small.eval(), (example,))

        low, high = 0.0, 1.0
        for _ in range(STEPS_OF_SEARCH):
            ratio = (low + high) / 2
            if count_macs(pruned(ratio)) > (1 - removed) * count_macs(self.graph):
                low = ratio
            else:
                high = ratio
        return pruned(high)


PRUNED_BY: dict[str, Callable[[Curve, float, int], Graph]] = {
    "graphopt": Curve.by_graphopt,
    "Torch-Pruning": Curve.by_torch_pruning,
}


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
    curve = Curve(graphopt.load(asked.shared / MODEL), data, plan, folder)
    results.take("float", lambda: curve.scored(curve.graph))
    makers = [who for who in PRUNED_BY if who == "graphopt" or importlib.util.find_spec("torch_pruning")]
    for who in makers:
        for removed, seeds in plan.seeds.items():
            for seed in range(seeds):
                row = f"{who} {removed:.0%} {seed}"
                results.take(row, lambda key=(who, removed, seed): curve.row(*key))
    Console(width=120).print(printed(results.rows, makers, plan))


def printed(rows: dict[str, Any], makers: list[str], plan: Plan) -> Table:
    """A table; of several seeds the mean, and each."""
    table = Table(title=f"ResNet8, CIFAR-10: {plan.epochs} epochs of {plan.images:,} images")
    for column in (
        "pruned by",
        "MACs removed",
        "MACs",
        "parameters",
        "validation %",
        "evaluation %",
        "change",
        "of each seed",
    ):
        table.add_column(column, justify="left" if column == "pruned by" else "right")
    before = rows["float"]
    table.add_row("", "0 %", *cells([before], before))
    for who in makers:
        for removed, seeds in plan.seeds.items():
            table.add_row(
                who, f"{removed:.0%}", *cells([rows[f"{who} {removed:.0%} {s}"] for s in range(seeds)], before)
            )
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
