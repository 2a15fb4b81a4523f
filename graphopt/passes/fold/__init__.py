"""Passes that compute before the program runs what does not depend on its inputs."""

from graphopt.passes.fold.affine import FoldAffine
from graphopt.passes.fold.batch_norm import FoldBatchNorm
from graphopt.passes.fold.constants import FoldConstants
from graphopt.passes.fold.pads import FoldPads

__all__ = ["FoldAffine", "FoldBatchNorm", "FoldConstants", "FoldPads"]
