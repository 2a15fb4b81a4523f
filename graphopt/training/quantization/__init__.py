"""Quantization-aware training: a module computes the integers of a program, with gradients for float weights."""

from graphopt.training.quantization.aware import quantization_aware
from graphopt.training.quantization.module import QuantizedModule
from graphopt.training.quantization.prepare import quantized_module

__all__ = ["QuantizedModule", "quantization_aware", "quantized_module"]
