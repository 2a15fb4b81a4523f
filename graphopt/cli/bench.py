"""The command that measures a model on targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from graphopt.cli import tables
from graphopt.cli.common import (
    ActivationsOption,
    CalibrationOption,
    ConstantOption,
    DataOption,
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
    check_keys,
    choose_passes,
    load_model,
    load_outside,
    show_alarms,
    show_notes,
)
from graphopt.cli.console import print_json, show, working
from graphopt.cli.tables_profile import profile_tables

if TYPE_CHECKING:
    from graphopt.evaluation import Evaluation
    from graphopt.ir import Array, Graph
    from graphopt.passes import Note
    from graphopt.report import BenchRow
    from graphopt.runtime import Program, Run

FLOAT32_BOUND = 1e-4
"""Of max|y|: what the order of sums may make of a float output."""


@dataclass(frozen=True)
class Bench:
    """A model, what one run of it took on each target, how good it is, and what the passes have to say."""

    model: str
    targets: tuple[BenchRow, ...]
    accuracy: Evaluation | None
    notes: tuple[Note, ...]


def bench(
    model: ModelArgument,
    target: Annotated[list[str], typer.Option("-t", "--target", help="may be given several times")],
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
    load: LoadOption = None,
    shape: ShapeOption = None,
    constant: ConstantOption = None,
    layers: Annotated[bool, typer.Option("--layers", help="what each kernel costs on emulated boards")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="the time of each kernel on this machine")] = False,
    json: JsonOption = False,
) -> None:
    """Run a model once on each target: instructions (under QEMU) or milliseconds, bytes, and whether it is right.

    On the first calibration sample, or else on random input. Integers must equal the reference evaluator's, floats be
    within 1e-4 of max|y|. With --data also the accuracy before and after the passes.

    --profile shows where the time goes on this machine: of each kernel the microseconds, the multiply-accumulates in a
    second and their share of a peak that is measured beside them, or else the bytes moved in a second.
    """
    from graphopt.cli.evaluate import measure_accuracy, show_accuracy
    from graphopt.cli.samples import Preparation, read_samples
    from graphopt.ir import bind_batch
    from graphopt.passes import Context, Pipeline
    from graphopt.passes.contract import random_inputs
    from graphopt.passes.data import batches
    from graphopt.report import BenchRow, kernel_costs, profile_program
    from graphopt.targets import compile

    load_outside(load)
    chosen = choose_passes(passes, QuantizeOptions(quantize, activations, observer, per_tensor, override or []))
    check_keys(calibration or data, key)
    if profile:
        check_native(target)
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
            program = compile(small, name, stack=True)
            run = program.measure(inputs)
            sizes = program.sizes
            times = profile_program(program, inputs, name) if profile else None
        equal = agrees(program, small, inputs, run)
        bytes_ = sizes.code, sizes.weights, sizes.workspace
        stack = program.manifest.get("stack_bytes")
        costs = kernel_costs(program, run) if layers else ()
        seconds = run.seconds if times is None else times.seconds
        rows.append(BenchRow(name, run.instructions, seconds, *bytes_, equal, stack, costs, times))
    accuracy = measure_accuracy(graph, result, data, labels, key, prepare)
    if json:
        show_alarms(context.notes)
        print_json("bench", Bench(model.name, tuple(rows), accuracy, tuple(context.notes)))
    else:
        show_notes(context.notes, explain=False)
        show(tables.bench_table(model.name, rows))
        for row in rows:
            if row.kernels:
                show(tables.kernel_costs_table(row))
            if row.profile:
                show(*profile_tables(row.profile))
        show_accuracy(accuracy)
    if not all(row.equal for row in rows):
        raise typer.Exit(1)


def check_native(targets: list[str]) -> None:
    """Raise ``InvalidInput`` for a target whose programs are emulated here."""
    from graphopt.runtime.profile import not_here
    from graphopt.targets import get_target

    for name in targets:
        runner = get_target(name).runner
        if runner.kind != "native":
            raise not_here(name, runner.kind)


def agrees(program: Program, graph: Graph, inputs: Mapping[str, Array], run: Run) -> bool:
    """Whether every output is the evaluator's: quantized ones to the bit."""
    from graphopt.ir import worst_difference

    given = program.dequantize(*run.outputs[0])
    outputs = given if isinstance(given, tuple) else (given,)
    bounds = [0.0 if "scale" in port else FLOAT32_BOUND for port in program.manifest["outputs"]]
    wanted = graph(**inputs)
    return all(worst_difference(got, want) <= b for got, want, b in zip(outputs, wanted, bounds, strict=True))
