"""Forms: what a node of a region becomes on a target whose instructions suit it better in another one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from graphopt.ir import Graph, Node, Op, Value, rebuild
from graphopt.ir.registry import Table
from graphopt.targets.lookup import RuleChoice, choose
from graphopt.targets.region import Region
from graphopt.targets.target import Target

FormRule = Callable[..., Value]
FORMS: Table[tuple[type[Op], str | None], FormRule] = Table("a form")
"""From operator class, and the instruction set or code generator it is for, to ``rule(op, *inputs)``.

It gives the same elements by other operators, which may be any that have a scalar rule, and new constants.
"""

Forms = tuple[tuple[str, RuleChoice[None]], ...]
"""By operator, which rule was taken and who declined."""


def form_rule(op: type[Op], isa: str) -> Callable[[FormRule], FormRule]:
    """Register the form of an elementwise operator for an instruction set or a code generator."""

    def register(rule: FormRule) -> FormRule:
        FORMS.enter(rule, (op, isa))
        return rule

    return register


def form_of(op: Op, target: Target, *inputs: Value) -> RuleChoice[Value]:
    """What an operator on some values becomes on a target; no result where it stays."""
    choice: RuleChoice[Value] = choose(FORMS, type(op), target, lambda rule: rule(op, *inputs))
    return choice


def formed(region: Region, target: Target) -> tuple[Region, Forms]:
    """A region in the form that a target wants, and by which rules."""
    body, told = formed_body(region.body, target)
    return (replace(region, body=body) if any(choice.rule for _, choice in told) else region), told


def formed_body(body: Graph, target: Target) -> tuple[Graph, Forms]:
    """The body of a region in the form that a target wants, and by which rules."""
    told: list[tuple[str, RuleChoice[Any]]] = []

    def change(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        choice = form_of(node.op, target, *inputs)
        if choice.result is not None or choice.declined:
            told.append((node.op.name, replace(choice, result=None)))
        return None if choice.result is None else (choice.result,)

    return rebuild(body, change), tuple(told)
