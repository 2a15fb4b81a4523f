"""What the commands share: their arguments, and how models, passes and samples are made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from graphopt.cli.console import alarm, out, show, warn, working
from graphopt.errors import InvalidInput

if TYPE_CHECKING:
    from graphopt.ir import Graph
    from graphopt.passes import Note, Pass, Quantize

ModelArgument = Annotated[Path, typer.Argument(help="an ONNX model, or a .gopt file")]
PassesOption = Annotated[
    str | None, typer.Option("-p", "--passes", help="pass-a,pass-b{option=1}; by default the usual pipeline")
]
LoadOption = Annotated[
    list[Path] | None, typer.Option("--load", help="a Python file that defines passes, operators or rules")
]
ShapeOption = Annotated[
    list[str] | None, typer.Option("--shape", help="binds a dynamic dimension, seq=16, or an input, x=1,3,32,32")
]
ConstantOption = Annotated[
    list[str] | None, typer.Option("--constant", help="freezes an input to what it is: sr=16000, sizes=1,3, go=true")
]
QuantizeOption = Annotated[
    str | None, typer.Option("--quantize", help="quantize to weights of int8, int4 or binary; needs --calibration")
]
ActivationsOption = Annotated[
    str | None, typer.Option("--activations", help="of --quantize: int8, int16 or binary; by default int8")
]
ObserverOption = Annotated[
    str | None,
    typer.Option("--observer", help="of --quantize: ranges by minmax, percentile, mse or entropy; by default minmax"),
]
PerTensorOption = Annotated[
    bool, typer.Option("--per-tensor", help="of --quantize: one scale for all weights of a layer")
]
OverrideOption = Annotated[
    list[str] | None,
    typer.Option("--override", help="of --quantize: layer=int16, layer=float32; a pattern of layers; may be repeated"),
]
CalibrationOption = Annotated[
    Path | None, typer.Option("--calibration", help="an .npz or .npy of samples as the model takes them; 'x.npz[:100]'")
]
KeyOption = Annotated[
    list[str] | None, typer.Option("--key", help="which array of the file: array, or input=array; may be repeated")
]
ScaleOption = Annotated[str | None, typer.Option("--scale", help="multiply the samples by: 1/255, 0.5")]
LayoutOption = Annotated[
    str | None, typer.Option("--layout", help="of the samples: nhwc has channels last, and the model takes them first")
]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="samples to evaluate on, before and after: test.npz, 'test.npz[100:]'")
]
LabelsOption = Annotated[
    str | None,
    typer.Option("--labels", help="what is right: an array of --data, labels.npy, file.npz:y, a folder of YOLO boxes"),
]
ExplainOption = Annotated[
    bool, typer.Option("--explain", help="say all that the passes did and did not, and why; else what you must know")
]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON instead of tables")]
BatchOption = Annotated[int, typer.Option(help="the batch size")]
BOOLEANS = {"true": True, "false": False}
CONSTANT_FORMS = "write sr=16000, sizes=1,3,32, gain=0.5 or go=true"


@dataclass(frozen=True)
class QuantizeOptions:
    """What the options say of quantization, as they are written; None is the default of the pass."""

    weights: str | None = None
    activations: str | None = None
    observer: str | None = None
    per_tensor: bool = False
    override: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Raises ``InvalidInput`` where details of quantization are given without it."""
        details = {
            "--activations": self.activations,
            "--observer": self.observer,
            "--per-tensor": self.per_tensor,
            "--override": self.override,
        }
        if self.weights is None and (idle := [name for name, given in details.items() if given]):
            advice = "add --quantize int8, or put quantize among the --passes with its options"
            raise InvalidInput("says how to quantize, and nothing is quantized", where=idle[0], advice=advice)


def load_outside(files: list[Path] | None = None) -> None:
    """Make known what installed packages bring, and what the user's files define."""
    from graphopt.plugins import load_file, load_plugins

    for failure in load_plugins():
        warn(failure)
    for file in files or []:
        load_file(file)


def load_model(path: Path, shapes: list[str] | None = None, constants: list[str] | None = None) -> Graph:
    from graphopt.frontends import load

    with working(f"loading {path.name}"):
        return load(path, shapes=parse_shapes(shapes or []), constants=parse_constants(constants or []))


