"""The clean-up of a float graph: the first part of the default pipeline, and of quantization."""

from __future__ import annotations

from graphopt.passes.base import Pass
from graphopt.passes.cleanup import CommonSubexpressions, RemoveIdentities, SimplifyReshapes
from graphopt.passes.fold import FoldAffine, FoldBatchNorm, FoldConstants, FoldPads


def float_pipeline() -> list[Pass]:
    """Clean up a float graph before it is pruned, quantized or fused: clean up, fold, and clean up again.

    Pads fold first, since a scale folds through the padding of a conv, but not through a separate pad.
    They fold last too, for pads after which a norm was folded. Norms fold again when the arithmetic between
    them and their layers has been folded.
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
