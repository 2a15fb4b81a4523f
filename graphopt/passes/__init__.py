"""Passes, pipelines, and the contracts that passes promise."""

from graphopt.passes.base import PASSES, Context, Note, Pass, RewritePass
from graphopt.passes.bisect import Culprit, bisect
from graphopt.passes.cleanup import CommonSubexpressions, RemoveIdentities, SimplifyReshapes
from graphopt.passes.contract import Bounded, Close, Contract, Exact, Masked, check_contract
from graphopt.passes.default_pipeline import default_pipeline, optimize
from graphopt.passes.fold import FoldAffine, FoldBatchNorm, FoldConstants, FoldPads
from graphopt.passes.fuse import Fuse
from graphopt.passes.norms import InsertBatchNorm, ReestimateBatchNorm
from graphopt.passes.pipeline import Pipeline
from graphopt.passes.prune import (
    CompressWeights,
    Factorize,
    PruneChannels,
    PruneWeights,
    RemoveDeadChannels,
    analyze_sensitivity,
)
from graphopt.passes.quantize import (
    CorrectBias,
    EqualizeLayers,
    InsertQuantization,
    LowerInteger,
    MixedPrecision,
    QuantizationReport,
    Quantize,
    RoundWeights,
    StoreHalf,
    analyze_quantization,
)
from graphopt.passes.step import Step
from graphopt.passes.text import parse_passes

__all__ = [
    "PASSES",
    "Bounded",
    "Close",
    "CommonSubexpressions",
    "CompressWeights",
    "Context",
    "Contract",
    "CorrectBias",
    "Culprit",
    "EqualizeLayers",
    "Exact",
    "Factorize",
    "FoldAffine",
    "FoldBatchNorm",
    "FoldConstants",
    "FoldPads",
    "Fuse",
    "InsertBatchNorm",
    "InsertQuantization",
    "LowerInteger",
    "Masked",
    "MixedPrecision",
    "Note",
    "Pass",
    "Pipeline",
    "PruneChannels",
    "PruneWeights",
    "QuantizationReport",
    "Quantize",
    "ReestimateBatchNorm",
    "RemoveDeadChannels",
    "RemoveIdentities",
    "RewritePass",
    "RoundWeights",
    "SimplifyReshapes",
    "Step",
    "StoreHalf",
    "analyze_quantization",
    "analyze_sensitivity",
    "bisect",
    "check_contract",
    "default_pipeline",
    "optimize",
    "parse_passes",
]
