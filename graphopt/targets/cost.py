"""The cost of a graph on a target, from its compiled program: a ``CostModel`` for pruning to a budget."""

from __future__ import annotations

from dataclasses import dataclass

from graphopt.errors import InvalidInput
from graphopt.ir import Graph, bind_batch
from graphopt.passes import optimize
from graphopt.passes.contract import random_inputs
from graphopt.targets.driver import compile
from graphopt.targets.target import Target

UNITS = ("instructions", "flash", "workspace")


@dataclass(frozen=True)
class TargetCost:
    """Instructions of one inference, counted by the target's emulator, or bytes of flash (code, weights) or workspace.

    Each call optimizes and compiles the graph; for instructions it also runs the program.
    """

    target: str | Target
    unit: str = "instructions"

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise InvalidInput(f"unknown unit {self.unit!r}", where="TargetCost", advice=f"one of {', '.join(UNITS)}")

    def cost(self, graph: Graph) -> float:
        """The cost of a graph. Raises ``InvalidInput`` if the target cannot count instructions."""
        bound = bind_batch(graph, 1)
        program = compile(optimize(bound), self.target)
        if self.unit == "instructions":
            count = program.measure(random_inputs(bound, seed=0)).instructions
            if count is None:
                raise InvalidInput("it does not count instructions", where=program.manifest["target"])
            return float(count)
        sizes = program.sizes
        return float(sizes.workspace if self.unit == "workspace" else sizes.code + sizes.weights)
