"""The command that trains by a recipe."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphopt.cli.common import JsonOption, LoadOption, load_model, load_outside, show_alarms, show_notes
from graphopt.cli.console import alarm, print_json, show, table, working

if TYPE_CHECKING:
    from rich.table import Table

    from graphopt.ir import Graph
    from graphopt.passes import Note
    from graphopt.report import Cost
    from graphopt.training import Epoch, History


@dataclass(frozen=True)
class TrainedStep:
    """A step of a recipe: the curve of its run, what the graph costs after it, and how long it took."""

    name: str
    curve: tuple[Epoch, ...]
    kept: int | None
    stopped: str | None
    cost: Cost
    zeros: float
    """The part of the constants that is zero."""
    seconds: float
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class TrainingReport:
    """The steps of a recipe, after what it began with, and where the result is."""

    output: str | None
    steps: tuple[TrainedStep, ...]


def train(
    recipe: Annotated[Path, typer.Argument(help="a TOML file: the model, the data, and the steps")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="a .gopt or .onnx file for the result; else the recipe's")
    ] = None,
    load: LoadOption = None,
    json: JsonOption = False,
) -> None:
    """Fine-tune, prune, distill and quantize by a recipe, step by step; an interrupted run goes on where it was.

    The functions that a recipe names are run: only ever use one that you trust.
    """
    from graphopt.cli.samples import read_samples
    from graphopt.exporters import save
    from graphopt.training.device import launch
    from graphopt.training.recipe import read_recipe, run_recipe

    load_outside(load)
    plan = read_recipe(recipe)
    fabric = None if plan.fabric is None else launch(plan.fabric)
    graph = load_model(plan.folder / plan.model)
    samples = None
    if plan.data.file is not None:
        samples = read_samples(plan.folder / plan.data.file, graph, [*plan.data.keys], plan.data.labels)
    made = [step_report("before", graph, None, 0.0, ())]
    with working("training"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what they say is in the history or the notes, and told below
        started = time.monotonic()
        for name, trained, notes in run_recipe(plan, graph, samples, fabric):
            graph = trained
            made.append(step_report(name, trained, trained.history, time.monotonic() - started, notes))
            started = time.monotonic()
    if fabric is not None and fabric.global_rank > 0:
        return  # the first process tells of it
    target = output or (None if plan.output is None else plan.folder / plan.output)
    if target is not None:
        save(graph, target)
    report = TrainingReport(None if target is None else str(target), tuple(made))
    for number, step in enumerate(report.steps):
        if step.stopped:
            alarm(f"step {number} ({step.name}) stopped: {step.stopped}. Its best state was kept; take smaller steps.")
    told = [note for step in report.steps for note in step.notes]
    if json:
        show_alarms(told)
        print_json("train", report)
    else:
        show(training_table(report))
        show_notes(told, explain=False)


def step_report(
    name: str, graph: Graph, history: History | None, seconds: float, notes: tuple[Note, ...]
) -> TrainedStep:
    from graphopt.report import cost_of

    arrays = list(graph.constants.values())
    zeros = sum(int((array == 0).sum()) for array in arrays) / max(sum(array.size for array in arrays), 1)
    curve, kept, stopped = (history.epochs, history.best, history.stopped) if history else ((), None, None)
    return TrainedStep(name, curve, kept, stopped, cost_of(graph), zeros, seconds, notes)


def training_table(report: TrainingReport) -> Table:
    """A row for each step: the epoch that was kept of it, and what the graph costs after it."""
    title = None if report.output is None else f"trained, in {report.output}"
    columns = "step", "epoch>", "loss>", "metric>", "zeros>", "MACs>", "bytes>", "seconds>"
    made = table(*columns, title=title)
    for step in report.steps:
        kept = None if step.kept is None else step.curve[step.kept]
        metric = "" if kept is None or kept.metric is None else f"{kept.metric:.4g}"
        of_epoch = ("", "") if kept is None else (f"{kept.number} of {len(step.curve) - 1}", f"{kept.loss:.4g}")
        costs = f"{step.zeros:.1%}", f"{step.cost.macs:,}", f"{step.cost.parameter_bytes:,}"
        made.add_row(step.name, *of_epoch, metric, *costs, f"{step.seconds:.1f}" if kept else "")
    return made
