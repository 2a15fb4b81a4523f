"""Pruning, measured: the sixteen structures against Torch-Pruning, and accuracy by criterion and ratio.

python benchmarks/pruning.py structures                        # needs: pip install --no-deps torch-pruning==1.6.1
python benchmarks/pruning.py accuracy FOLDER_WITH_models_AND_data
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from pruning.acceptance import CASES, Case  # noqa: E402

import graphopt  # noqa: E402
from graphopt.ir import (  # noqa: E402
    Array,
    Graph,
    worst_difference,
)
from graphopt.ops.macs import count_macs  # noqa: E402
from graphopt.passes import PruneChannels  # noqa: E402
from graphopt.passes.contract import random_inputs  # noqa: E402
from graphopt.passes.prune import Activation, GeometricMedian, Importance, Magnitude, Random, Scores, couple  # noqa: E402
from graphopt.passes.prune.coupling import separate_vectors  # noqa: E402
from graphopt.training import Hessian, Taylor  # noqa: E402

RATIO, WRONG = 0.5, 1e-4


def layer_channels(graph: Graph) -> int:
    """The channels that layers compute, but for those of the outputs."""
    produced = [p for places in couple(graph).relations.producers.values() for p in places]
    return sum(p.size for p in produced if not any(p.value is v for v in graph.outputs))


def shrinkage(before: Graph, after: Graph) -> list[str]:
    channels = f"{layer_channels(before)} -> {layer_channels(after)}"
    gone = 1 - layer_channels(after) / layer_channels(before)
    return [channels, f"{gone:.0%}", f"{count_macs(after) / count_macs(before):.2f}"]


def ours(case: Case) -> list[str]:
    """Channels, the part of them that went, MACs left, and the difference to the masked original in float64."""
    graph = graphopt.trace(case.model(), (case.example,))
    (removal,) = PruneChannels(ratio=RATIO, scope="local").removals(graph)
    double = removal.cast("float64")
    masked, small = (graphopt.bind_batch(g, 2) for g in (double.masked(), double.apply()))
    inputs = random_inputs(masked, seed=0)
    difference = worst_difference(small(**inputs)[0], masked(**inputs)[0])
    return [*shrinkage(graph, removal.apply()), f"{difference:.0e}"]


def theirs(case: Case, tp: Any) -> list[str]:
    """The same of Torch-Pruning, the last layer ignored; the difference is to the model with its own indices masked."""
    model, example = case.model(), case.example
    graph = graphopt.trace(case.model(), (example,))
    try:
        pruner = tp.pruner.MagnitudePruner(
            model, example, tp.importance.MagnitudeImportance(p=2), pruning_ratio=RATIO, ignored_layers=[model.last]
        )
        masked = copy.deepcopy(model)
        masks = consumer_masks(model, masked)
        for group in pruner.step(interactive=True):
            for dependency, indices in group:
                if "in_channels" in dependency.handler.__name__ and dependency.target.module in masks:
                    masks[dependency.target.module].remove(list(indices))
            group.prune()
        with torch.no_grad():
            got, wanted = model(example), masked(example)
        difference = worst_difference(got.numpy(), wanted.numpy())
        small = graphopt.trace(model.eval(), (example,))
    except Exception as error:
        text = str(error).strip().splitlines()
        return ["", "", "", f"crash: {type(error).__name__}: {text[0][:36] if text else ''}"]
    verdict = f"{difference:.0e}" + (" WRONG" if difference > WRONG else "")
    return [*shrinkage(graph, small), verdict]


@dataclass
class Mask:
    """Zeros in front of a layer of the model before, at the input channels that are gone from the pruned one."""

    axis: int
    left: list[int]
    gone: list[int] = field(default_factory=list)

    def remove(self, indices: list[int]) -> None:
        """Indices count the channels that are left, as they do while one group is pruned after the other."""
        self.gone += [self.left[i] for i in indices]
        self.left = [channel for i, channel in enumerate(self.left) if i not in set(indices)]

    def __call__(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        x = inputs[0].clone()
        x[(slice(None),) * (self.axis % x.ndim) + (self.gone,)] = 0
        return (x, *inputs[1:])


def consumer_masks(model: nn.Module, masked: nn.Module) -> dict[nn.Module, Mask]:
    """For each layer that sums over channels a mask, hooked into its twin in the model before."""
    masks: dict[nn.Module, Mask] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            masks[module] = Mask(1, list(range(module.in_channels)))
        elif isinstance(module, nn.Linear):
            masks[module] = Mask(-1, list(range(module.in_features)))
        elif isinstance(module, nn.LSTM):
            masks[module] = Mask(-1, list(range(module.input_size)))
        if module in masks:
            masked.get_submodule(name).register_forward_pre_hook(masks[module])
    return masks


def structures() -> None:
    try:
        import torch_pruning as tp
    except ImportError:
        sys.exit("Torch-Pruning is not installed: pip install --no-deps torch-pruning==1.6.1")
    table = Table(
        title=f"ratio {RATIO}: layer channels, the part gone, MACs left, max|d| / max|y| to the masked original"
    )
    table.add_column("net")
    for who in ("graphopt", "Torch-Pruning"):
        for column in (who, "gone", "MACs", "difference"):
            table.add_column(column, justify="right")
    for case in CASES:
        table.add_row(case.name, *ours(case), *theirs(case, tp))
    Console(width=150).print(table)


RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def kws(shared: Path) -> tuple[list[Array], list[Array], Array]:
    """Calibration samples, test samples and labels."""
    with np.load(shared / "data" / "kws.npz") as file:
        x, y = file["x"][:, None], file["y"]
    return list(x[:100]), list(x[100:]), y[100:]


def resnet8(shared: Path) -> tuple[list[Array], list[Array], Array]:
    def images(x: Array) -> list[Array]:
        return list(x.transpose(0, 3, 1, 2)[:, None].astype("float32"))

    with np.load(shared / "data" / "cifar10_subset.npz") as file:
        return images(file["calib_x"]), images(file["x"]), file["y"]


NETS: dict[str, tuple[str, Callable[[Path], tuple[list[Array], list[Array], Array]]]] = {
    "ResNet8": ("ic_resnet8.onnx", resnet8),
    "KWS": ("kws_dscnn.onnx", kws),
}


def criteria(graph: Graph, calibration: list[Array]) -> Iterator[tuple[str, Importance]]:
    """Every criterion that fits the nets; those of the loss take what the net itself says for the labels."""
    (name,) = (graph.names[v.node] for v in graph.inputs)
    batches = [{name: x, "label": graph(x)[0].argmax(1)} for x in calibration[:100]]

    def loss(outputs: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return nn.functional.cross_entropy(outputs, batch["label"])

    yield "magnitude L1", Magnitude(p=1)
    yield "magnitude L2", Magnitude(p=2)
    yield "geometric median", GeometricMedian()
    yield "activation", Activation(calibration[:100])
    yield "Taylor", Taylor(loss, batches)
    yield "Hessian (Fisher)", Hessian(loss, batches)
    yield "random", Random()


@dataclass(frozen=True)
class Known:
    """Scores that have been computed."""

    known: Scores
    comparable: bool

    def scores(self, graph: Graph) -> Scores:
        return self.known


def computed_once(importance: Importance, graph: Graph) -> Importance:
    """The scores of one graph, for pruning it at every ratio."""
    return Known(importance.scores(graph), getattr(importance, "comparable", False))


def accuracy_of(graph: Graph, x: Array, y: Array) -> float:
    """By the graph in PyTorch, which is the fastest to set up for a net that is evaluated once."""
    module = graphopt.to_torch(graph)
    with torch.no_grad():
        outputs = torch.cat([module(part) for part in torch.from_numpy(x).split(100)])
    return float((outputs.argmax(1).numpy() == y).mean())


def accuracy(folder: str) -> None:
    shared = Path(folder)
    for name, (file, data) in NETS.items():
        graph = separate_vectors(graphopt.load(shared / "models" / "mlperf_tiny" / file))
        calibration, samples, labels = data(shared)
        x = np.concatenate(samples)
        before = accuracy_of(graph, x, labels)
        table = Table(title=f"{name}: accuracy without fine-tuning, {before:.1%} before, {len(x)} samples")
        table.add_column("criterion")
        table.add_column("scope")
        for ratio in RATIOS:
            table.add_column(f"{ratio:g}", justify="right")
        for criterion, importance in criteria(graph, calibration):
            known = computed_once(importance, graph)
            for scope in ("global", "local"):
                pruned = [PruneChannels(ratio=r, scope=scope, importance=known)(graph) for r in RATIOS]
                table.add_row(criterion, scope, *(f"{accuracy_of(g, x, labels):.1%}" for g in pruned))
        macs = [count_macs(PruneChannels(ratio=r, scope="local")(graph)) / count_macs(graph) for r in RATIOS]
        table.add_row("MACs left", "local", *(f"{m:.0%}" for m in macs))
        Console(width=120).print(table)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    commands: dict[str, Callable[..., None]] = {"structures": structures, "accuracy": accuracy}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](*sys.argv[2:])
