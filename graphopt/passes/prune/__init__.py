"""Passes that remove channels, weights and ranks."""

from graphopt.passes.prune.budget import ConstantBytes, CostModel, Macs
from graphopt.passes.prune.channels import PruneChannels
from graphopt.passes.prune.compress import CompressWeights
from graphopt.passes.prune.coupling import ChannelGroup, Coupling, couple
from graphopt.passes.prune.criteria import CRITERIA, Activation, BatchNormScale, GeometricMedian, Magnitude, Random
from graphopt.passes.prune.dead import RemoveDeadChannels
from graphopt.passes.prune.factorize import Factorize
from graphopt.passes.prune.importance import Importance, ScoreFunction, Scores
from graphopt.passes.prune.left import SignalLeft, signal_left
from graphopt.passes.prune.maps import channel_map, shrinks
from graphopt.passes.prune.remove import Removal
from graphopt.passes.prune.sensitivity import Sensitivity, SensitivityReport, analyze_sensitivity
from graphopt.passes.prune.sparse import Compressed, compress
from graphopt.passes.prune.weights import PruneWeights

__all__ = [
    "CRITERIA",
    "Activation",
    "BatchNormScale",
    "ChannelGroup",
    "CompressWeights",
    "Compressed",
    "ConstantBytes",
    "CostModel",
    "Coupling",
    "Factorize",
    "GeometricMedian",
    "Importance",
    "Macs",
    "Magnitude",
    "PruneChannels",
    "PruneWeights",
    "Random",
    "Removal",
    "RemoveDeadChannels",
    "ScoreFunction",
    "Scores",
    "Sensitivity",
    "SensitivityReport",
    "SignalLeft",
    "analyze_sensitivity",
    "channel_map",
    "compress",
    "couple",
    "shrinks",
    "signal_left",
]
