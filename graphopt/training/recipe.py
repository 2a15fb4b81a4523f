"""Recipes: training from a TOML file, its steps in order, resumed where they were interrupted.

What a recipe names as ``file.py:name`` or ``package.module:name`` is Python code, and is run. Only ever run recipes
that you trust.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from graphopt.errors import GraphoptError, InvalidInput
from graphopt.exporters import to_torch
from graphopt.ir import Graph
from graphopt.passes import Context, Note
from graphopt.progress import counted
from graphopt.records import record, table
from graphopt.training.data import Loss, tensors
from graphopt.training.history import TrainedGraph
from graphopt.training.named import named_function
from graphopt.training.objective import loss_of_labels
from graphopt.training.recipe_steps import STEPS, Lessons, QuantizeStep, RecipeStep
from graphopt.training.samples import size_of
from graphopt.training.tune import Evaluate, on_outputs


@dataclass(frozen=True, kw_only=True)
class RecipeData:
    """The table ``data``: an .npz ``file`` with the array of ``labels``, or a ``function`` that gives data."""

    file: str | None = None
    keys: tuple[str, ...] = ()
    """Which array of the file is which input, as ``--key`` has it."""
    labels: str | None = None
    function: str | None = None
    loss: str | None = None
    """A function of outputs and batch; by default what the labels ask for."""
    held_out: float = 0.0
    """The part of the samples that is not learned from: the metric is then minus the loss on them."""
    evaluate: str | None = None
    """A function of the graph, higher being better."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe file: the model, what it learns from, and how."""

    model: str
    data: RecipeData
    steps: tuple[RecipeStep, ...] = ()
    output: str | None = None
    checkpoint: str | None = None
    seed: int = 0
    fabric: dict[str, Any] | None = None
    """The arguments of ``lightning_fabric.Fabric``: more than one device."""
    folder: Path = Path()
    """What its paths are relative to."""


class StepDone(NamedTuple):
    """A step, the graph after it, and what its passes note."""

    name: str
    graph: TrainedGraph
    notes: tuple[Note, ...]


def read_recipe(path: str | Path) -> Recipe:
    """A recipe from a TOML file. Raises ``InvalidInput`` naming what in it is wrong."""
    where = str(path)
    try:
        written = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        steps = tuple(step_of(step, i) for i, step in enumerate(written.pop("steps", ()), 1))
        recipe = replace(record(Recipe, written, "the recipe"), steps=steps, folder=Path(path).parent)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidInput(f"is no recipe: {error}", where=where, advice="docs/training.md has one") from error
    if not steps:
        raise InvalidInput("has no steps", where=where, advice=f"write [[steps]] with do = one of {', '.join(STEPS)}")
    if early := [i for i, step in enumerate(steps[:-1], 1) if isinstance(step, QuantizeStep)]:
        why = "the graph is on integers after it, of which nothing more can be learned"
        raise InvalidInput(f"step {early[0]} (quantization-aware) is not the last", where=where, why=why)
    if (recipe.data.file is None) == (recipe.data.function is None):
        raise InvalidInput("data is of a file or of a function, one of them", where=where)
    if not 0 <= recipe.data.held_out < 1:
        raise InvalidInput(f"held_out = {recipe.data.held_out} is not in [0, 1)", where=where)
    return recipe


def step_of(written: Any, number: int) -> RecipeStep:
    where = f"step {number}"
    options = dict(table(written, where))
    do = options.pop("do", None)
    if do not in STEPS:
        raise ValueError(f"{where}: do = {do!r} is none of {', '.join(STEPS)}")
    return record(STEPS[do], options, f"{where} ({do})")


def run_recipe(recipe: Recipe, graph: Graph, samples: Any = None, fabric: Any = None) -> Iterator[StepDone]:
    """The graph after each step of a recipe.

    ``samples`` are the arrays of its file, by the names of the inputs, and ``fabric`` is its Fabric, launched. With a
    ``checkpoint`` a step that is done is read, one that was interrupted goes on. Raises ``InvalidInput`` for what
    cannot be used, and where a function that the recipe names fails; the message says in which step.
    """
    with placed("data"):
        lessons = lessons_of(recipe, graph, samples)
    names = {kind: name for name, kind in STEPS.items()}
    for number, step in enumerate(counted(recipe.steps, "step"), 1):
        name = names[type(step)]
        folder = None if recipe.checkpoint is None else recipe.folder / recipe.checkpoint / f"{number}-{name}"
        context = Context()
        with placed(f"step {number} ({name})"):
            graph = step.run(graph, lessons, context, step.options(recipe.seed, folder, fabric))
        yield StepDone(name, graph, tuple(context.notes))


@contextmanager
def placed(where: str) -> Iterator[None]:
    """Whatever goes wrong in it, as an error that says where in the recipe."""
    try:
        yield
    except GraphoptError as error:
        raise error.told(where=f"{where}: {error.where}" if error.where else where) from error
    except Exception as error:  # of the functions that the recipe names
        raise InvalidInput(f"it failed with {type(error).__name__}: {error}", where=where) from error


def lessons_of(recipe: Recipe, graph: Graph, samples: Any) -> Lessons:
    """The data, loss and metric of a recipe."""
    told = recipe.data
    data = samples if told.function is None else named_function(told.function, recipe.folder)()
    loss: Loss | None = None
    if told.loss is not None:
        loss = named_function(told.loss, recipe.folder)
    elif told.labels is not None:
        loss = loss_of_labels(told.labels, graph)
    evaluate: Evaluate | None = None
    if told.held_out:
        data, held = split(data, told.held_out, recipe.seed)
        if loss is None:
            raise InvalidInput("there is no loss to evaluate", where="held_out", advice="name labels, or a loss")
        evaluate = minus_loss(loss, held)
    if told.evaluate is not None:
        evaluate = named_function(told.evaluate, recipe.folder)
    return Lessons(data, loss, evaluate, recipe.folder)


def split(data: Any, part: float, seed: int) -> tuple[Any, Any]:
    """Arrays of samples in two: those to learn from, and a part, drawn by a seed, to evaluate on."""
    if not isinstance(data, Mapping) or len({len(array) for array in data.values()}) != 1:
        advice = "let the function give a mapping of names to arrays, or leave held_out away"
        raise InvalidInput("only arrays of all samples can be split", where="held_out", advice=advice)
    total = len(next(iter(data.values())))
    order = np.random.default_rng(seed).permutation(total)
    count = round(part * total)
    if not 0 < count < total:
        raise InvalidInput(f"{part} of {total} samples are {count}", where="held_out", advice="give more samples")
    return tuple({name: array[chosen] for name, array in data.items()} for chosen in (order[count:], order[:count]))  # type: ignore[return-value]


def minus_loss(loss: Loss, held: Any) -> Evaluate:
    """A metric: minus the mean loss on samples."""

    def evaluate(graph: Graph) -> float:
        module = to_torch(graph)
        of_module = on_outputs(module.input_names, loss)
        with torch.no_grad():
            found = [(of_module(module, batch).item(), size_of(batch)) for batch in tensors(held, module)]
        losses, sizes = zip(*found, strict=True)
        return -float(np.average(losses, weights=sizes))

    return evaluate
