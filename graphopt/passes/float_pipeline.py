"""The clean-up of a float graph, the first part of what every program gets, and what quantization starts from."""

from __future__ import annotations

from graphopt.passes.base import Pass
from graphopt.passes.cleanup import CommonSubexpressions, RemoveIdentities, SimplifyReshapes
from graphopt.passes.fold import FoldAffine, FoldBatchNorm, FoldConstants, FoldPads


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
