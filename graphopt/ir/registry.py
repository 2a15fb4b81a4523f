"""Tables that rules enter where they are defined. A notebook cell that runs again replaces its own definitions.

Any other definition of the same name is refused, since it would silently replace the first.
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
    """Rules by operator class, by a class and an instruction set or the like, or by the name of a foreign operator.

    ``what`` names a rule in messages, such as "a scalar rule". ``definition`` gives the function from which a rule was
    made, if that is not the rule itself. ``reasons`` maps keys that have no rule on purpose to the reason.
    """

    def __init__(self, what: str, definition: Callable[[R], Any] = lambda rule: rule) -> None:
        super().__init__()
        self.what, self.definition = what, definition
        self.reasons: dict[K, str] = {}
        TABLES.append(self)

    def enter(self, rule: R, *keys: K) -> None:
        """Enter a rule under some keys; raises ``InvalidGraph`` if a key has another rule."""
        for key in keys:
            if key in self and not redefines(self.definition(rule), self.definition(self[key])):
                found = place(self.definition(self[key]))
                raise InvalidGraph(
                    f"{text_of(key)} has {self.what} already, {found}",
                    advice="one rule holds at a time: define yours for an operator of your own",
                )
            self[key] = rule

    def unsupported(self, why: str, *keys: K) -> None:
        """Record why these keys have no rule on purpose; a rule that is entered for one takes precedence."""
        self.reasons.update(dict.fromkeys(keys, why))

    def find(self: Table[type, R], kind: type) -> R | None:
        """The rule of a class, else of its nearest base class that the table knows; None if it has none on purpose."""
        return self.get(self.nearest(kind))

    def reason(self: Table[type, R], kind: type) -> str | None:
        """Why a class, or its nearest base class that the table knows, has no rule; None if no reason is recorded."""
        nearest = self.nearest(kind)
        return None if nearest in self else self.reasons.get(nearest)

    def nearest(self: Table[type, R], kind: type) -> type:
        """The class itself if the table has a rule or a reason for it, else its nearest base class that has one."""
        return next((known for known in kind.__mro__ if known in self or known in self.reasons), kind)


TABLES: list[Table[Any, Any]] = []
"""Every table."""


def import_all(path: Iterable[str], package: str) -> None:
    """Import the modules of a package, given its ``__path__`` and name, in order of names, so that they register."""
    for name in sorted(found.name for found in pkgutil.iter_modules(path)):
        importlib.import_module(f"{package}.{name}")


def text_of(key: Any) -> str:
    """A key as text for messages: the names of its operators, and its other parts."""
    parts = key if isinstance(key, tuple) else (key,)
    return " for ".join(str(getattr(part, "name", part)) for part in parts if part is not None)


def redefines(new: Any, old: Any) -> bool:
    """Whether a function or class redefines another: it has the same name, in the same module."""
    return hasattr(new, "__qualname__") and place(new) == place(old)


def place(definition: Any) -> str:
    """Where a function or class is defined; for an object without a name, its repr."""
    return f"{definition.__module__}.{getattr(definition, '__qualname__', repr(definition))}"


def succeed(old: type, new: type) -> None:
    """Give a class that redefines an operator the rules of the old class, until these are redefined too."""
    for entries in [entries for table in TABLES for entries in (table, table.reasons)]:
        for key in [k for k in entries if k is old or (isinstance(k, tuple) and k[0] is old)]:
            entries[(new, *key[1:]) if isinstance(key, tuple) else new] = entries[key]
