"""The command that lets clients learn together by a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphopt.cli.common import JsonOption, LoadOption, load_outside
from graphopt.cli.console import print_json, show, table, warn, working

if TYPE_CHECKING:
    from rich.table import Table

    from graphopt.federated import Round


@dataclass(frozen=True)
class FederatedReport:
    """The rounds of a run, the one that was kept, and where the results are."""

    output: str | None
    firmware: str | None
    kept: int
    up: int
    down: int
    rounds: tuple[Round, ...]


def federate(
    recipe: Annotated[Path, typer.Argument(help="a TOML file: the model, the clients, and how they learn")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="a .gopt or .onnx file for the model; else the recipe's")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="local or flower; else the recipe's")] = None,
    load: LoadOption = None,
    json: JsonOption = False,
) -> None:
    """Let clients learn together by a recipe, and compile the result; an interrupted run goes on where it was.

    The functions that a recipe names are run: only ever use one that you trust.
    """
    from graphopt.federated.driver import run_by
    from graphopt.federated.recipe import plan_of_recipe, read_federated, saved

    load_outside(load)
    told = read_federated(recipe)
    with working("federated"):
        made = run_by(engine or told.engine, plan_of_recipe(told))
    places = saved(told, made, output)
    history = made.history
    for number, dropped in history.dropped:
        warn(f"round {number}: {dropped.client} was dropped: {dropped.why}")
    model, firmware = (None if place is None else str(place) for place in places)
    report = FederatedReport(model, firmware, history.best, history.up, history.down, history.rounds)
    if json:
        print_json("federate", report)
    else:
        show(rounds_table(report))


def rounds_table(report: FederatedReport) -> Table:
    """A row for each round; the one whose weights were kept is bold."""
    places = [place for place in (report.output, report.firmware) if place is not None]
    columns = ["round>", "metric>", "clients>", "bytes up>", "bytes down>", "seconds>"]
    private = any(r.epsilon is not None for r in report.rounds)
    made = table(*columns, *["epsilon>"] * private, title=f"learned, in {' and '.join(places)}" if places else None)
    for r in report.rounds:
        metric = "" if r.metric is None else f"{r.metric:.4g}"
        clients = f"{r.clients - len(r.dropped)} of {r.clients}" if r.clients else ""
        costs = (f"{r.up:,}", f"{r.down:,}", f"{r.seconds:.1f}") if r.clients else ("", "", "")
        spent = ["" if r.epsilon is None else f"{r.epsilon:.3g}"] * private
        made.add_row(str(r.number), metric, clients, *costs, *spent, style="bold" if r.number == report.kept else None)
    made.add_section()
    made.add_row("all", "", "", f"{report.up:,}", f"{report.down:,}", f"{sum(r.seconds for r in report.rounds):.1f}")
    return made
