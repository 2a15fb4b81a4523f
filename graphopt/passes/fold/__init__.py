"""Passes that compute at compile time whatever does not depend on the inputs."""

from graphopt.passes.fold.affine import FoldAffine
from graphopt.passes.fold.batch_norm import FoldBatchNorm
from graphopt.passes.fold.constants import FoldConstants
from graphopt.passes.fold.pads import FoldPads

__all__ = ["FoldAffine", "FoldBatchNorm", "FoldConstants", "FoldPads"]
