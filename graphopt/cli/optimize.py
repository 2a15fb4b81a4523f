"""The command that runs passes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphopt.cli import debugging, tables
from graphopt.cli.common import (
    CalibrationOption,
    ConstantOption,
    DataOption,
    ExplainOption,
    KeyOption,
    LabelsOption,
    LayoutOption,
    LoadOption,
    ModelArgument,
    PassesOption,
    ScaleOption,
    ShapeOption,
    check_calibration,
    choose_passes,
    load_model,
    load_outside,
    show_notes,
)
from graphopt.cli.console import err, heading, out, print_diff, print_text, show


def opt(
    model: ModelArgument,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="a .gopt or .onnx file for the result")] = None,
    passes: PassesOption = None,
    load: LoadOption = None,
    shape: ShapeOption = None,
    constant: ConstantOption = None,
    calibration: CalibrationOption = None,
    key: KeyOption = None,
    scale: ScaleOption = None,
    layout: LayoutOption = None,
    data: DataOption = None,
    labels: LabelsOption = None,
    print_after_all: Annotated[
        bool, typer.Option("--print-after-all", help="print the graph after every pass")
    ] = False,
    diff: Annotated[bool, typer.Option("--diff", help="print what each pass changed")] = False,
    explain: ExplainOption = False,
    time: Annotated[bool, typer.Option("--time", help="print how long each pass took")] = False,
    check: Annotated[bool, typer.Option("--check", help="hold every pass to its contract")] = False,
    bisect: Annotated[
        bool, typer.Option("--bisect", help="find the first pass, rule and node that break the model")
    ] = False,
) -> None:
    """Run passes over a model; print the graph, or write it."""
    from graphopt.cli.evaluate import measure_accuracy, show_accuracy
    from graphopt.cli.samples import Preparation, read_samples
    from graphopt.exporters import save
    from graphopt.passes import Context, Pipeline, Step
    from graphopt.report import graph_diff

    load_outside(load)
    chosen = choose_passes(passes)
    check_calibration(chosen, None, calibration, key if data is None else None)
    graph = load_model(model, shape, constant)
    if bisect:
        debugging.show_culprit(graph, chosen)
        return
    steps: list[Step] = []

    def follow(step: Step) -> None:
        steps.append(step)
        if print_after_all or diff:
            heading(f"after {step.pass_.name}")
        if print_after_all:
            print_text(str(step.after))
        if diff:
            print_diff(graph_diff(step.before, step.after))

    prepare = Preparation.of(scale, layout)
    context = Context(calibration=read_samples(calibration, graph, key, prepare=prepare))
    result = Pipeline(chosen, check=check)(graph, context, follow)
    if output is not None:
        save(result, output)
    show_notes(context.notes, explain, out if explain else err)
    if time:
        show(tables.steps_table(steps))
    show_accuracy(measure_accuracy(graph, result, data, labels, key, prepare))
    if not (print_after_all or diff or explain or time or output or data):
        print_text(str(result))
