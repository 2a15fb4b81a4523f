"""Convolution and matrix product of 8 bits by PMADDWD: two elements of 16 bits are one word.

Weights of four bits go by PMADDUBSW, four elements of 8 bits to a word, which sums two products in 16 bits.
"""

from __future__ import annotations

from tvm import tirx

from graphopt.ops import ConvInteger, ConvTransposeInteger, LinearInteger
from graphopt.targets.instructions.x86 import MULTIPLY_ADD_BYTES, MULTIPLY_ADD_PAIRS
from graphopt.targets.kernels.base import Kernel, Task, kernel_rule
from graphopt.targets.kernels.word_products import conv_by_words, linear_by_words
from graphopt.targets.kernels.word_transposed import conv_transpose_by_words
from graphopt.targets.kernels.words import ShortSums, Words
from graphopt.targets.target import Target
from graphopt.targets.tir import Expr


def add_pair(target: Target, lanes: int, total: Expr, pair: Expr, weights: Expr) -> Expr:
    return total + MULTIPLY_ADD_PAIRS.call(target, lanes, pair, weights)


def add_short_pairs(target: Target, lanes: int, total: Expr, four: Expr, weights: Expr) -> Expr:
    return total + MULTIPLY_ADD_BYTES.call(target, lanes, four, weights)


def widen_pairs(target: Target, lanes: int, total: Expr, pairs: Expr) -> Expr:
    return add_pair(target, lanes, total, pairs, tirx.const(1, str(pairs.ty)))


FOUR_BITS = Words(4, "uint8", "int8", add_short_pairs, ShortSums(8, widen_pairs))
"""For weights of four bits: two products of them are at most 2 * 255 * 7, and eight such sums fit 16 bits."""
PAIRS = Words(2, "int16", "int16", add_pair, of_four_bits=FOUR_BITS)


@kernel_rule(ConvInteger, isa="x86", strided=True)
def conv_by_pairs(task: Task[ConvInteger]) -> Kernel:
    return conv_by_words(task, PAIRS)


@kernel_rule(LinearInteger, isa="x86", strided=True)
def linear_by_pairs(task: Task[LinearInteger]) -> Kernel:
    return linear_by_words(task, PAIRS)


@kernel_rule(ConvTransposeInteger, isa="x86", strided=True)
def conv_transpose_by_pairs(task: Task[ConvTransposeInteger]) -> Kernel:
    return conv_transpose_by_words(task, PAIRS)
