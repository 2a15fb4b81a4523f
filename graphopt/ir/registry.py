"""Tables that are filled where rules are defined: a cell of a notebook run again replaces what it defined before.

Anything else of the same name is refused, for the first one would be lost without a word.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from graphopt.errors import InvalidGraph

K = TypeVar("K")
R = TypeVar("R")


class Table(dict[K, R], Generic[K, R]):
    """Rules by operator class, by a class and what it is for, or by the name of an operator elsewhere.

    ``what`` names a rule in messages, such as "a scalar rule"; ``definition`` gives the function that a rule was made
    of, where it is not the rule itself. ``reasons`` has what has no rule on purpose, and why.
    """

    def __init__(self, what: str, definition: Callable[[R], Any] = lambda rule: rule) -> None:
        super().__init__()
        self.what, self.definition = what, definition
        self.reasons: dict[K, str] = {}
        TABLES.append(self)

    def enter(self, rule: R, *keys: K) -> None:
        """Enter a rule under some keys; raises ``InvalidGraph`` where another one stands."""
        for key in keys:
            if key in self and not redefines(self.definition(rule), self.definition(self[key])):
                found = place(self.definition(self[key]))
                raise InvalidGraph(
                    f"{text_of(key)} has {self.what} already, {found}",
                    advice="one rule holds at a time: define yours for an operator of your own",
                )
            self[key] = rule

    def unsupported(self, why: str, *keys: K) -> None:
        """Say that there is no rule for these keys on purpose, and why; a rule that is entered all the same holds."""
        self.reasons.update(dict.fromkeys(keys, why))

    def find(self: Table[type, R], kind: type) -> R | None:
        """The rule of a class, or else of the nearest one that it derives from; None where that has none on purpose."""
        return self.get(self.nearest(kind))

    def reason(self: Table[type, R], kind: type) -> str | None:
        """Why a class, or the nearest one that it derives from, has no rule; None where it has one, or nobody said."""
        nearest = self.nearest(kind)
        return None if nearest in self else self.reasons.get(nearest)

    def nearest(self: Table[type, R], kind: type) -> type:
        """The class that decides for another: itself, or the nearest that it derives from of which the table tells."""
        return next((known for known in kind.__mro__ if known in self or known in self.reasons), kind)


TABLES: list[Table[Any, Any]] = []
"""Every table."""


def import_all(path: Iterable[str], package: str) -> None:
    """Import the modules of a package, given its ``__path__`` and name, in order of their names: they register."""
    for name in sorted(found.name for found in pkgutil.iter_modules(path)):
        importlib.import_module(f"{package}.{name}")


def text_of(key: Any) -> str:
    """A key in a message: the names of operators, and what else is in it."""
    parts = key if isinstance(key, tuple) else (key,)
    return " for ".join(str(getattr(part, "name", part)) for part in parts if part is not None)


def redefines(new: Any, old: Any) -> bool:
    """Whether a function or class is a new definition of another: of the same name, in the same module."""
    return hasattr(new, "__qualname__") and place(new) == place(old)


def place(definition: Any) -> str:
    """Where a function or class is defined; of what has no name, what it is."""
    return f"{definition.__module__}.{getattr(definition, '__qualname__', repr(definition))}"


def succeed(old: type, new: type) -> None:
    """Give a class that redefines an operator the rules of the one before, until they are defined anew as well."""
    for entries in [entries for table in TABLES for entries in (table, table.reasons)]:
        for key in [k for k in entries if k is old or (isinstance(k, tuple) and k[0] is old)]:
            entries[(new, *key[1:]) if isinstance(key, tuple) else new] = entries[key]
