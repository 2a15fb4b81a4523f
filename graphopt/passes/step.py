"""What a pipeline did in one step."""

from __future__ import annotations

from dataclasses import dataclass

from graphopt.ir import Graph
from graphopt.passes.base import Pass


@dataclass(frozen=True)
class Step:
    """One pass, with the graphs before and after it and the seconds that it took."""

    pass_: Pass
    before: Graph
    after: Graph
    seconds: float
