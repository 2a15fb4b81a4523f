"""The command that prunes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphopt.cli import tables
from graphopt.cli.common import (
    ConstantOption,
    ExplainOption,
    JsonOption,
    KeyOption,
    LayoutOption,
    LoadOption,
    ModelArgument,
    ScaleOption,
    ShapeOption,
    check_keys,
    load_model,
    load_outside,
    show_alarms,
    show_notes,
)
from graphopt.cli.console import alarm, print_json, print_text, show, working
from graphopt.errors import GraphoptError, InvalidInput, printable

if TYPE_CHECKING:
    from graphopt.evaluation import Evaluation
    from graphopt.ir import Array, Graph
    from graphopt.passes import Note
    from graphopt.passes.prune import Importance, SignalLeft
    from graphopt.report import Cost


@dataclass(frozen=True)
class Pruned:
    """The costs of a graph before and after, what is left of its outputs, and its accuracy; None where not known."""

    before: Cost
    after: Cost
    left: SignalLeft | None
    accuracy: Evaluation | None
    notes: tuple[Note, ...]


BY_DATA = "activation", "taylor", "hessian"


def prune(
    model: ModelArgument,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="a .gopt or .onnx file for the result")] = None,
    ratio: Annotated[float | None, typer.Option(help="the part of the channels that may go which goes")] = None,
    target_macs: Annotated[
        float | None, typer.Option(help="instead of a ratio: MACs, or up to 1 the part of them, to be left")
    ] = None,
    target_bytes: Annotated[
        str | None, typer.Option(help="the same of the bytes of weights: 0.5, 65536 or 64K")
    ] = None,
    dead: Annotated[bool, typer.Option("--dead", help="remove only what makes no difference")] = False,
    data: Annotated[
        Path | None, typer.Option("--data", help="an .npz or .npy of samples as the model takes them")
    ] = None,
    key: KeyOption = None,
    scale: ScaleOption = None,
    layout: LayoutOption = None,
    labels: Annotated[
        str | None, typer.Option(help="the array of --data that has the right outputs; else the model's own are")
    ] = None,
    importance: Annotated[
        str,
        typer.Option(
            help="magnitude, geometric-median, batch-norm-scale or random; with --data activation, taylor or hessian"
        ),
    ] = "magnitude",
    scope: Annotated[str, typer.Option(help="global, local or isomorphic")] = "global",
    round_to: Annotated[int, typer.Option(help="leave multiples of so many channels")] = 1,
    keep: Annotated[list[str] | None, typer.Option(help="a pattern of layers that keep their channels")] = None,
    min_channels: Annotated[int, typer.Option(help="leave at least so many channels")] = 1,
    steps: Annotated[int, typer.Option(help="go there in so many steps")] = 1,
    load: LoadOption = None,
    shape: ShapeOption = None,
    constant: ConstantOption = None,
    explain: ExplainOption = False,
    check: Annotated[bool, typer.Option("--check", help="hold the result to its contract")] = False,
    json: JsonOption = False,
) -> None:
    """Remove channels, heads and hidden units for good, with all that is coupled with them."""
    from graphopt.cli.evaluate import show_accuracy
    from graphopt.cli.samples import Preparation, read_samples
    from graphopt.exporters import save
    from graphopt.passes import Context, Pipeline, PruneChannels, RemoveDeadChannels
    from graphopt.report import cost_of

    if dead and (ratio, target_macs, target_bytes) != (None, None, None):
        raise InvalidInput("a ratio or budget has no say in what is dead", where="--dead", advice="give one of them")
    load_outside(load)
    graph = load_model(model, shape, constant)
    check_keys(data, key, "--data")
    prepare = Preparation.of(scale, layout)
    samples = read_samples(data, graph, key, labels, prepare)
    chosen: PruneChannels | RemoveDeadChannels = RemoveDeadChannels()
    if not dead:
        chosen = PruneChannels(
            ratio=ratio,
            importance=criterion(importance, graph, samples, labels),
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
    left = signal_or_alarm(graph, small, samples)
    accuracy = accuracy_against(graph, small, samples, labels) if samples and labels else None
    if output is not None:
        save(small, output)
    report = Pruned(cost_of(graph), cost_of(small), left, accuracy, tuple(context.notes))
    if json:
        show_alarms(report.notes)
        print_json("prune", report)
    else:
        show_notes(report.notes, explain)
        show(tables.costs_table({"before": report.before, "after": report.after}))
        if left is not None:
            print_text(printable(f"{left.output}: {left}"))
        show_accuracy(accuracy)
    if left is not None and not left.enough:
        alarm(advice(left, importance))


def accuracy_against(graph: Graph, small: Graph, samples: Mapping[str, Array], labels: str) -> Evaluation:
    """The accuracy of the pruned graph, beside that of the graph."""
    from graphopt.evaluation import evaluate

    with working("evaluating before and after"):
        return evaluate(small, samples, labels, against=graph)


def criterion(name: str, graph: Graph, samples: Mapping[str, Array] | None, labels: str | None) -> str | Importance:
    """A criterion by its name; those that measure on data are made with it."""
    if name not in BY_DATA:
        return name
    if samples is None:
        raise InvalidInput("it needs samples", where=f"--importance {name}", advice="give --data samples.npz")
    if name == "activation":
        from graphopt.passes.prune import Activation

        return Activation(samples)
    from graphopt.training import Hessian, Taylor, labelled, own_outputs

    task = own_outputs(graph, samples) if labels is None else labelled(graph, samples, labels)
    return (Taylor if name == "taylor" else Hessian)(*task)


def signal_or_alarm(graph: Graph, small: Graph, samples: Mapping[str, Array] | None) -> SignalLeft | None:
    """How much the outputs have in common; None, and an alarm, where random inputs cannot tell."""
    from graphopt.passes.prune import signal_left

    try:
        with working("comparing the outputs"):
            return signal_left(graph, small, samples)
    except GraphoptError as error:
        if samples is not None:
            raise
        alarm(f"what is left of the outputs is not known, for random inputs do not do ({error}). Give --data.")
        return None


def advice(left: SignalLeft, importance: str) -> str:
    """What can be done where little is left."""
    steps = ["fine-tune it before use", "remove less"]
    if importance not in BY_DATA:
        steps.append("choose by data (--data samples.npz --importance hessian)")
    text = f"little is left of the output, {left.decibels:.1f} dB: as it is, the model may be of no use."
    text += f" You can {', or '.join(steps)}."
    return text if left.on_data else f"{text} Random inputs say little about a trained model: give --data to know."


def part_or_bytes(text: str | None) -> float | None:
    """A part of at most 1, or a size in bytes; raises ``InvalidInput`` for what is neither."""
    from graphopt.runtime.machine import bytes_of

    if text is None:
        return None
    try:
        return float(text) if text.replace(".", "", 1).isdigit() else bytes_of(text)
    except ValueError as error:
        raise InvalidInput(str(error), where="--target-bytes") from error
