"""What a routine in assembly costs, read off its text: straight lines and loops whose turns are known.

That is known of a single loop, and of others by ``Instruction.counts``. A jump ahead counts as taken, unless it leaves
a loop. The cycles are those of the proxy of ``runtime/boards/count.c``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from graphopt.targets.instructions import Instruction
from graphopt.targets.work import terms_of

LABEL = re.compile(r"(\d+):$")
BACK, AHEAD = (re.compile(rf"(?:c?bn?z|b(?:ne|gt|ge|hi|lt|le|cc|cs|eq)?|le) (?:.*, )?(\d+){way}$") for way in "bf")
COMPUTED = re.compile(r"bx r|ldr pc|tb[bh] ")
LISTED = re.compile(r"\{([^}]*)\}")
COUNTED = re.compile(r"subs (r\d+), \1, #1\n(?:bne|bgt) 1b")
VECTOR = re.compile(r"v(?!push|pop|(?:ldr|str)bt?\.[su]?(?:16|32))")
"""Instructions that count as those of vectors: not those that move other bytes than they keep."""
JUMP = 2
"""Cycles of a jump that is taken, beside that of the instruction."""


@dataclass(frozen=True)
class Lines:
    """Instructions, and their cycles."""

    instructions: int
    cycles: int

    def __add__(self, other: Lines) -> Lines:
        return Lines(self.instructions + other.instructions, self.cycles + other.cycles)

    def __mul__(self, times: int) -> Lines:
        return Lines(times * self.instructions, times * self.cycles)


NOTHING = Lines(0, 0)


def of_routine(routine: Instruction) -> dict[str, Lines]:
    """What is known of a routine by its text: the costs of a call, and of each of its terms that its loops turn by."""
    if not routine.naked:
        return {}
    terms = [text for text, _ in terms_of(routine)]
    return costs_by_text(routine.name, routine.body, tuple(routine.counts.items()), terms[0] if terms else None)


@cache
def costs_by_text(name: str, body: str, turns: tuple[tuple[str, str], ...], run: str | None) -> dict[str, Lines]:
    """The costs by name; empty if there are loops of which nothing is known.

    ``turns`` has for labels how often the loop turns; a single loop, without other jumps, turns as often as ``run``
    says, or as a number in the text.
    """
    lines = [line.strip() for line in body.strip().splitlines()]
    loops = loops_of(lines)
    apart = costs_by_loop(lines, loops)
    if any(COMPUTED.match(line) for line in lines):
        return {}
    if loops.keys() <= dict(turns).keys():
        return {name: apart[""]} | {f"{name} {count}": apart[label] for label, count in turns if label in loops}
    if len(loops) != 1 or any(AHEAD.match(line) for line in lines):
        return {}
    (label,) = loops
    if run is not None:
        return {name: apart[""], f"{name} {run}": apart[label]}
    counter = COUNTED.search("\n".join(lines))
    count = re.search(rf"^mov {counter[1]}, #(\d+)$", "\n".join(lines), re.MULTILINE) if counter else None
    return {name: apart[""] + apart[label] * int(count[1])} if count else {}


def loops_of(lines: Sequence[str]) -> dict[str, range]:
    """The lines of each loop, by its label: up to the first jump back to it."""
    found: dict[str, range] = {}
    for at, line in enumerate(lines):
        jump = BACK.match(line)
        if jump is not None and jump[1] not in found:
            begins = max(i for i in range(at) if lines[i] == f"{jump[1]}:")
            found[jump[1]] = range(begins, at + 1)
    return found


def costs_by_loop(lines: Sequence[str], loops: Mapping[str, range]) -> dict[str, Lines]:
    """The costs of a turn of each loop, without those of loops within; under an empty name, of what is in no loop."""
    inside: dict[str, list[str]] = {"": [], **{label: [] for label in loops}}
    jumps = {"": 0, **dict.fromkeys(loops, 1)}
    skipped = -1
    for at, line in enumerate(lines):
        if at <= skipped or LABEL.match(line) or line.startswith("."):
            continue
        loop = min((label for label in loops if at in loops[label]), key=lambda label: len(loops[label]), default="")
        inside[loop].append(line)
        jump = AHEAD.match(line)
        if jump is not None:
            over = range(at + 1, next(i for i in range(at, len(lines)) if lines[i] == f"{jump[1]}:"))
            if not any(BACK.match(lines[i]) for i in over):
                skipped, jumps[loop] = over.stop, jumps[loop] + 1
    return {label: lines_of(inside[label]) + Lines(0, JUMP * jumps[label]) for label in inside}


def line_count(routine: Instruction) -> int:
    """The instructions of a routine."""
    return sum(not re.match(r"\s*(\.|\d+:)", line) for line in routine.body.strip().splitlines())


def lines_of(lines: Sequence[str]) -> Lines:
    cycles, count, moved_before = 0, 0, False
    for line in lines:
        moves = re.match(r"v?(ldr|ldm|ldrd|str|stm|strd|push|pop|ld|st)", line)
        loads = moves is not None and moves[1][0] in "lp" and moves[1] != "push"
        vector = VECTOR.match(line) is not None
        cycles += 1 + (max(0, registers_of(line) - 1) if moves and not vector else 0) + (loads and not moved_before)
        cycles += vector
        count += 1
        moved_before = moves is not None
    return Lines(count, cycles)


def registers_of(line: str) -> int:
    listed = LISTED.search(line)
    if listed is None:
        return 2 if line.startswith(("ldrd", "strd")) else 1
    count = 0
    for part in listed[1].split(","):
        first, _, last = (end.strip() for end in part.partition("-"))
        count += int(last[1:]) - int(first[1:]) + 1 if last else 1
    return count