def parse_shapes(texts: list[str]) -> dict[str, int | tuple[int, ...]]:
    """What --shape options bind, as ``load`` takes it: a size by name, or the sizes of a whole input."""
    shapes: dict[str, int | tuple[int, ...]] = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")
        numbers = sizes.split(",")
        if not name or not all(n.isdecimal() and len(n) < 19 for n in numbers):
            raise InvalidInput("is no shape", where=f"--shape {text}", advice="write seq=16, or x=1,3,32,32")
        bound = tuple(map(int, numbers))
        shapes[name] = bound if len(bound) > 1 else bound[0]
    return shapes


def parse_constants(texts: list[str]) -> dict[str, float | list[float]]:
    """What --constant options freeze, as ``load`` takes it: a number by the name of an input, or several."""
    constants: dict[str, float | list[float]] = {}
    for text in texts:
        name, _, written = text.rpartition("=")
        try:
            numbers = [parse_number(n) for n in written.split(",")]
        except ValueError as error:
            raise InvalidInput("is no constant", where=f"--constant {text}", advice=CONSTANT_FORMS) from error
        if not name or name in constants:
            why = "there are two of that name" if name else "it has no name"
            raise InvalidInput("is no constant", where=f"--constant {text}", why=why, advice=CONSTANT_FORMS)
        constants[name] = numbers if len(numbers) > 1 else numbers[0]
    return constants


def parse_number(text: str) -> float:
    """An integer, a float, ``true`` or ``false``. Raises ``ValueError`` for anything else."""
    if text in BOOLEANS:
        return BOOLEANS[text]
    return int(text) if text.strip("+-").isdecimal() else float(text)


def parse_overrides(texts: list[str]) -> dict[str, str]:
    """What --override options say, as ``Quantize`` takes it: how layers of a name or pattern are quantized."""
    overrides: dict[str, str] = {}
    for text in texts:
        layer, _, how = text.rpartition("=")
        if not layer or not how:
            advice = "write layer=int16 or layer=float32"
            raise InvalidInput("names no layer and type", where=f"--override {text}", advice=advice)
        overrides[layer] = how
    return overrides


def choose_passes(text: str | None, quantization: QuantizeOptions | None = None) -> list[Pass]:
    """The passes named on the command line."""
    from graphopt.passes import Fuse, default_pipeline, parse_passes

    chosen = quantization or QuantizeOptions()
    chosen.check()
    if chosen.weights is not None:
        if text is not None:
            raise InvalidInput("--quantize and --passes both say what to do", advice="put quantize among the passes")
        return [quantize_pass(chosen), Fuse()]
    return default_pipeline() if text is None else parse_passes(text)


def quantize_pass(chosen: QuantizeOptions) -> Quantize:
    """The pass that the options describe; what is not given is as the pass has it."""
    from graphopt.passes import Quantize

    written = {"weights": chosen.weights, "activations": chosen.activations, "observer": chosen.observer}
    options: dict[str, Any] = {name: value for name, value in written.items() if value is not None}
    return Quantize(**options, per_channel=not chosen.per_tensor, overrides=parse_overrides(chosen.override))


def check_calibration(
    passes: list[Pass], quantization: QuantizeOptions | None, given: Path | None, keys: list[str] | None
) -> None:
    """Raise ``InvalidInput`` for samples that no pass reads, and for passes that miss theirs."""
    if quantization is not None and quantization.weights is not None and given is None:
        raise InvalidInput(
            "needs samples of what the model is given", where="--quantize", advice="add --calibration samples.npz"
        )
    if given is not None and not any(hasattr(pass_, "calibration") for pass_ in passes):
        advice = "add --quantize int8, or quantize among the --passes"
        raise InvalidInput("none of the passes reads it", where="--calibration", advice=advice)
    check_keys(given, keys)


def check_keys(given: Path | None, keys: list[str] | None, option: str = "--calibration") -> None:
    if keys and given is None:
        raise InvalidInput("there is no file to choose from", where="--key", advice=f"add {option} samples.npz")


def show_notes(notes: Sequence[Note], explain: bool, console: Console = out) -> None:
    """Print what a user must know of what the passes did and declined; with ``explain`` all of it."""
    from graphopt.cli import tables

    if explain:
        show(tables.notes_table(notes), console=console)
    elif told := [note for note in notes if note.for_users and not note.alarm]:
        show(tables.alike_table(told), console=console)
    show_alarms(notes)


def show_alarms(notes: Sequence[Note]) -> None:
    for note in dict.fromkeys(note for note in notes if note.alarm):
        alarm(str(note))
