"""The commands of ``graphopt``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from graphopt.cli import debugging, tables
from graphopt.cli.common import (
    BatchOption,
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
    QuantizeOption,
    ScaleOption,
    ShapeOption,
    app,
    check_calibration,
    choose_passes,
    err,
    load_model,
    load_outside,
    out,
    print_diff,
    print_text,
    show_notes,
    warn,
    working,
)
from graphopt.errors import GraphoptError, indented

if TYPE_CHECKING:
    from graphopt.ir import Array
    from graphopt.runtime import Saved


@app.callback()
def common(debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False) -> None:
    """Take a trained network to small, fast, proven code for x86, ARM and microcontrollers."""


@app.command("compile")
def compile_command(
    model: ModelArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="the folder to write")],
    target: Annotated[
        str, typer.Option("-t", "--target", help="a name of `graphopt targets`, board.toml, or boards.toml:name")
    ] = "host",
    passes: PassesOption = None,
    load: LoadOption = None,
    name: Annotated[str, typer.Option(help="the C prefix and the stem of the files")] = "model",
    batch: BatchOption = 1,
    shape: ShapeOption = None,
    constant: ConstantOption = None,
    quantize: QuantizeOption = None,
    calibration: CalibrationOption = None,
    key: KeyOption = None,
    scale: ScaleOption = None,
    layout: LayoutOption = None,
    data: DataOption = None,
    labels: LabelsOption = None,
    io: Annotated[str, typer.Option("--io", help="what a quantized program takes: native or float32")] = "native",
    check: Annotated[bool, typer.Option("--check", help="hold every pass to its contract")] = False,
    explain: ExplainOption = False,
) -> None:
    """Compile a model: a shared library for Linux, a C project for a microcontroller."""
    from graphopt.cli.evaluate import show_accuracy
    from graphopt.cli.samples import Preparation, read_samples
    from graphopt.passes import Context, Pipeline
    from graphopt.targets import compile

    load_outside(load)
    chosen = choose_passes(passes, quantize)
    check_calibration(chosen, quantize, calibration, key if data is None else None)
    graph = load_model(model, shape, constant)
    prepare = Preparation.of(scale, layout)
    context = Context(calibration=read_samples(calibration, graph, key, prepare=prepare))
    with working(f"compiling for {target}"):
        small = Pipeline(chosen, check=check)(graph, context)
        program = compile(small, target, name=name, batch=batch, io=io)
        saved = program.save(output)
    show_notes(context.notes, explain)
    out.print(tables.program_table(program, str(output)))
    show_saved(saved)
    show_accuracy(graph, small, data, labels, key, prepare)


def show_saved(saved: Saved) -> None:
    """Say which files of the artifact are the user's, and not those of this program."""
    for name in saved.kept:
        warn(f"{name} was edited: it is kept as it is, and may not fit the new program")
    if saved.aside is not None:
        warn(f"{saved.folder} was changed while it was written: what was there is in {saved.aside}")


@app.command()
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
    from graphopt.cli.evaluate import show_accuracy
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

    def show(step: Step) -> None:
        steps.append(step)
        if print_after_all or diff:
            out.rule(f"after {step.pass_.name}")
        if print_after_all:
            print_text(str(step.after))
        if diff:
            print_diff(graph_diff(step.before, step.after))

    prepare = Preparation.of(scale, layout)
    context = Context(calibration=read_samples(calibration, graph, key, prepare=prepare))
    result = Pipeline(chosen, check=check)(graph, context, show)
    if output is not None:
        save(result, output)
    show_notes(context.notes, explain, out if explain else err)
    if time:
        out.print(tables.steps_table(steps))
    show_accuracy(graph, result, data, labels, key, prepare)
    if not (print_after_all or diff or explain or time or output or data):
        print_text(str(result))


@app.command()
def run(
    artifact: Annotated[Path, typer.Argument(help="a folder that `graphopt compile` wrote")],
    inputs: Annotated[list[str], typer.Option("--input", help="x.npy, name=x.npy, or an .npz with all inputs")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="an .npz file for the outputs")] = None,
) -> None:
    """Run a compiled model, here or on the emulator of its target."""
    from graphopt.cli.samples import read_inputs
    from graphopt.runtime import Program
    from graphopt.runtime.program import join

    program = Program.load(artifact)
    given = read_inputs(inputs, [p["name"] for p in program.manifest["inputs"]])
    with working(f"running on {program.manifest['target']}"):
        result = program.measure(given)
    arrays = dict(zip((p["name"] for p in program.manifest["outputs"]), join(result.outputs), strict=True))
    if output is not None:
        write_npz(output, arrays)
    out.print(tables.outputs_table(arrays, result))


def write_npz(path: Path, arrays: dict[str, Array]) -> None:
    """An .npz file of arrays of any names; ``numpy.savez`` has some that it cannot take."""
    import io
    import zipfile

    import numpy as np

    from graphopt.files import write_atomically

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, data, allow_pickle=False)
    write_atomically(path, packed.getvalue())


@app.command()
def inspect(
    model: ModelArgument,
    batch: BatchOption = 1,
    load: LoadOption = None,
    shape: ShapeOption = None,
    constant: ConstantOption = None,
    layers: Annotated[bool, typer.Option("--layers", help="a table of all layers")] = False,
) -> None:
    """Show what a model is made of, what it costs, and where it needs the most memory."""
    load_outside(load)
    graph = load_model(model, shape, constant)
    out.print(tables.ports_table(graph))
    out.print(tables.operators_table(graph, batch))
    if layers:
        out.print(tables.layers_table(graph, batch))
    out.print(tables.cost_table(graph, batch))


@app.command()
def targets() -> None:
    """List the targets."""
    from graphopt.targets.target import host_name, known_targets

    load_outside()
    out.print(tables.targets_table(list(known_targets().values()), host_name()))


@app.command()
def passes(load: LoadOption = None) -> None:
    """List the passes, with their options and contracts."""
    from graphopt.passes import PASSES

    load_outside(load)
    out.print(tables.passes_table(PASSES))


@app.command()
def doctor() -> None:
    """Check that compilers and emulators are there; say how to install what is not."""
    from graphopt.targets import known_targets

    load_outside()
    table, missing = tables.doctor_table(list(known_targets().values()))
    out.print(table)
    if missing:
        out.print(f"to install what is missing:\n  sudo apt-get install -y {' '.join(missing)}")
        raise typer.Exit(1)


def main() -> None:
    """The entry point: errors of graphopt end in one clear message and exit code 2."""
    try:
        app()
    except (GraphoptError, OSError) as error:
        if "--debug" in sys.argv:
            raise
        err.print(f"[bold red]error:[/] {escape(indented(str(error)))}", highlight=False, soft_wrap=True)
        sys.exit(2)
