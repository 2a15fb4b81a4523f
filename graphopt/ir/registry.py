"""Tables that are filled where things are defined: a cell of a notebook run again replaces what it defined before.

Anything else of the same name is refused, for the first one would be lost without a word.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any

from graphopt.errors import InvalidGraph

TABLES: list[MutableMapping[Any, Any]] = []
"""Every table of rules by operator class."""


def redefines(new: Any, old: Any) -> bool:
    """Whether a function or class is a new definition of another: of the same name, in the same module."""
    return hasattr(new, "__qualname__") and place(new) == place(old)


def place(definition: Any) -> str:
    """Where a function or class is defined; of what has no name, what it is."""
    return f"{definition.__module__}.{getattr(definition, '__qualname__', repr(definition))}"


def register(table: MutableMapping[Any, Any], keys: Iterable[Any], rule: Any, what: str) -> None:
    """Enter a rule under some keys; raises ``InvalidGraph`` where another one stands.

    ``what`` names the rule in the message, such as "a scalar rule".
    """
    remember(table)
    for key in keys:
        if key in table and not redefines(rule, table[key]):
            raise taken(key, table[key], what)
        table[key] = rule


def taken(key: Any, rule: Any, what: str) -> InvalidGraph:
    """The error that a key has a rule already."""
    what = f"{getattr(key, 'name', key)} has {what} already, {place(rule)}"
    return InvalidGraph(what, advice="one rule holds at a time: define yours for an operator of your own")


def remember(table: MutableMapping[Any, Any]) -> None:
    if not any(known is table for known in TABLES):
        TABLES.append(table)


def succeed(old: type, new: type) -> None:
    """Give a class that redefines an operator the rules of the one before, until they are defined anew as well."""
    for table in TABLES:
        if old in table:
            table[new] = table[old]
