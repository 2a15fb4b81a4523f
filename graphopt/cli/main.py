"""The commands of ``graphopt``, in the order in which its help lists them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.markup import escape

from graphopt.cli import (
    bench,
    catalog,
    compiling,
    debugging,
    evaluate,
    federated,
    inspecting,
    optimize,
    pruning,
    quantize,
    running,
    training,
)
from graphopt.cli.console import err
from graphopt.errors import GraphoptError, indented

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if sys.stdout.isatty() else None,  # no boxes in a pipe
)


@dataclass(frozen=True)
class Command:
    """A command, the heading of the help that it stands under, and a line that shows how it is used."""

    name: str
    function: Callable[..., None]
    heading: str
    example: str


COMPILE, COMPRESS, REWRITE, LOOK = "Compile and run", "Compress", "Rewrite and debug", "Look up"
COMMANDS = (
    Command(
        "compile",
        compiling.compile_command,
        COMPILE,
        "graphopt compile kws.onnx -t cortex-m4 --quantize int8 --calibration samples.npz -o firmware",
    ),
    Command("run", running.run, COMPILE, "graphopt run firmware --input x.npy -o y.npz"),
    Command("bench", bench.bench, COMPILE, "graphopt bench kws.onnx -t host -t cortex-m4"),
    Command(
        "evaluate",
        evaluate.evaluate,
        COMPILE,
        "graphopt evaluate firmware --data test.npz --labels y --against kws.onnx --samples 100",
    ),
    Command("inspect", inspecting.inspect, COMPILE, "graphopt inspect firmware --layers"),
    Command(
        "prune", pruning.prune, COMPRESS, "graphopt prune kws.onnx --target-macs 0.5 --data samples.npz -o small.gopt"
    ),
    Command("train", training.train, COMPRESS, "graphopt train recipe.toml -o trained.onnx"),
    Command("federate", federated.federate, COMPRESS, "graphopt federate recipe.toml -o learned.gopt"),
    Command("analyze", quantize.analyze, COMPRESS, "graphopt analyze kws.onnx --data samples.npz"),
    Command("opt", optimize.opt, REWRITE, "graphopt opt kws.onnx -p fold-batch-norm,fuse --diff -o small.gopt"),
    Command("diff", debugging.diff, REWRITE, "graphopt diff kws.onnx small.gopt"),
    Command("reduce", debugging.reduce, REWRITE, "graphopt reduce kws.onnx -p my-pass --load my_pass.py"),
    Command("targets", catalog.targets, LOOK, "graphopt targets"),
    Command("passes", catalog.passes, LOOK, "graphopt passes --load my_pass.py"),
    Command("doctor", catalog.doctor, LOOK, "graphopt doctor"),
)

for command in COMMANDS:
    app.command(command.name, rich_help_panel=command.heading, epilog=f"Example: {command.example}")(command.function)


def show_version(wanted: bool) -> None:
    if wanted:
        import graphopt

        typer.echo(f"graphopt {graphopt.__version__}")
        raise typer.Exit


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="print the version", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """Take a trained network to small, fast, proven code for x86, ARM and microcontrollers."""


def main() -> None:
    """The entry point: errors of graphopt end in one clear message and exit code 2."""
    try:
        app()
    except (GraphoptError, OSError) as error:
        if "--debug" in sys.argv:
            raise
        err.print(f"[bold red]error:[/] {escape(indented(str(error)))}", highlight=False, soft_wrap=True)
        sys.exit(2)
