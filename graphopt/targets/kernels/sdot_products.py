"""Convolutions and matrix products of 8 bits by SDOT: four elements, signed, are one word.

Unsigned elements are 128 less in scratch; the bias has 128 times the sum of its weights more.
"""

from __future__ import annotations

from graphopt.ops import ConvInteger, ConvTransposeInteger, LinearInteger, MatMulInteger
from graphopt.targets.instructions.dotprod import ADD_FOUR_SIGNED_PRODUCTS
from graphopt.targets.kernels.base import Kernel, Task, kernel_rule
from graphopt.targets.kernels.word_matmul import matmul_by_words
from graphopt.targets.kernels.word_products import conv_by_words, linear_by_words
from graphopt.targets.kernels.word_transposed import conv_transpose_by_words
from graphopt.targets.kernels.words import Words

SIGNED_FOURS = Words(4, "int8", "int8", ADD_FOUR_SIGNED_PRODUCTS.call)


@kernel_rule(ConvInteger, isa="dotprod", strided=True)
def conv_by_signed_fours(task: Task[ConvInteger]) -> Kernel:
    return conv_by_words(task, SIGNED_FOURS)


@kernel_rule(LinearInteger, isa="dotprod", strided=True)
def linear_by_signed_fours(task: Task[LinearInteger]) -> Kernel:
    return linear_by_words(task, SIGNED_FOURS)


@kernel_rule(MatMulInteger, isa="dotprod", strided=True)
def matmul_by_signed_fours(task: Task[MatMulInteger]) -> Kernel:
    return matmul_by_words(task, SIGNED_FOURS)


@kernel_rule(ConvTransposeInteger, isa="dotprod", strided=True)
def conv_transpose_by_signed_fours(task: Task[ConvTransposeInteger]) -> Kernel:
    return conv_transpose_by_words(task, SIGNED_FOURS)
