"""The command that shows what a model or a compiled program is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from graphopt.cli import tables
from graphopt.cli.common import (
    BatchOption,
    ConstantOption,
    JsonOption,
    LoadOption,
    ShapeOption,
    load_model,
    load_outside,
)
from graphopt.cli.console import print_json, show, working


def inspect(
    model: Annotated[
        Path, typer.Argument(help="an ONNX or TFLite model, a .gopt file, or a folder that `compile` wrote")
    ],
    batch: BatchOption = 1,
    load: LoadOption = None,
    shape: ShapeOption = None,
    constant: ConstantOption = None,
    layers: Annotated[bool, typer.Option("--layers", help="a table of all layers, or kernels")] = False,
    json: JsonOption = False,
) -> None:
    """Show what a model or a compiled program is made of, what it costs, and where it needs the most memory."""
    load_outside(load)
    if model.is_dir():
        inspect_program(model, layers, json)
        return
    from graphopt.report import describe_model

    report = describe_model(load_model(model, shape, constant), batch)
    if json:
        print_json("inspect", report)
        return
    show(tables.ports_table(report), tables.operators_table(report))
    if layers:
        show(tables.layers_table(report))
    show(tables.cost_table(report))


def inspect_program(folder: Path, layers: bool, json: bool) -> None:
    from graphopt.report import describe_program
    from graphopt.runtime import Program

    program = Program.load(folder)
    with working("compiling, to know the size of the code"):
        report = describe_program(program)
    if json:
        print_json("inspect", report)
        return
    show(tables.program_table(report, str(folder)))
    if layers:
        show(tables.kernels_table(report))
