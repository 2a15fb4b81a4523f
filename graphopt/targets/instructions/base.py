"""Instructions as data: what kernels call by name, the C of each for an instruction set, and what it means."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import networkx as nx
import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as builder

from graphopt.errors import InvalidGraph
from graphopt.ir import Array
from graphopt.ir.registry import Table
from graphopt.targets.c_types import declared
from graphopt.targets.lookup import HasSets, choose
from graphopt.targets.tir import Expr


def everywhere(*operands: Array) -> Array:
    """Whatever the operands are."""
    return np.ones(operands[0].shape, bool)


@dataclass(frozen=True)
class Span:
    """So many bytes, and these repeated: for each of ``repeats`` so often, so many bytes apart.

    All are expressions of C of the numbers among the operands.
    """

    size: str
    repeats: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Instruction:
    """A function of C that kernels call, as one instruction set has it.

    ``operands`` gives the dtype of each parameter by its name, ``result`` that of the result or accumulator, "void" for
    none. ``lanes`` results stand side by side in one, each a sum of ``depth`` products; 0 for what multiplies nothing.
    ``body`` is the text between the braces, in C or in assembly within it; a compiler without the macros of ``guard``
    takes the body of all sets in its place. ``meaning`` computes the same in numpy, on arrays of operands, wherever
    ``defined`` holds.

    A *routine* has pointers among its operands, "const int32*" to what it reads and "int8*" to what it writes, and is
    called as a statement. ``spans`` has what it reads or writes from each pointer on. A ``naked`` body is assembly
    alone, a line each, which finds its operands by the calling convention. One ``apart`` is never inlined; ``nbytes``
    is about its code, if that is known. ``counts`` are what the time of a call is linear in, expressions like those of
    ``spans``, where the bytes and repeats of these do not tell. One that has the name of a label is how often that loop
    of a naked body turns; if all loops have one, the text tells what they cost
    (``graphopt.targets.routine_text``). One that is ``alike`` another, by name, has as many instructions as that.
    """

    name: str
    isa: str | None
    operands: Mapping[str, str]
    result: str
    body: str
    meaning: Callable[..., Array]
    defined: Callable[..., Array] = everywhere
    comment: str = ""
    depth: int = 0
    lanes: int = 1
    guard: str = ""
    includes: tuple[str, ...] = ()
    spans: Mapping[str, Span] = field(default_factory=dict)
    naked: bool = False
    apart: bool = False
    nbytes: int = 0
    counts: Mapping[str, str] = field(default_factory=dict)
    alike: str = ""

    def run(self, *operands: Expr) -> None:
        """Write a call of a routine, as a statement."""
        builder.evaluate(tirx.call_extern("int32", self.name, *operands))

    def call(self, *operands: Expr) -> Expr:
        """A call of the function, in TIR: the target's own body is found when the C is printed."""
        return tirx.call_pure_extern(self.result, self.name, *operands)

    def on(self, isa: str, body: str, **changes: Any) -> Instruction:
        """The same function as another instruction set has it; it is entered in the table."""
        return instruction(replace(self, isa=isa, body=body, **changes))


INSTRUCTIONS: Table[tuple[str, str | None], Instruction] = Table("an instruction", lambda found: found.meaning)
"""By name, and the instruction set that the body is for or (None) all: portable C, which every name has."""


def instruction(new: Instruction) -> Instruction:
    """Enter an instruction in the table.

    Raises ``InvalidGraph`` for one of a single instruction set that has no portable twin, or another meaning than that.
    """
    twin = INSTRUCTIONS.get((new.name, None))
    if new.isa is not None and (twin is None or (twin.operands, twin.result) != (new.operands, new.result)):
        advice = "enter the portable one first, and make the others of it by .on(isa, body)"
        raise InvalidGraph(f"the instruction {new.name} for {new.isa} has no portable twin", advice=advice)
    INSTRUCTIONS.enter(new, (new.name, new.isa))
    return new


def find_instruction(name: str, target: HasSets) -> Instruction:
    """An instruction as the most special instruction set of a target has it."""
    found = choose(INSTRUCTIONS, name, target, lambda known: known).result
    assert found is not None, f"there is no instruction {name}"
    return found


def definition(one: Instruction) -> str:
    """The function of C: the body, or where compilers may lack its instruction set, that or the portable one."""
    twin = INSTRUCTIONS[one.name, None]
    comment = f"/* {one.comment} */\n" if one.comment else ""
    if one.naked:
        return f"{comment}#if {one.guard}\n{NAKED}\n{function(one)}\n#else\n{function(twin)}\n#endif"
    body = f"#if {one.guard}\n{one.body}\n#else\n{twin.body}\n#endif" if one.guard else one.body
    return comment + (f"{APART}\n" if one.apart else "") + function(replace(one, body=body))


APART = """\
#if defined(__clang__)
__attribute__((noinline))
#elif defined(__GNUC__)
__attribute__((noinline, optimize("no-tree-loop-distribute-patterns")))
#endif"""
"""Of a routine, which kernels share: in each of them, it would be as many bytes again."""


NAKED = """\
#if defined(__clang__)
__attribute__((naked, noinline, aligned(4)))
#else
__attribute__((naked, noinline, noipa, aligned(4)))
#endif"""
"""Of a function that is assembly alone. GCC would else look into it for the registers that it does not touch, and ADR
takes the place of an instruction from a multiple of four."""


def function(one: Instruction) -> str:
    """The function of C with its body alone; one of nothing but assembly takes its operands from registers."""
    kind, body = (" __attribute__((unused))", assembly(one.body)) if one.naked else ("", one.body)
    parameters = ", ".join(declared(dtype, name) + kind for name, dtype in one.operands.items())
    head = f"static {'' if one.result == 'void' else 'inline '}{declared(one.result, one.name)}({parameters})"
    return f"{head}\n{{\n{body}\n}}" if "\n" in body else f"{head} {{ {body.strip()} }}"


def assembly(body: str) -> str:
    """A statement of C that is lines of assembly."""
    lines = "\n".join(f'        "{line.strip()}\\n"' for line in body.strip().splitlines())
    return f"    __asm__(\n{lines});"


def used(functions: str, target: HasSets) -> list[Instruction]:
    """The instructions that the text of some functions calls, and those that these call, as the target has them.

    One comes after those that it calls, else they stand by name: routines are made as kernels need them, so the order
    of the table depends on what else was compiled before.
    """
    calls, waiting = nx.DiGraph(), called(functions)
    calls.add_nodes_from(waiting)
    while waiting:
        name = waiting.pop()
        inner = set().union(*map(called, bodies(find_instruction(name, target)))) - {name}
        waiting |= inner - set(calls)
        calls.add_edges_from((one, name) for one in inner)
    return [find_instruction(name, target) for name in nx.lexicographical_topological_sort(calls)]


def called(text: str) -> set[str]:
    """The names of instructions that a text calls."""
    return set(re.findall(r"\b(\w+)\(", text)) & {name for name, _ in INSTRUCTIONS}


def bodies(one: Instruction) -> tuple[str, str]:
    """What may be compiled of an instruction: its body, or the portable one."""
    return one.body, INSTRUCTIONS[one.name, None].body
