"""The pipelines that are given: the clean-up of a float graph, and what every program gets by default.

Passes of ``quantize`` run the first and are run by the second, so they import this module whole, not its functions.
"""

from __future__ import annotations

from graphopt.ir import Graph
from graphopt.passes.base import Pass
from graphopt.passes.cleanup import CommonSubexpressions, RemoveIdentities, SimplifyReshapes
from graphopt.passes.fold import FoldAffine, FoldBatchNorm, FoldConstants, FoldPads
from graphopt.passes.fuse import Fuse
from graphopt.passes.pipeline import Pipeline
from graphopt.passes.quantize.lower import LowerInteger


def float_pipeline() -> list[Pass]:
    """Clean up a float graph before it is pruned, quantized or fused: clean up, fold, clean up what that left.

    Pads first, since a scale folds through the padding of a conv, but not through a pad in front of it;
    and last, for those behind which a norm was folded. Norms again after the arithmetic between them
    and their layers is gone.
    """
    return [
        RemoveIdentities(),
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


def default_pipeline() -> list[Pass]:
    """Make integer what a file has quantized, before its constants could fold to floats; clean up, fold, and fuse."""
    return [RemoveIdentities(), LowerInteger(), *float_pipeline(), Fuse()]


def optimize(graph: Graph, *, check: bool = False) -> Graph:
    """The graph after the default pipeline; ``check`` holds every pass to its contract on random inputs."""
    return Pipeline(default_pipeline(), check=check)(graph)
