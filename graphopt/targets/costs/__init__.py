"""What the kernels of an instruction set cost, as ``scripts/fit_costs.py`` measured it: a file for each set."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from graphopt.targets.instructions import INSTRUCTIONS, find_instruction
from graphopt.targets.kernels.base import KERNEL_RULES
from graphopt.targets.lookup import HasSets
from graphopt.targets.routine_text import NOTHING, Lines, line_count, of_routine
from graphopt.targets.work import Work

LINE = "line"
"""The name of an instruction of a routine that was not measured, among those of bytes of code."""
UNKNOWN = 4.0
"""Instructions, and a quarter of the bytes, of what was never measured."""


@dataclass(frozen=True)
class Costs:
    """Coefficients by the names of ``Work``, for one instruction set.

    ``instructions`` and ``cycles`` of the proxy are those of each time that something is done, ``code`` the bytes of
    each time that it is written. ``routines`` has the bytes of routines, which kernels share. ``driver`` has the bytes
    of what calls the kernels. ``doubts`` has for the kinds of kernels by how much cycles may be off.
    """

    instructions: Mapping[str, float]
    cycles: Mapping[str, float]
    code: Mapping[str, float]
    routines: Mapping[str, float]
    driver: Mapping[str, float]
    doubts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """The costs of a target: those that were measured, and those of routines that their text tells."""

    costs: Costs
    target: HasSets

    def run(self, work: Work) -> tuple[float, float]:
        """The instructions and the cycles of one run."""
        instructions = cycles = 0.0
        for done, times in work.done.items():
            name = measured(done)
            told = self.told(name)
            if told is not None:
                instructions += times * told.instructions
                cycles += times * told.cycles
                continue
            default = 0.0 if " " in name else UNKNOWN
            instructions += times * self.costs.instructions.get(name, default)
            cycles += times * self.costs.cycles.get(name, 1.5 * default)
        return instructions, cycles

    def doubt(self, work: Work) -> float | None:
        """By how much the cycles of such a kernel may be off; None if it calls assembly that was not measured."""
        called = (name for name in work.written if (name, None) in INSTRUCTIONS)
        routines = (name for name in called if find_instruction(name, self.target).naked)
        known = all(name in self.costs.instructions or self.told(name) for name in map(measured, routines))
        return self.costs.doubts.get(work.kind, 0.0) if known else None

    def told(self, name: str) -> Lines | None:
        """What the text of a routine tells of a name of ``Work``; None of another name, or if it does not tell."""
        routine = name.partition(" ")[0]
        if (routine, None) not in INSTRUCTIONS:
            return None
        lines = of_routine(find_instruction(routine, self.target))
        return lines.get(name, NOTHING) if lines else None

    def code(self, work: Work) -> float:
        """The bytes of a kernel, without those of the routines that it shares with others."""
        return sum(
            times * self.costs.code.get(name, 0.0 if name in self.costs.routines else 4 * UNKNOWN)
            for name, times in work.written.items()
            if not self.shares(name)
        )

    def shares(self, name: str) -> bool:
        """Whether a name is that of a routine which is a function of its own."""
        if name in self.costs.routines:
            return True
        if (name, None) not in INSTRUCTIONS:
            return False
        routine = find_instruction(name, self.target)
        return routine.naked or routine.nbytes > 0

    def routine(self, name: str) -> float:
        """The bytes of a routine that is a function of its own."""
        known = self.costs.routines.get(name)
        if known is not None:
            return known
        routine = find_instruction(name, self.target)
        return routine.nbytes or self.costs.code[LINE] * line_count(routine)

    def routines(self, works: Iterable[Work]) -> set[str]:
        """The routines that kernels share."""
        return {name for work in works for name in work.written if self.shares(name)}


def measured(name: str) -> str:
    """A name of ``Work`` as the costs have it: of a routine that is alike another, this one."""
    routine, space, term = name.partition(" ")
    known = INSTRUCTIONS.get((routine, None))
    return f"{known.alike}{space}{term}" if known is not None and known.alike else name


@cache
def read_costs(isa: str) -> Costs | None:
    file = resources.files(__package__).joinpath(f"{isa}.json")
    return Costs(**json.loads(file.read_text())) if file.is_file() else None


def costs_of(target: HasSets) -> Known | None:
    """The costs of a target, if they were measured of the most special of its instruction sets that has kernels."""
    special = {isa for _, isa in KERNEL_RULES}
    found = next((read_costs(isa) for isa in target.sets if isa in special), None)
    return None if found is None else Known(found, target)
