"""What every program gets when no passes are chosen."""

from __future__ import annotations

from graphopt.ir import Graph
from graphopt.passes.base import Pass
from graphopt.passes.cleanup import RemoveIdentities
from graphopt.passes.float_pipeline import float_pipeline
from graphopt.passes.fuse import Fuse
from graphopt.passes.pipeline import Pipeline
from graphopt.passes.quantize.lower import LowerInteger


def default_pipeline() -> list[Pass]:
    """Make integer what a file has quantized, before its constants could fold to floats; clean up, fold, and fuse."""
    return [RemoveIdentities(), LowerInteger(), *float_pipeline(), Fuse()]


def optimize(graph: Graph, *, check: bool = False) -> Graph:
    """The graph after the default pipeline; ``check`` holds every pass to its contract on random inputs."""
    return Pipeline(default_pipeline(), check=check)(graph)
