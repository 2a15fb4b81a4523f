"""Budgets of pruning, and the costs that they limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from graphopt.errors import InvalidInput
from graphopt.ir import Constant, Graph
from graphopt.ops import stored_bytes
from graphopt.ops.macs import count_macs

HALVINGS = 10
"""How often the range of the ratio is halved: then the ratio is known to a thousandth."""


class CostModel(Protocol):
    """The cost of a graph; it must fall when channels are removed. ``graphopt.cost`` asks a target."""

    def cost(self, graph: Graph) -> float: ...


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates at a batch of one."""

    def cost(self, graph: Graph) -> float:
        return float(count_macs(graph))


@dataclass(frozen=True)
class ConstantBytes:
    """The bytes of all constants as programs store them: equal ones count once."""

    def cost(self, graph: Graph) -> float:
        constants = {node.op: node.results[0] for node in graph.nodes if isinstance(node.op, Constant)}
        return float(sum(map(stored_bytes, constants.values())))


@dataclass(frozen=True)
class Budget:
    """A cost model, the present cost, and the target."""

    name: str
    model: CostModel
    now: float
    target: float

    @classmethod
    def of(cls, name: str, target: float, model: CostModel, graph: Graph) -> Budget:
        """A budget for a graph; a target up to 1 is a fraction of the graph's present cost."""
        now = model.cost(graph)
        return cls(name, model, now, target * now if target <= 1 else target)

    def smallest_ratio(self, attempt: Callable[[float], Graph], step: int, steps: int) -> float:
        """The smallest ratio, to a thousandth, for which the graph ``attempt(ratio)`` meets the budget of this step.

        The budget falls linearly from the present cost to the target at the last step. Raises ``InvalidInput`` if no
        ratio meets it.
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
