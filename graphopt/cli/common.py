"""What the commands share: the application, its consoles, its arguments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.syntax import Syntax

from graphopt.errors import InvalidInput, printable

if TYPE_CHECKING:
    from graphopt.ir import Graph
    from graphopt.passes import Note, Pass

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
out = Console()
err = Console(stderr=True)

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
BatchOption = Annotated[int, typer.Option(help="the batch size")]
BOOLEANS = {"true": True, "false": False}
CONSTANT_FORMS = "write sr=16000, sizes=1,3,32, gain=0.5 or go=true"


@contextmanager
def working(text: str) -> Iterator[None]:
    """A spinner while something takes long."""
    with err.status(escape(printable(text))):
        yield


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


def choose_passes(text: str | None, quantize: str | None = None) -> list[Pass]:
    """The passes named on the command line."""
    from graphopt.passes import Fuse, Quantize, default_pipeline, parse_passes

    if quantize is not None:
        if text is not None:
            raise InvalidInput("--quantize and --passes both say what to do", advice="put quantize among the passes")
        return [Quantize(weights=quantize), Fuse()]
    return default_pipeline() if text is None else parse_passes(text)


def check_calibration(passes: list[Pass], quantize: str | None, given: Path | None, keys: list[str] | None) -> None:
    """Raise ``InvalidInput`` for samples that no pass reads, and for passes that miss theirs."""
    if quantize is not None and given is None:
        raise InvalidInput(
            "needs samples of what the model is given", where="--quantize", advice="add --calibration samples.npz"
        )
    if given is not None and not any(hasattr(pass_, "calibration") for pass_ in passes):
        advice = "add --quantize int8, or quantize among the --passes"
        raise InvalidInput("none of the passes reads it", where="--calibration", advice=advice)
    check_keys(given, keys)


def show_notes(notes: Sequence[Note], explain: bool, console: Console = out) -> None:
    """Print what a user must know of what the passes did and declined; with ``explain`` all of it."""
    from graphopt.cli import tables

    if explain:
        console.print(tables.notes_table(notes))
    elif told := [note for note in notes if note.for_users and not note.alarm]:
        console.print(tables.alike_table(told))
    for note in dict.fromkeys(note for note in notes if note.alarm):
        alarm(str(note))


def check_keys(given: Path | None, keys: list[str] | None, option: str = "--calibration") -> None:
    if keys and given is None:
        raise InvalidInput("there is no file to choose from", where="--key", advice=f"add {option} samples.npz")


def warn(text: str) -> None:
    """A line on stderr of what the user must know, though the command went through."""
    err.print(f"[bold yellow]note:[/] {escape(printable(text))}", highlight=False, soft_wrap=True)


def alarm(text: str) -> None:
    """A line on stderr of what nobody should miss."""
    err.print(f"[bold red]warning:[/] {escape(printable(text))}", highlight=False, soft_wrap=True)


def print_text(text: str) -> None:
    """Printable text as it is: no markup, no colours, no folding."""
    out.print(printable(text, keep="\n"), markup=False, highlight=False, soft_wrap=True)


def print_diff(changes: str) -> None:
    changes = printable(changes, keep="\n")
    out.print(Syntax(changes, "diff", background_color="default", word_wrap=True) if changes else "no change")
