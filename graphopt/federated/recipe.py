"""Recipes: learning together from a TOML file, the same on the server and on every client's device.

What a recipe names as ``file.py:name`` or ``package.module:name`` is Python code, and is run. Only ever run recipes
that you trust.
"""

from __future__ import annotations

import glob
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.exporters import save
from graphopt.federated.client import Client
from graphopt.federated.compression import Compression
from graphopt.federated.driver import Plan, planned
from graphopt.federated.history import Federated
from graphopt.federated.privacy import Privacy
from graphopt.federated.strategies import FedAdam, FedAvg, FedProx, Median, Strategy, TrimmedMean
from graphopt.frontends import load
from graphopt.ir import Array, Graph
from graphopt.passes import Context, Pipeline, parse_passes
from graphopt.records import record, table
from graphopt.training.data import Loss
from graphopt.training.named import named_function
from graphopt.training.objective import loss_of_labels
from graphopt.training.recipe import minus_loss, placed
from graphopt.training.recipe_steps import RecipeStep
from graphopt.training.tune import Evaluate

STRATEGIES: dict[str, type[Strategy]] = {
    "fedavg": FedAvg,
    "fedprox": FedProx,
    "fedadam": FedAdam,
    "trimmed-mean": TrimmedMean,
    "median": Median,
}


@dataclass(frozen=True, kw_only=True)
class ClientData:
    """The table ``data``: .npz files with an array for each input and one of labels."""

    clients: tuple[str, ...]
    """A file for each client; a pattern, ``patient-*.npz``, stands for those that fit it, in the order of names."""
    labels: str = "label"
    loss: str | None = None
    """A function of outputs and batch; by default what the labels ask for."""
    held_out: str | None = None
    """A file of the server's: the metric is then minus the loss on it."""
    evaluate: str | None = None
    """A function of the graph, higher being better."""


@dataclass(frozen=True, kw_only=True)
class Compress:
    """The table ``compress``: what makes of the model what is deployed."""

    passes: str
    calibration: str | None = None
    """A file of the server's, from which quantization takes its ranges."""


@dataclass(frozen=True, kw_only=True)
class FederatedRecipe:
    """A recipe file. The tables ``update``, ``strategy`` and ``privacy`` have the fields of their classes."""

    model: str
    data: ClientData
    rounds: int = 10
    local: dict[str, Any] = field(default_factory=dict)
    """The options of ``fine_tune`` in a round."""
    update: Compression = field(default_factory=Compression)
    strategy: dict[str, Any] = field(default_factory=lambda: {"name": "fedavg"})
    privacy: Privacy | None = None
    compress: Compress | None = None
    engine: str = "local"
    seed: int = 0
    fraction: float = 1.0
    least: int = 1
    time_limit: float | None = None
    checkpoint: str | None = None
    output: str | None = None
    """A .gopt or .onnx file for the model that was learned."""
    deploy: str | None = None
    firmware: str | None = None
    """A folder for the program."""
    folder: Path = Path()
    """What its paths are relative to."""


def read_federated(path: str | Path) -> FederatedRecipe:
    """A recipe from a TOML file. Raises ``InvalidInput`` naming what in it is wrong."""
    try:
        written = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        recipe = replace(record(FederatedRecipe, written, "the recipe"), folder=Path(path).parent)
        strategy_of(recipe)
        record(RecipeStep, recipe.local, "local")
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidInput(f"is no recipe: {error}", where=str(path), advice="docs/federated.md has one") from error
    if recipe.firmware is not None and recipe.deploy is None:
        raise InvalidInput("there is no program", where="firmware", advice='name a target: deploy = "cortex-m4"')
    return recipe


def strategy_of(recipe: FederatedRecipe) -> Strategy:
    """Raises ``ValueError`` for a name or option that there is not."""
    options = dict(table(recipe.strategy, "strategy"))
    name = options.pop("name", "fedavg")
    if name not in STRATEGIES:
        raise ValueError(f"strategy: name = {name!r} is none of {', '.join(STRATEGIES)}")
    return record(STRATEGIES[name], options, f"strategy ({name})")


