"""Costs that pruning can be given a budget of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from graphopt.errors import InvalidInput
from graphopt.ir import Graph
from graphopt.ops.macs import count_macs

HALVINGS = 10
"""Of the range of the ratio, until it is known to a thousandth."""


class CostModel(Protocol):
    """What a graph costs; less where channels are gone. ``graphopt.targets.TargetCost`` asks a target."""

    def cost(self, graph: Graph) -> float: ...


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates at a batch of one."""

    def cost(self, graph: Graph) -> float:
        return float(count_macs(graph))


@dataclass(frozen=True)
class ConstantBytes:
    """The bytes of all constants, equal ones counted once, as programs store them."""

    def cost(self, graph: Graph) -> float:
        return float(sum(array.nbytes for array in graph.constants.values()))


@dataclass(frozen=True)
class Budget:
    """A cost, what it is now, and what it may be."""

    name: str
    model: CostModel
    now: float
    target: float

    @classmethod
    def of(cls, name: str, target: float, model: CostModel, graph: Graph) -> Budget:
        """Up to 1 the target is a part of what the graph costs now."""
        now = model.cost(graph)
        return cls(name, model, now, target * now if target <= 1 else target)

    def smallest_ratio(self, attempt: Callable[[float], Graph], step: int, steps: int) -> float:
        """The smallest ratio, to a thousandth, at which the graph that ``attempt`` makes of it is cheap enough.

        That is the target at the last step, and evenly on the way there before. Raises ``InvalidInput`` if none does.
        """
        allowed = self.now - (self.now - self.target) * (step + 1) / steps
        low, high = 0.0, 1.0
        if (least := self.model.cost(attempt(high))) > allowed:
            why = f"with all removed that may go it is {least:,.0f}"
            raise InvalidInput(f"no pruning brings it to {allowed:,.0f}", where=self.name, why=why)
        if self.model.cost(attempt(low)) <= allowed:
            return low
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if self.model.cost(attempt(middle)) <= allowed else (middle, high)
        return high
