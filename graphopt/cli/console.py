"""What the commands print with: tables for a terminal, plain columns for a pipe, JSON on request."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.box import HEAVY_HEAD
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.syntax import Syntax
from rich.table import Table

from graphopt.errors import printable
from graphopt.progress import listening
from graphopt.records import to_json

UNFOLDED = 1 << 16
"""Columns, where no terminal limits them."""

out = Console(emoji=False, width=None if sys.stdout.isatty() else UNFOLDED)
err = Console(emoji=False, stderr=True, width=None if sys.stderr.isatty() else UNFOLDED)


class CleanTable(Table):
    """A table whose title and cells are made ``printable``."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        super().add_row(*(printable(cell) if isinstance(cell, str) else cell for cell in cells), **options)


def table(*columns: str, title: str | None = None) -> Table:
    """A table whose columns are right-aligned where their heading ends in ``>``; without lines in a pipe."""
    made = CleanTable(
        title=None if title is None else printable(title),
        title_justify="left",
        box=HEAVY_HEAD if out.is_terminal else None,
        pad_edge=out.is_terminal,
    )
    for column in columns:
        made.add_column(column.rstrip(">"), justify="right" if column.endswith(">") else "left", overflow="fold")
    return made


def show(*tables: Table, console: Console = out) -> None:
    """Print tables; in a pipe nothing is folded, and a title is a line of its own."""
    for made in tables:
        if made.title and not console.is_terminal:
            console.print(made.title)
            made.title = None
        console.print(made)


def heading(text: str) -> None:
    """A line that sets apart what follows."""
    if out.is_terminal:
        out.rule(text)
    else:
        print_text(f"--- {text}")


def print_json(command: str, report: object) -> None:
    """A report as one JSON object, which says by which command it is and in which version of that form."""
    print_text(to_json(report, command=command))


def print_text(text: str) -> None:
    """Printable text as it is: no markup, no colours, no folding."""
    out.print(printable(text, keep="\n"), markup=False, highlight=False, soft_wrap=True)


def print_diff(changes: str) -> None:
    if changes and out.is_terminal:
        out.print(Syntax(printable(changes, keep="\n"), "diff", background_color="default", word_wrap=True))
    else:
        print_text(changes or "no change")


@contextmanager
def working(text: str) -> Iterator[None]:
    """A spinner on the terminal of stderr while something takes long, with the steps that are counted meanwhile."""
    columns = SpinnerColumn(), TextColumn("{task.description}")
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as shown:
        task = shown.add_task(escape(printable(text)))

        def tell(what: str, done: int, total: int | None) -> None:
            of = "" if total is None else f" of {total}"
            shown.update(task, description=escape(printable(f"{text}: {what} {done + 1}{of}")))

        with listening(tell):
            yield


def warn(text: str) -> None:
    """A line on stderr of what the user must know, though the command went through."""
    err.print(f"[bold yellow]note:[/] {escape(printable(text))}", highlight=False, soft_wrap=True)


def alarm(text: str) -> None:
    """A line on stderr of what nobody should miss."""
    err.print(f"[bold red]warning:[/] {escape(printable(text))}", highlight=False, soft_wrap=True)
