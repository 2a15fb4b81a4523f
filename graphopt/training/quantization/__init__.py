"""Quantization-aware training: a module that computes a program's integers, with gradients for what they stand for."""

from graphopt.training.quantization.aware import quantization_aware
from graphopt.training.quantization.module import QuantizedModule
from graphopt.training.quantization.prepare import quantized_module

__all__ = ["QuantizedModule", "quantization_aware", "quantized_module"]
