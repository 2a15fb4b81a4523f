"""The command that compiles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphopt.cli import tables
from graphopt.cli.common import (
    ActivationsOption,
    BatchOption,
    CalibrationOption,
    ConstantOption,
    DataOption,
    ExplainOption,
    JsonOption,
    KeyOption,
    LabelsOption,
    LayoutOption,
    LoadOption,
    ModelArgument,
    ObserverOption,
    OverrideOption,
    PassesOption,
    PerTensorOption,
    QuantizeOption,
    QuantizeOptions,
    ScaleOption,
    ShapeOption,
    check_calibration,
    choose_passes,
    load_model,
    load_outside,
    show_alarms,
    show_notes,
)
from graphopt.cli.console import print_json, show, warn, working

if TYPE_CHECKING:
    from graphopt.evaluation import Evaluation
    from graphopt.passes import Note
    from graphopt.report import ProgramReport
    from graphopt.runtime import Saved


@dataclass(frozen=True)
class Compiled:
    """What was compiled, the folder that it is in, how good it is where data was given, and what the passes say."""

    program: ProgramReport
    folder: str
    kept: tuple[str, ...]
    accuracy: Evaluation | None
    notes: tuple[Note, ...]


def compile_command(
    model: ModelArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="the folder to write")],
    target: Annotated[
        str, typer.Option("-t", "--target", help="a name of `graphopt targets`, board.toml, or boards.toml:name")
    ] = "host",
    passes: PassesOption = None,
    quantize: QuantizeOption = None,
    calibration: CalibrationOption = None,
    key: KeyOption = None,
    scale: ScaleOption = None,
    layout: LayoutOption = None,
    activations: ActivationsOption = None,
    observer: ObserverOption = None,
    per_tensor: PerTensorOption = False,
    override: OverrideOption = None,
    data: DataOption = None,
    labels: LabelsOption = None,
    io: Annotated[str, typer.Option("--io", help="what a quantized program takes: native or float32")] = "native",
    port: Annotated[
        list[str] | None,
        typer.Option(
            "--port",
            metavar="NAME=WHAT",
            help="a port as the caller has it: image=nhwc:uint8:1/255, perhaps with :mean=..., :std=..., :push_rows",
        ),
    ] = None,
    nhwc: Annotated[
        list[str] | None, typer.Option("--nhwc", metavar="PORT", help="an input or output with its channels last")
    ] = None,
    io_in_arena: Annotated[
        bool, typer.Option("--io-in-arena", help="inputs and outputs are places in the workspace")
    ] = False,
    ram: Annotated[
        int | None, typer.Option("--ram", metavar="BYTES", help="a budget for the workspace, in place of the target's")
    ] = None,
    optimize: Annotated[
        str | None, typer.Option("--optimize", help="size, balanced, or speed: for which kernels are chosen")
    ] = None,
    name: Annotated[str, typer.Option(help="the C prefix and the stem of the files")] = "model",
    batch: BatchOption = 1,
    load: LoadOption = None,
    shape: ShapeOption = None,
    constant: ConstantOption = None,
    check: Annotated[bool, typer.Option("--check", help="hold every pass to its contract")] = False,
    layers: Annotated[bool, typer.Option("--layers", help="a table of all kernels")] = False,
    explain: ExplainOption = False,
    json: JsonOption = False,
) -> None:
    """Compile a model: a shared library for Linux, a C project for a microcontroller."""
    from graphopt.cli.evaluate import measure_accuracy, show_accuracy
    from graphopt.cli.ports import read_ports
    from graphopt.cli.samples import Preparation, read_samples
    from graphopt.passes import Context, Pipeline
    from graphopt.report import describe_program
    from graphopt.targets import compile

    load_outside(load)
    quantization = QuantizeOptions(quantize, activations, observer, per_tensor, override or [])
    chosen = choose_passes(passes, quantization)
    check_calibration(chosen, quantization, calibration, key if data is None else None)
    graph = load_model(model, shape, constant)
    prepare = Preparation.of(scale, layout)
    context = Context(calibration=read_samples(calibration, graph, key, prepare=prepare))
    with working(f"compiling for {target}"):
        small = Pipeline(chosen, check=check)(graph, context)
        program = compile(
            small,
            target,
            name=name,
            batch=batch,
            io=io,
            ports=read_ports(port or []),
            layout=dict.fromkeys(nhwc or [], "nhwc"),
            io_in_arena=io_in_arena,
            ram=ram,
            optimize=optimize,
            stack=True,
        )
        saved = program.save(output)
        report = describe_program(program)
    accuracy = measure_accuracy(graph, small, data, labels, key, prepare)
    if json:
        show_alarms(context.notes)
        print_json("compile", Compiled(report, str(output), tuple(saved.kept), accuracy, tuple(context.notes)))
    else:
        show_notes(context.notes, explain)
        show(tables.program_table(report, str(output)))
        if layers:
            show(tables.kernels_table(report))
        if explain:
            show(tables.choices_table(report))
            if report.candidates:
                show(tables.candidates_table(report))
            if report.streams:
                show(tables.streams_table(report))
        show_accuracy(accuracy)
    if program.unlinked:
        compiler = program.manifest["toolchain"]["compiler"]
        warn(f"not linked: {compiler} is not installed; with it, or on the machine itself, `make` in {output} links it")
    show_saved(saved)


def show_saved(saved: Saved) -> None:
    """Say which files of the artifact are the user's, and not those of this program."""
    for name in saved.kept:
        warn(f"{name} was edited: it is kept as it is, and may not fit the new program")
    if saved.aside is not None:
        warn(f"{saved.folder} was changed while it was written: what was there is in {saved.aside}")
