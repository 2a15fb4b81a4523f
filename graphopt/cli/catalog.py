"""The commands that list what there is: targets, passes, tools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from graphopt.cli import tables
from graphopt.cli.common import JsonOption, LoadOption, load_outside
from graphopt.cli.console import out, print_json, show

if TYPE_CHECKING:
    from graphopt.report import PassRow, TargetRow, ToolRow


@dataclass(frozen=True)
class Targets:
    targets: tuple[TargetRow, ...]


@dataclass(frozen=True)
class Passes:
    passes: tuple[PassRow, ...]


@dataclass(frozen=True)
class Tools:
    """The tools, and the Debian packages of those that are missing."""

    tools: tuple[ToolRow, ...]
    missing: tuple[str, ...]


def targets(json: JsonOption = False) -> None:
    """List the targets."""
    from graphopt.report import list_targets
    from graphopt.targets.target import host_name, known_targets

    load_outside()
    rows = list_targets(known_targets().values(), host_name())
    if json:
        print_json("targets", Targets(rows))
    else:
        show(tables.targets_table(rows))


def passes(load: LoadOption = None, json: JsonOption = False) -> None:
    """List the passes, with their options and contracts."""
    from graphopt.passes import PASSES
    from graphopt.report import list_passes

    load_outside(load)
    rows = list_passes(PASSES)
    if json:
        print_json("passes", Passes(rows))
    else:
        show(tables.passes_table(rows))


def doctor(json: JsonOption = False) -> None:
    """Check that compilers and emulators are there; say how to install what is not."""
    from graphopt.report import list_tools
    from graphopt.targets import known_targets

    load_outside()
    rows = list_tools(known_targets().values())
    missing = tuple(dict.fromkeys(p for row in rows if row.path is None for p in row.packages))
    if json:
        print_json("doctor", Tools(rows, missing))
    else:
        show(tables.tools_table(rows))
        if missing:
            out.print(f"to install what is missing:\n  sudo apt-get install -y {' '.join(missing)}", soft_wrap=True)
    if missing:
        raise typer.Exit(1)
