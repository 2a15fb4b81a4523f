"""Quantisation: parameters from data, quantize and dequantize around operators, operators on integers."""

from graphopt.passes.quantize.lower import LowerInteger
from graphopt.passes.quantize.quantize import InsertQuantization, Quantize

__all__ = ["InsertQuantization", "LowerInteger", "Quantize"]