def plan_of_recipe(recipe: FederatedRecipe) -> Plan:
    """The plan of a recipe. A client's file is read when it first learns, in the process in which it does."""
    graph = load(recipe.folder / recipe.model)
    data, loss = recipe.data, loss_of(recipe, graph)
    files = [file for pattern in data.clients for file in files_of(recipe.folder, pattern)]
    return planned(
        graph,
        [Client(partial(read_arrays, file, (*inputs_of(graph), data.labels)), name=file.stem) for file in files],
        recipe.rounds,
        recipe.local,
        recipe.update,
        strategy_of(recipe),
        recipe.seed,
        None if recipe.checkpoint is None else recipe.folder / recipe.checkpoint,
        recipe.deploy,
        loss=loss,
        evaluate=evaluation_of(recipe, loss),
        compress=compression_of(recipe),
        fraction=recipe.fraction,
        least=recipe.least,
        time_limit=recipe.time_limit,
        privacy=recipe.privacy,
    )


def saved(recipe: FederatedRecipe, made: Federated, output: Path | None = None) -> tuple[Path | None, Path | None]:
    """Write what came of a run to where the recipe says, or to ``output``; gives where model and program are."""
    target = output or (None if recipe.output is None else recipe.folder / recipe.output)
    if target is not None:
        save(made.model, target)
    firmware = None if recipe.firmware is None else recipe.folder / recipe.firmware
    if firmware is not None and made.program is not None:
        made.program.save(firmware)
    return target, firmware


def files_of(folder: Path, pattern: str) -> list[Path]:
    """The file of this name, which need not be on this machine, or those that fit a pattern."""
    if not glob.has_magic(pattern):
        return [folder / pattern]
    if not (found := sorted(folder.glob(pattern))):
        raise InvalidInput("no file fits", where=f"clients {pattern!r}")
    return found


def loss_of(recipe: FederatedRecipe, graph: Graph) -> Loss:
    told = recipe.data.loss
    return loss_of_labels(recipe.data.labels, graph) if told is None else named_function(told, recipe.folder)


def evaluation_of(recipe: FederatedRecipe, loss: Loss) -> Evaluate | None:
    data = recipe.data
    own = None if data.evaluate is None else named_function(data.evaluate, recipe.folder)
    if own is None and data.held_out is None:
        return None

    def evaluate(graph: Graph) -> float:
        with placed("evaluate"):
            if own is not None:
                return float(own(graph))
            arrays = read_arrays(recipe.folder / str(data.held_out), (*inputs_of(graph), data.labels))
            return minus_loss(loss, arrays)(graph)

    return evaluate


def compression_of(recipe: FederatedRecipe) -> Callable[[Graph], Graph] | None:
    told = recipe.compress
    if told is None:
        return None
    passes = parse_passes(told.passes)

    def compress(graph: Graph) -> Graph:
        file = told.calibration
        samples = None if file is None else read_arrays(recipe.folder / file, inputs_of(graph))
        return Pipeline(passes)(graph, Context(calibration=samples))

    return compress


def inputs_of(graph: Graph) -> tuple[str, ...]:
    return tuple(graph.names[value.node] for value in graph.inputs)


def read_arrays(file: Path, wanted: Sequence[str]) -> dict[str, Array]:
    """The arrays of these names in an .npz file; nothing is unpickled.

    Raises ``InvalidInput`` for another file, or one that lacks an array.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in wanted}
    except KeyError as error:
        raise InvalidInput(
            f"it has no array {error}", where=str(file), why=f"wanted are {', '.join(wanted)}"
        ) from error
    except (OSError, ValueError, BadZipFile, AttributeError, TypeError) as error:
        raise InvalidInput(f"is no .npz file that can be read: {error}", where=str(file)) from error
