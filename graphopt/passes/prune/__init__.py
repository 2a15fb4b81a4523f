"""Passes that remove channels, weights and ranks for good."""

from graphopt.passes.prune.budget import CostModel
from graphopt.passes.prune.channels import PruneChannels
from graphopt.passes.prune.coupling import Coupling, Group, couple
from graphopt.passes.prune.criteria import Activation, BatchNormScale, GeometricMedian, Magnitude, Random
from graphopt.passes.prune.importance import Importance, ScoreFunction, Scores
from graphopt.passes.prune.remove import Removal

__all__ = [
    "Activation",
    "BatchNormScale",
    "CostModel",
    "Coupling",
    "GeometricMedian",
    "Group",
    "Importance",
    "Magnitude",
    "PruneChannels",
    "Random",
    "Removal",
    "ScoreFunction",
    "Scores",
    "couple",
]
