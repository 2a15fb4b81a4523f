"""The passes that every program gets unless its author says otherwise."""

from __future__ import annotations

from graphopt.ir import Graph
from graphopt.passes.base import Pass
from graphopt.passes.cleanup import CommonSubexpressions, RemoveIdentities, SimplifyReshapes
from graphopt.passes.fold import FoldAffine, FoldBatchNorm, FoldConstants, FoldPads
from graphopt.passes.fuse import Fuse
from graphopt.passes.pipeline import Pipeline
from graphopt.passes.quantize.lower import LowerInteger


def default_pipeline() -> list[Pass]:
    """Clean up and fold, then fuse."""
    return [*float_pipeline(), Fuse()]


def float_pipeline() -> list[Pass]:
    """Clean up, fold, clean up what that left: what comes before pruning ends and quantisation begins.

    Pads first, since a scale folds through the padding of a conv, but not through a pad in front of it;
    and last, for those behind which a norm was folded. Norms again after the arithmetic between them
    and their layers is gone. What a file has quantized becomes integer before its constants could fold to floats.
    """
    return [
        RemoveIdentities(),
        LowerInteger(),
        FoldConstants(),
        SimplifyReshapes(),
        CommonSubexpressions(),
        FoldPads(),
        FoldBatchNorm(),
        FoldAffine(),
        FoldBatchNorm(),
        FoldPads(),
        RemoveIdentities(),
        CommonSubexpressions(),
    ]


def optimize(graph: Graph, *, check: bool = False) -> Graph:
    """The graph after the default pipeline; ``check`` holds every pass to its contract on random inputs."""
    return Pipeline(default_pipeline(), check=check)(graph)
