"""What a graph costs on a target: a ``CostModel`` for pruning to a budget."""

from __future__ import annotations

from dataclasses import dataclass

from graphopt.errors import InvalidInput
from graphopt.ir import Graph, bind_batch
from graphopt.passes import optimize
from graphopt.passes.contract import random_inputs
from graphopt.targets.driver import compile
from graphopt.targets.target import Target

UNITS = ("instructions", "bytes", "ram")


@dataclass(frozen=True)
class BoardCost:
    """A ``CostModel``, as ``cost`` gives it."""

    target: str | Target
    unit: str

    def cost(self, graph: Graph) -> float:
        """The cost of a graph at a batch of one, once it is optimized.

        Raises ``InvalidInput`` if instructions are neither predicted nor counted for the target.
        """
        bound = bind_batch(graph, 1)
        program = compile(optimize(bound), self.target)
        if self.unit == "ram":
            return float(program.manifest["workspace_bytes"])
        predicted = program.manifest.get("predicted")
        if self.unit == "bytes":
            code = program.sizes.code if predicted is None else predicted["code_bytes"]
            return float(code + program.manifest["weight_bytes"])
        if predicted is not None:
            return float(predicted["instructions"])
        count = program.measure(random_inputs(bound, seed=0)).instructions
        if count is None:
            raise InvalidInput("it does not count instructions", where=program.manifest["target"])
        return float(count)


def cost(target: str | Target, unit: str = "instructions") -> BoardCost:
    """What a target pays for a graph, as a ``CostModel``: ``PruneChannels(target_cost=0.5, cost=cost("cortex-m4"))``.

    ``unit`` is ``instructions`` of one inference, ``bytes`` of flash, code and weights, or ``ram``, the bytes of the
    workspace. Where the costs of kernels are known (docs/microcontrollers.md) nothing is compiled to machine code and
    nothing runs; else the code is compiled, and for instructions it runs in the target's emulator. Raises
    ``InvalidInput`` for another unit.
    """
    if unit not in UNITS:
        raise InvalidInput(f"unknown unit {unit!r}", where="cost", advice=f"one of {', '.join(UNITS)}")
    return BoardCost(target, unit)
