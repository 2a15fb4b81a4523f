"""The command that evaluates, and what other commands say of accuracy before and after."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphopt.cli import tables_evaluation as tables
from graphopt.cli.common import (
    ConstantOption,
    JsonOption,
    KeyOption,
    LabelsOption,
    LayoutOption,
    LoadOption,
    ScaleOption,
    ShapeOption,
    load_model,
    load_outside,
)
from graphopt.cli.console import print_json, show, warn, working
from graphopt.errors import InvalidInput

if TYPE_CHECKING:
    from graphopt.cli.samples import Preparation
    from graphopt.evaluation import Evaluation, Metric
    from graphopt.ir import Array, Graph, TensorType
    from graphopt.runtime import Program


def evaluate(
    model: Annotated[
        Path, typer.Argument(help="an ONNX or TFLite model, a .gopt file, or a folder of `graphopt compile`")
    ],
    data: Annotated[Path, typer.Option("--data", help="an .npz or .npy of samples: test.npz, 'test.npz[100:]'")],
    labels: LabelsOption = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="top1, top5, f1, auc, anomaly-auc, mse, mae, cosine, snr, map50, map50-95, or my_metrics.py:name"
        ),
    ] = None,
    against: Annotated[Path | None, typer.Option(help="compare with this model or folder: the float one")] = None,
    target: Annotated[
        str | None, typer.Option("-t", "--target", help="compile for it and run there; reference is the evaluator")
    ] = None,
    samples: Annotated[int | None, typer.Option(help="take only so many, evenly spread")] = None,
    key: KeyOption = None,
    scale: ScaleOption = None,
    layout: LayoutOption = None,
    worst: Annotated[int, typer.Option(help="name so many of the worst samples")] = 5,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="also under noise, blur, other brightness and inputs of 8 bits")
    ] = False,
    head: Annotated[
        str | None, typer.Option(help="of a detector: v8, v5-boxes, v5, v3 or fcos; else by its shapes")
    ] = None,
    anchors: Annotated[
        str | None, typer.Option(help="of v5 and v3, in pixels, a scale after the other: '10,13 16,30; 30,61 62,45'")
    ] = None,
    confusion: Annotated[bool, typer.Option("--confusion", help="print which classes are taken for which")] = False,
    load: LoadOption = None,
    shape: ShapeOption = None,
    constant: ConstantOption = None,
    json: JsonOption = False,
) -> None:
    """Say how good a model is on labelled data, and how far from another: a file, a program, a program on its board."""
    from dataclasses import replace

    from graphopt.cli.samples import Preparation
    from graphopt.evaluation import evaluate as run

    load_outside(load)
    found, reference = (read(path, shape, constant) for path in (model, against))
    assert found is not None
    inputs, wanted = read_labelled(data, inputs_of(found), key, labels)
    with working(f"evaluating {model.name}"):
        report = run(
            compiled_as(found, target),
            inputs,
            wanted,
            metric=metric_named(metric, head, anchors),
            against=reference,
            target=target,
            samples=samples,
            worst=worst,
            robustness=robustness,
            prepare=Preparation.of(scale, layout),
        )
    agreed = report.against and replace(report.against, model=str(against))
    report = replace(report, model=str(model), against=agreed)
    if json:
        print_json("evaluate", report)
        return
    show_evaluation(report, confusion)


def show_evaluation(report: Evaluation, confusion: bool) -> None:
    """Print an evaluation."""
    show(tables.evaluation_table(report))
    if confusion and report.confusion is not None:
        show(tables.confusion_table(report.confusion))
    if report.robustness:
        show(tables.robustness_table(report))
    if report.worst:
        show(tables.worst_table("worst samples", report.worst))
    if report.against is not None and report.against.worst:
        show(tables.worst_table(f"farthest from {report.against.model}", report.against.worst))
    for note in report.notes:
        warn(note)


def read(path: Path | None, shapes: list[str] | None, constants: list[str] | None) -> Graph | Program | None:
    """A model, or the program in a folder."""
    if path is None:
        return None
    if path.is_dir():
        from graphopt.runtime import Program

        return Program.load(path)
    return load_model(path, shapes, constants)


def compiled_as(model: Graph | Program, target: str | None) -> Graph | Program:
    """A graph that is to run on a target goes through the passes of ``graphopt compile`` first."""
    from graphopt.ir import Graph
    from graphopt.passes import optimize

    return optimize(model) if isinstance(model, Graph) and target not in (None, "reference") else model


def inputs_of(model: Graph | Program) -> dict[str, TensorType]:
    """The inputs by name; a quantized one takes floats."""
    from graphopt.ir import Graph, TensorType

    if isinstance(model, Graph):
        return {model.names[value.node]: value.type for value in model.inputs}
    ports = model.manifest["inputs"]
    return {p["name"]: TensorType("float32" if "scale" in p else p["dtype"], tuple(p["shape"])) for p in ports}


def read_labelled(
    data: Path, inputs: dict[str, TensorType], keys: list[str] | None, labels: str | None
) -> tuple[dict[str, Array], Array | None]:
    """Samples by input name, and labels: an array of the same file, a .npy, one of another file, ``file.npz:y``, or
    the boxes in a folder of YOLO's .txt files.
    """
    from graphopt.cli.arrays import read_all
    from graphopt.cli.samples import read_arrays, rows_of, sliced
    from graphopt.evaluation.detection import read_boxes

    if labels is not None and sliced(Path(labels))[0].is_dir():
        folder, rows = sliced(Path(labels))
        samples, _ = read_arrays(data, inputs, keys or [])
        return samples, rows_of(read_boxes(folder), rows, f"--labels {labels}")
    if labels is None or not labels.partition(":")[0].partition("[")[0].endswith((".npy", ".npz")):
        return read_arrays(data, inputs, keys or [], labels)
    samples, _ = read_arrays(data, inputs, keys or [])
    path, rows = sliced(Path(labels))
    file, _, name = str(path).partition(":")
    arrays = read_all(file)
    if not name and len(arrays) == 1:
        name = next(iter(arrays))
    if name not in arrays:
        advice = f"write {file}:name, of {', '.join(arrays)}"
        raise InvalidInput("it is not clear which array is meant", where=f"--labels {labels}", advice=advice)
    return samples, rows_of(arrays[name], rows, f"--labels {labels}")


def metric_named(
    text: str | None, head: str | None = None, anchors: str | None = None
) -> str | Metric | Callable[..., object] | None:
    """The name of a metric, the one of a head that is described, or the function that ``file.py:name`` means."""
    if head is not None or anchors is not None:
        from graphopt.evaluation.detection import MeanAveragePrecision

        return MeanAveragePrecision(text or "map50", head, parse_anchors(anchors or ""))
    file, _, name = (text or "").rpartition(":")
    if not file.endswith(".py"):
        return text
    from graphopt.plugins import load_file

    found = getattr(load_file(file), name, None)
    if not callable(found):
        raise InvalidInput(f"defines no function {name!r}", where=file, advice="write def name(outputs, labels): ...")
    return found  # type: ignore[no-any-return]


def parse_anchors(text: str) -> list[list[tuple[float, float]]]:
    """Width and height of the anchors of each scale; raises ``InvalidInput`` for what is none."""
    try:
        scales = [
            [tuple(map(float, pair.split(","))) for pair in part.split()] for part in text.split(";") if part.strip()
        ]
        return [[(width, height) for width, height in scale] for scale in scales]
    except ValueError as error:
        raise InvalidInput("are no anchors", where=f"--anchors {text}", advice="write '10,13 16,30; 30,61'") from error


def measure_accuracy(
    before: Graph, after: Graph, data: Path | None, labels: str | None, keys: list[str] | None, prepare: Preparation
) -> Evaluation | None:
    """How good a graph is before and after a command, and how far apart the two are. None without data.

    Raises ``InvalidInput`` for labels without data.
    """
    from graphopt.evaluation import evaluate as run

    if data is None:
        if labels is not None:
            raise InvalidInput("labels need samples", where=f"--labels {labels}", advice="give --data samples.npz")
        return None
    inputs, wanted = read_labelled(data, inputs_of(before), keys, labels)
    with working("evaluating before and after"):
        return run(after, inputs, wanted, against=before, prepare=prepare)


def show_accuracy(report: Evaluation | None) -> None:
    """Print what was measured before and after."""
    if report is not None:
        show(tables.accuracy_table(report))
        for note in report.notes:
            warn(note)
