"""What the frontends share: emitting nodes under the name of the model's node, and collecting what is refused."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy.typing as npt

from graphopt.errors import GraphoptError, Unsupported
from graphopt.ir import Array, Op, Value, constant

Derived = dict[Value | None, dict[str, Value]]
"""Constants made from other constants, by these and by how, so that what two nodes share stays one constant."""


class Scope:
    """Emits the nodes that stand for one node of the model, named after it."""

    def __init__(self, name: str, derived: Derived) -> None:
        self.name, self._derived = name, derived

    def emit(self, op: Op, *inputs: Value, part: str = "") -> Value:
        """Apply an operator; ``part`` tells helpers from the node that gives the result."""
        return op(*inputs, name=self._part(part), origins=(self.name,))

    def emit_all(self, op: Op, *inputs: Value) -> tuple[Value, ...]:
        """Apply an operator of several results."""
        return op.apply(*inputs, name=self.name, origins=(self.name,)).results

    def constant(self, data: npt.ArrayLike, part: str) -> Value:
        return constant(data, self._part(part))

    def derive(self, source: Value, how: str, make: Callable[[Array], Array]) -> Value:
        """The constant ``make(source)`` under the name of the source, made once; ``how`` tells it from others."""
        made = self._derived.setdefault(source, {})
        if how not in made:
            data = source.constant
            if data is None:
                raise Unsupported(f"{source} must be a constant")
            made[how] = constant(make(data), like=source, copy=False)
        return made[how]

    def _part(self, part: str) -> str:
        return f"{self.name}.{part}" if part else self.name


@dataclass(frozen=True)
class Refusal:
    """A node of the model that cannot be imported, and why."""

    name: str
    op: str
    error: GraphoptError

    def __str__(self) -> str:
        why = f" ({self.error.why})" if self.error.why else ""
        advice = f"; {self.error.advice}" if self.error.advice else ""
        return f"{self.name} ({self.op}): {self.error.what}{why}{advice}"


def refuse(model: str, refusals: Sequence[Refusal]) -> None:
    """Raise one ``Unsupported`` that lists every refusal; do nothing if there are none."""
    if refusals:
        count = "1 node" if len(refusals) == 1 else f"{len(refusals)} nodes"
        raise Unsupported(f"{count} cannot be imported", where=model, advice="\n  ".join(map(str, refusals)))


def unknown_op(why: str | None = None) -> Unsupported:
    """The refusal of an operator for which there is no rule, with the reason that the table of rules has, if any."""
    advice = "replace it by supported operators, or cut the model before it"
    return Unsupported(why or "there is no rule for this operator", advice=advice)


def warn_fixed_batch(model: str, batch: int | None, reason: object) -> None:
    """Tell the user that N had to be given up; the batch is None where it is that of several inputs."""
    text = " ".join(str(reason).split())
    size = "" if batch is None else f" of {batch}"
    logging.getLogger("graphopt").warning("%s: imported as a fixed-batch graph%s: %s", model, size, text)
