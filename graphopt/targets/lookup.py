"""The one way in which a rule is found: by what it is for, from the most special instruction set of a target to all.

A target's sets end in its code generator (``Target.sets``); rules for every target come last, under None. A rule that
does not suit a case raises ``Decline`` with the reason, as a rule that rewrites does, and the next takes over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from graphopt.ir.registry import place
from graphopt.rewrite import Decline

K = TypeVar("K")
R = TypeVar("R")
T = TypeVar("T", covariant=True)


class HasSets(Protocol):
    """A target, as far as rules are found by it."""

    @property
    def sets(self) -> tuple[str, ...]:
        """Its instruction sets, the most special first, then its code generator."""


@dataclass(frozen=True)
class Declined:
    """A rule that gave way, the instruction set that it is for, and why it did."""

    rule: str
    isa: str | None
    why: str

    def __str__(self) -> str:
        return f"{self.rule} {named(self.isa)} declined: {self.why}"


@dataclass(frozen=True)
class RuleChoice(Generic[T]):
    """What the chosen rule gave, where that is defined, the set that it is for, and who declined before it.

    ``rule`` and ``result`` are empty and None where every rule declined, or there is none.
    """

    result: T | None
    rule: str
    isa: str | None
    declined: tuple[Declined, ...] = ()

    def __str__(self) -> str:
        return f"{self.rule} {named(self.isa)}"


def every(
    table: Mapping[tuple[K, str | None], R],
    key: K,
    target: HasSets,
    attempt: Callable[[R], T],
    variants: Callable[[R], Iterable[R]] = lambda rule: (),
) -> Iterator[RuleChoice[T]]:
    """What each rule gives that does not decline, and each of its variants behind it, in the order of ``choose``."""
    declined: list[Declined] = []
    for isa in (*target.sets, None):
        rule = table.get((key, isa))
        for one in [] if rule is None else [rule, *variants(rule)]:
            try:
                yield RuleChoice(attempt(one), place(one), isa, tuple(declined))
            except Decline as why:
                declined.append(Declined(place(one), isa, str(why)))


def named(isa: str | None) -> str:
    return f"for {isa or 'all instruction sets'}"


def choose(
    table: Mapping[tuple[K, str | None], R], key: K, target: HasSets, attempt: Callable[[R], T]
) -> RuleChoice[T]:
    """What the first rule gives that does not decline, from the most special set of a target to all targets."""
    declined: list[Declined] = []
    for isa in (*target.sets, None):
        rule = table.get((key, isa))
        if rule is None:
            continue
        try:
            return RuleChoice(attempt(rule), place(rule), isa, tuple(declined))
        except Decline as why:
            declined.append(Declined(place(rule), isa, str(why)))
    return RuleChoice(None, "", None, tuple(declined))
