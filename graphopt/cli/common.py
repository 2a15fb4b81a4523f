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
LoadOption = Annotated[list[Path] | None, typer.Option("--load", help="a Python file that defines passes")]
ShapeOption = Annotated[
    list[str] | None, typer.Option("--shape", help="binds a dynamic dimension, seq=16, or an input, x=1,3,32,32")
]
QuantizeOption = Annotated[
    str | None, typer.Option("--quantize", help="quantize to weights of int8, int4 or binary; needs --calibration")
]
CalibrationOption = Annotated[
    Path | None, typer.Option("--calibration", help="an .npz or .npy of samples as the model takes them")
]
KeyOption = Annotated[
    list[str] | None, typer.Option("--key", help="which array of the file: array, or input=array; may be repeated")
]
ExplainOption = Annotated[
    bool, typer.Option("--explain", help="say all that the passes did and did not, and why; else what you must know")
]
BatchOption = Annotated[int, typer.Option(help="the batch size")]


@contextmanager
def working(text: str) -> Iterator[None]:
    """A spinner while something takes long."""
    with err.status(escape(printable(text))):
        yield


def load_model(path: Path, shapes: list[str] | None = None) -> Graph:
    from graphopt.frontends import load

    with working(f"loading {path.name}"):
        return load(path, shapes=parse_shapes(shapes or []))


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


def choose_passes(text: str | None, files: list[Path] | None, quantize: str | None = None) -> list[Pass]:
    """The passes named on the command line, with those of the user's files known."""
    from graphopt.passes import Fuse, Quantize, default_pipeline, parse_passes
    from graphopt.passes.plugins import load_entry_points, load_file

    if quantize is not None:
        if text is not None:
            raise InvalidInput("--quantize and --passes both say what to do", advice="put quantize among the passes")
        return [Quantize(weights=quantize), Fuse()]

    for failure in load_entry_points():
        warn(failure)
    for file in files or []:
        load_file(file)
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
    elif told := [note for note in notes if note.for_users]:
        console.print(tables.alike_table(told))


def check_keys(given: Path | None, keys: list[str] | None) -> None:
    if keys and given is None:
        raise InvalidInput("there is no file to choose from", where="--key", advice="add --calibration samples.npz")


def warn(text: str) -> None:
    """A line on stderr of what the user must know, though the command went through."""
    err.print(f"[bold yellow]note:[/] {escape(printable(text))}", highlight=False, soft_wrap=True)


def print_text(text: str) -> None:
    """Printable text as it is: no markup, no colours, no folding."""
    out.print(printable(text, keep="\n"), markup=False, highlight=False, soft_wrap=True)


def print_diff(changes: str) -> None:
    changes = printable(changes, keep="\n")
    out.print(Syntax(changes, "diff", background_color="default", word_wrap=True) if changes else "no change")
