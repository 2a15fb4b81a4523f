"""Convolutions and matrix products of 8 bits by VPDPBUSD: four elements, unsigned, are one word.

Signed elements are 128 more in scratch; the bias has 128 times the sum of its weights less.
"""

from __future__ import annotations

from graphopt.ops import ConvInteger, ConvTransposeInteger, LinearInteger, MatMulInteger
from graphopt.targets.instructions.vnni import ADD_FOUR_PRODUCTS
from graphopt.targets.kernels.base import Kernel, Task, kernel_rule
from graphopt.targets.kernels.word_matmul import matmul_by_words
from graphopt.targets.kernels.word_products import conv_by_words, linear_by_words
from graphopt.targets.kernels.word_transposed import conv_transpose_by_words
from graphopt.targets.kernels.words import Words

FOURS = Words(4, "uint8", "int8", ADD_FOUR_PRODUCTS.call)


@kernel_rule(ConvInteger, isa="vnni", strided=True)
def conv_by_fours(task: Task[ConvInteger]) -> Kernel:
    return conv_by_words(task, FOURS)


@kernel_rule(LinearInteger, isa="vnni", strided=True)
def linear_by_fours(task: Task[LinearInteger]) -> Kernel:
    return linear_by_words(task, FOURS)


@kernel_rule(MatMulInteger, isa="vnni", strided=True)
def matmul_by_fours(task: Task[MatMulInteger]) -> Kernel:
    return matmul_by_words(task, FOURS)


@kernel_rule(ConvTransposeInteger, isa="vnni", strided=True)
def conv_transpose_by_fours(task: Task[ConvTransposeInteger]) -> Kernel:
    return conv_transpose_by_words(task, FOURS)
