"""Every error that graphopt raises on purpose.

A message says what went wrong, where (the node or file), why, and what to do about it.
"""

from __future__ import annotations

import copy
from typing import Self


def printable(text: str, keep: str = "") -> str:
    """Text with escapes for all characters that a terminal, a C compiler or a reader could misinterpret.

    Control characters, escapes, line ends, marks that change the writing direction, and lone surrogates are
    written as Python writes them, such as ``\\x1b``; those in ``keep`` stay. Names of a model may contain any of them.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def indented(text: str) -> str:
    """Printable text with all lines after the first indented, so that none looks like a separate message."""
    first, *rest = printable(text, keep="\n").split("\n")
    return "\n".join([first, *(f"  {line}" if line and not line.startswith("  ") else line for line in rest)])


class GraphoptError(Exception):
    """Base of all errors for users. Text from a model is made ``printable`` in its message.

    Args:
        what: one clause that names the problem.
        where: the node, input, file or option concerned.
        why: the reason, if it is not obvious from ``what``.
        advice: what the user can do.
    """

    def __init__(
        self, what: str, *, where: str | None = None, why: str | None = None, advice: str | None = None
    ) -> None:
        self.what, self.where, self.why, self.advice = what, where, why, advice
        text = f"{printable(where)}: {what}" if where else what
        text += f" ({why})" if why else ""
        text += f"\n  {advice}" if advice else ""
        super().__init__(indented(text))

    def told(self, *, what: str | None = None, where: str | None = None, why: str | None = None) -> Self:
        """The same error with some parts replaced; it has the same class."""
        made = copy.copy(self)
        said = {"where": where or self.where, "why": why or self.why, "advice": self.advice}
        GraphoptError.__init__(made, what or self.what, **said)
        return made


class InvalidGraph(GraphoptError):
    """A graph, or the application of an operator, is ill-formed."""


class InvalidInput(GraphoptError):
    """A file, an option or an array given by the user cannot be used."""


class Unsupported(GraphoptError):
    """The request is well-formed, but graphopt does not do it."""


class ContractViolation(GraphoptError):
    """A pass changed what the graph computes by more than its contract allows."""


class BudgetExceeded(GraphoptError):
    """A program does not fit the memories of its target."""


class ToolFailed(GraphoptError):
    """An external tool (compiler, emulator) is missing or has failed."""


class MissingPackage(GraphoptError, ImportError):
    """A Python package that only some of graphopt needs is not installed; the advice has the command to install it."""
