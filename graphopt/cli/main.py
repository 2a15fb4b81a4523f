"""The commands of ``graphopt``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.syntax import Syntax

from graphopt.cli import tables
from graphopt.errors import GraphoptError, InvalidInput

if TYPE_CHECKING:
    from graphopt.ir import Array, Graph
    from graphopt.passes import Pass

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
out = Console()
err = Console(stderr=True)

ModelArgument = Annotated[Path, typer.Argument(help="an ONNX model")]
PassesOption = Annotated[
    str | None, typer.Option("-p", "--passes", help="pass-a,pass-b{option=1}; by default the usual pipeline")
]
LoadOption = Annotated[list[Path] | None, typer.Option("--load", help="a Python file that defines passes")]
BatchOption = Annotated[int, typer.Option(help="the batch size")]


@app.callback()
def common(debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False) -> None:
    """Take a trained network to small, fast, proven code for x86, ARM and microcontrollers."""


@contextmanager
def working(text: str) -> Iterator[None]:
    """A spinner while something takes long."""
    with err.status(text):
        yield


def load_model(path: Path) -> Graph:
    from graphopt.frontends import load

    with working(f"loading {path.name}"):
        return load(path)


def choose_passes(text: str | None, files: list[Path] | None) -> list[Pass]:
    """The passes named on the command line, with those of the user's files known."""
    from graphopt.passes import default_pipeline, parse_passes
    from graphopt.passes.plugins import load_entry_points, load_file

    load_entry_points()
    for file in files or []:
        load_file(file)
    return default_pipeline() if text is None else parse_passes(text)


@app.command("compile")
def compile_command(
    model: ModelArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="the folder to write")],
    target: Annotated[
        str, typer.Option("-t", "--target", help="a name of `graphopt targets`, or a .toml file")
    ] = "host",
    passes: PassesOption = None,
    load: LoadOption = None,
    name: Annotated[str, typer.Option(help="the C prefix and the stem of the files")] = "model",
    batch: BatchOption = 1,
    check: Annotated[bool, typer.Option("--check", help="hold every pass to its contract")] = False,
) -> None:
    """Compile a model: a shared library for Linux, a C project for a microcontroller."""
    chosen = choose_passes(passes, load)
    graph = load_model(model)
    with working(f"compiling for {target}"):
        from graphopt.passes import Pipeline
        from graphopt.targets import compile

        program = compile(Pipeline(chosen, check=check)(graph), target, name=name, batch=batch)
        program.save(output)
    out.print(tables.program_table(program, str(output)))


@app.command()
def opt(
    model: ModelArgument,
    passes: PassesOption = None,
    load: LoadOption = None,
    print_after_all: Annotated[
        bool, typer.Option("--print-after-all", help="print the graph after every pass")
    ] = False,
    diff: Annotated[bool, typer.Option("--diff", help="print what each pass changed")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="say what was rewritten and what was not, and why")
    ] = False,
    time: Annotated[bool, typer.Option("--time", help="print how long each pass took")] = False,
    check: Annotated[bool, typer.Option("--check", help="hold every pass to its contract")] = False,
) -> None:
    """Run passes over a model and print the graph."""
    from graphopt.passes import Context, Pipeline, Step
    from graphopt.report import graph_diff

    chosen = choose_passes(passes, load)
    graph = load_model(model)
    steps: list[Step] = []

    def show(step: Step) -> None:
        steps.append(step)
        if print_after_all or diff:
            out.rule(f"after {step.pass_.name}")
        if print_after_all:
            out.print(str(step.after), markup=False, highlight=False, soft_wrap=True)
        if diff:
            changes = graph_diff(step.before, step.after)
            out.print(Syntax(changes, "diff", background_color="default", word_wrap=True) if changes else "no change")

    context = Context()
    result = Pipeline(chosen, check=check)(graph, context, show)
    if explain:
        out.print(tables.notes_table(context.notes))
    if time:
        out.print(tables.steps_table(steps))
    if not (print_after_all or diff or explain or time):
        out.print(str(result), markup=False, highlight=False, soft_wrap=True)


@app.command()
def run(
    artifact: Annotated[Path, typer.Argument(help="a folder that `graphopt compile` wrote")],
    inputs: Annotated[list[str], typer.Option("--input", help="x.npy, name=x.npy, or an .npz with all inputs")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="an .npz file for the outputs")] = None,
) -> None:
    """Run a compiled model, here or on the emulator of its target."""

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
    import zipfile

    import numpy as np

    with zipfile.ZipFile(path, "w") as archive:
        for name, data in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, data, allow_pickle=False)


def read_inputs(texts: list[str], names: list[str]) -> dict[str, Array]:
    """The arrays that --input options name; never anything pickled."""
    import zipfile

    import numpy as np

    given: dict[str, Array] = {}
    for position, text in enumerate(texts):
        key, found, path = text.partition("=")
        if not found:
            key, path = (names[position] if position < len(names) else ""), text
        try:
            data = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InvalidInput("cannot be read as .npy or .npz", where=path, why=str(error)) from error
        given.update({key: data} if isinstance(data, np.ndarray) else dict(data))
    return given


@app.command()
def inspect(model: ModelArgument, batch: BatchOption = 1) -> None:
    """Show what a model is made of, and what it costs."""
    graph = load_model(model)
    out.print(tables.ports_table(graph))
    out.print(tables.operators_table(graph, batch))
    out.print(tables.cost_table(graph, batch))


@app.command()
def targets() -> None:
    """List the targets."""
    from graphopt.targets.target import builtin_targets, host_name

    out.print(tables.targets_table(list(builtin_targets().values()), host_name()))


@app.command()
def passes(load: LoadOption = None) -> None:
    """List the passes, with their options and contracts."""
    choose_passes(None, load)
    from graphopt.passes import PASSES

    out.print(tables.passes_table(PASSES))


@app.command()
def doctor() -> None:
    """Check that compilers and emulators are there; say how to install what is not."""
    from graphopt.targets.target import builtin_targets

    table, missing = tables.doctor_table(list(builtin_targets().values()))
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
        err.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)
