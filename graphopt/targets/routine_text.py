"""What a routine in assembly costs, read off its text: one that is straight lines around a single loop.

The cycles are those of the proxy of ``runtime/boards/count.c``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from graphopt.targets.instructions import Instruction
from graphopt.targets.work import terms_of

LABEL = re.compile(r"\d+:$")
LISTED = re.compile(r"\{([^}]*)\}")
COUNTED = re.compile(r"subs (r\d+), \1, #1\n(?:bne|bgt) 1b")
BYTES_OF_LINE = 3.8
"""Most instructions of routines have four bytes, a few two."""


@dataclass(frozen=True)
class Lines:
    """Instructions, and their cycles where no jump is taken."""

    instructions: int
    cycles: int


@cache
def costs_by_text(name: str, body: str, run: str | None) -> dict[str, Lines]:
    """The costs of a call, and of each turn of its only loop, which ``run`` names; empty if that does not fit."""
    lines = [line.strip() for line in body.strip().splitlines()]
    labels = [i for i, line in enumerate(lines) if LABEL.match(line)]
    jumps = [i for i, line in enumerate(lines) if re.match(r"b(ne|gt|hi|lt|cc|cs|eq|l?e?)\b", line)]
    if len(labels) != 1 or len(jumps) != 1 or lines[jumps[0]].split()[-1] != "1b":
        return {}
    outside = lines_of([*lines[: labels[0]], *lines[jumps[0] + 1 :]])
    inside = lines_of(lines[labels[0] + 1 : jumps[0] + 1])
    turn = Lines(inside.instructions, inside.cycles + 2)
    if run is not None:
        return {name: outside, f"{name} {run}": turn}
    counter = COUNTED.search("\n".join(lines))
    count = re.search(rf"^mov {counter[1]}, #(\d+)$", "\n".join(lines), re.MULTILINE) if counter else None
    if count is None:
        return {}
    turns = int(count[1])
    return {name: Lines(outside.instructions + turns * turn.instructions, outside.cycles + turns * turn.cycles)}


def of_routine(routine: Instruction) -> dict[str, Lines]:
    """What is known of a routine by its text."""
    if not routine.naked:
        return {}
    terms = [text for text, _ in terms_of(routine)]
    return costs_by_text(routine.name, routine.body, terms[0] if terms else None)


def bytes_by_text(routine: Instruction) -> float:
    lines = [line for line in routine.body.strip().splitlines() if not LABEL.match(line.strip())]
    return BYTES_OF_LINE * len(lines)


def lines_of(lines: Sequence[str]) -> Lines:
    cycles, moved_before = 0, False
    for line in lines:
        moves = re.match(r"(ldr|ldm|ldrd|str|stm|strd|push|pop|vldm|vstm)", line)
        loads = moves is not None and moves[1][0] in "lp" and not line.startswith("push")
        cycles += 1 + (max(0, registers_of(line) - 1) if moves else 0) + (loads and not moved_before)
        moved_before = moves is not None
    return Lines(len(lines), cycles)


def registers_of(line: str) -> int:
    listed = LISTED.search(line)
    if listed is None:
        return 2 if line.startswith(("ldrd", "strd")) else 1
    count = 0
    for part in listed[1].split(","):
        first, _, last = (end.strip() for end in part.partition("-"))
        count += int(last[1:]) - int(first[1:]) + 1 if last else 1
    return count
