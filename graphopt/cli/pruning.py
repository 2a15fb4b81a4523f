"""The command that prunes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphopt.cli import tables
from graphopt.cli.common import ExplainOption, ModelArgument, app, load_model, out, show_notes, working
from graphopt.errors import InvalidInput


@app.command()
def prune(
    model: ModelArgument,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="a .gopt or .onnx file for the result")] = None,
    ratio: Annotated[float, typer.Option(help="the part of the channels that may go which goes")] = 0.5,
    importance: Annotated[
        str, typer.Option(help="magnitude, geometric-median, batch-norm-scale or random")
    ] = "magnitude",
    scope: Annotated[str, typer.Option(help="global, local or isomorphic")] = "global",
    round_to: Annotated[int, typer.Option(help="leave multiples of so many channels")] = 1,
    keep: Annotated[list[str] | None, typer.Option(help="a pattern of layers that keep their channels")] = None,
    min_channels: Annotated[int, typer.Option(help="leave at least so many channels")] = 1,
    steps: Annotated[int, typer.Option(help="go there in so many steps")] = 1,
    target_macs: Annotated[
        float | None, typer.Option(help="instead of a ratio: MACs, or up to 1 the part of them, to be left")
    ] = None,
    target_bytes: Annotated[
        str | None, typer.Option(help="the same of the bytes of weights: 0.5, 65536 or 64K")
    ] = None,
    dead: Annotated[bool, typer.Option("--dead", help="remove only what makes no difference")] = False,
    explain: ExplainOption = False,
    check: Annotated[bool, typer.Option("--check", help="hold the result to its contract")] = False,
) -> None:
    """Remove channels, heads and hidden units for good, with all that is coupled with them."""
    from graphopt.exporters import save
    from graphopt.passes import Context, Pipeline, PruneChannels, RemoveDeadChannels

    graph = load_model(model)
    chosen: PruneChannels | RemoveDeadChannels = RemoveDeadChannels()
    if not dead:
        chosen = PruneChannels(
            ratio=ratio,
            importance=importance,
            scope=scope,
            round_to=round_to,
            keep=keep or [],
            min_channels=min_channels,
            steps=steps,
            target_macs=target_macs,
            target_bytes=part_or_bytes(target_bytes),
        )
    context = Context()
    with working("pruning"):
        small = Pipeline([chosen], check=check)(graph, context)
    show_notes(context.notes, explain)
    if output is not None:
        save(small, output)
    out.print(tables.costs_table({"before": graph, "after": small}))


def part_or_bytes(text: str | None) -> float | None:
    """A part of at most 1, or a size in bytes; raises ``InvalidInput`` for what is neither."""
    from graphopt.runtime.machine import bytes_of

    if text is None:
        return None
    try:
        return float(text) if text.replace(".", "", 1).isdigit() else bytes_of(text)
    except ValueError as error:
        raise InvalidInput(str(error), where="--target-bytes") from error
