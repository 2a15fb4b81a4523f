"""Quantization: parameters from data, quantize and dequantize around operators, operators on integers."""

from graphopt.passes.quantize.analyze import QuantizationReport, analyze_quantization
from graphopt.passes.quantize.lower import LowerInteger
from graphopt.passes.quantize.mixed import MixedPrecision
from graphopt.passes.quantize.quantize import InsertQuantization, Quantize
from graphopt.passes.quantize.recover.correct_bias import CorrectBias
from graphopt.passes.quantize.recover.equalize import EqualizeLayers
from graphopt.passes.quantize.recover.round_weights import RoundWeights
from graphopt.passes.quantize.store_half import StoreHalf

__all__ = [
    "CorrectBias",
    "EqualizeLayers",
    "InsertQuantization",
    "LowerInteger",
    "MixedPrecision",
    "QuantizationReport",
    "Quantize",
    "RoundWeights",
    "StoreHalf",
    "analyze_quantization",
]
