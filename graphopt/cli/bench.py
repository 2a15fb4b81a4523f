"""The command that measures a model on targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from graphopt.cli import tables
from graphopt.cli.common import (
    CalibrationOption,
    ConstantOption,
    DataOption,
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
    check_keys,
    choose_passes,
    load_model,
    load_outside,
    out,
    show_notes,
    working,
)

if TYPE_CHECKING:
    from graphopt.ir import Array, Graph
    from graphopt.runtime import Program, Run

FLOAT32_BOUND = 1e-4
"""Of max|y|: what the order of sums may make of a float output."""


@app.command()
def bench(
    model: ModelArgument,
    target: Annotated[list[str], typer.Option("-t", "--target", help="may be given several times")],
    passes: PassesOption = None,
    load: LoadOption = None,
    shape: ShapeOption = None,
    constant: ConstantOption = None,
    quantize: QuantizeOption = None,
    calibration: CalibrationOption = None,
    key: KeyOption = None,
    scale: ScaleOption = None,
    layout: LayoutOption = None,
    data: DataOption = None,
    labels: LabelsOption = None,
) -> None:
    """Run a model once on each target: instructions (under QEMU) or milliseconds, bytes, and whether it is right.

    On the first calibration sample, or else on random input. Integers must equal the reference evaluator's, floats be
    within 1e-4 of max|y|. With --data also the accuracy before and after the passes.
    """
    from graphopt.cli.evaluate import show_accuracy
    from graphopt.cli.samples import Preparation, read_samples
    from graphopt.ir import bind_batch
    from graphopt.passes import Context, Pipeline
    from graphopt.passes.contract import random_inputs
    from graphopt.passes.data import batches
    from graphopt.targets import compile

    load_outside(load)
    chosen = choose_passes(passes, quantize)
    check_keys(calibration or data, key)
    graph = load_model(model, shape, constant)
    prepare = Preparation.of(scale, layout)
    context = Context(calibration=read_samples(calibration, graph, key, prepare=prepare))
    with working("running passes"):
        result = Pipeline(chosen)(graph, context)
        small = bind_batch(result, 1)
    inputs = random_inputs(small, seed=0)
    if context.calibration is not None:
        first = next(batches(context.calibration, graph))
        inputs = {name: data[:1] if graph.is_symbolic else data for name, data in first.items()}
    rows = []
    for name in target:
        with working(f"compiling for {name}, running"):
            program = compile(small, name)
            run = program.measure(inputs)
        rows.append((name, program, run, agrees(program, small, inputs, run)))
    show_notes(context.notes, explain=False)
    out.print(tables.bench_table(model.name, rows))
    show_accuracy(graph, result, data, labels, key, prepare)
    if not all(equal for *_, equal in rows):
        raise typer.Exit(1)


def agrees(program: Program, graph: Graph, inputs: Mapping[str, Array], run: Run) -> bool:
    """Whether every output is the evaluator's: quantized ones to the bit."""
    from graphopt.ir import worst_difference

    given = program.dequantize(*run.outputs[0])
    outputs = given if isinstance(given, tuple) else (given,)
    bounds = [0.0 if "scale" in port else FLOAT32_BOUND for port in program.manifest["outputs"]]
    wanted = graph(**inputs)
    return all(worst_difference(got, want) <= b for got, want, b in zip(outputs, wanted, bounds, strict=True))
