"""The default pipeline: the passes that run if none are chosen."""

from __future__ import annotations

from graphopt.ir import Graph
from graphopt.passes.base import Pass
from graphopt.passes.cleanup import RemoveIdentities
from graphopt.passes.float_pipeline import float_pipeline
from graphopt.passes.fuse import Fuse
from graphopt.passes.pipeline import Pipeline
from graphopt.passes.quantize.lower import LowerInteger


def default_pipeline() -> list[Pass]:
    """Lower quantized operators first, before their constants could fold to floats; then clean up, fold and fuse."""
    return [RemoveIdentities(), LowerInteger(), *float_pipeline(), Fuse()]


def optimize(graph: Graph, *, check: bool = False) -> Graph:
    """The graph after the default pipeline; ``check`` checks the contract of every pass on random inputs."""
    return Pipeline(default_pipeline(), check=check)(graph)
