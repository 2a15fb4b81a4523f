"""Weights of words in memory: as bytes, or in four bits.

Of those in four bits, a byte has two that are loaded together, half of the vectors apart: so a mask and a shift give
vectors in their order. They are 8 more there than they are, so that none is negative.
"""

from __future__ import annotations

import numpy as np
from tvm import tirx

from graphopt.ir import Array, Value
from graphopt.ops import StoredForm, stored_form
from graphopt.rewrite import Decline
from graphopt.targets.tir import Expr, Point, Tensor, cast, joined

MORE = 8
"""What four bits are more than the weight."""


class WholeWords:
    """A byte for each weight."""

    def encode(self, words: Array) -> Array:
        """Weights [..., words that are loaded together, elements of a word] as bytes."""
        return words

    def load(self, weight: Tensor, first: Expr, vectors: int, lanes: int, size: int) -> list[Expr]:
        """Vectors of so many words of ``size`` weights, int8, from a word on."""
        starts = [first + v * lanes for v in range(vectors)]
        return [weight.load(Point((start * size,), 0, lanes * size)) for start in starts]


class HalvedWords(WholeWords):
    """Four bits for each weight."""

    def encode(self, words: Array) -> Array:
        together = words.reshape(*words.shape[:-2], 2, -1).astype(np.int64) + MORE
        return np.asarray((together[..., 0, :] | together[..., 1, :] << 4).astype(np.uint8))

    def load(self, weight: Tensor, first: Expr, vectors: int, lanes: int, size: int) -> list[Expr]:
        half = vectors * lanes * size // 2
        both = weight.load(Point((first * (size // 2),), 0, half))
        low, high = tirx.bitwise_and(both, splat(15, half)), tirx.shift_right(both, splat(4, half))
        whole = joined([cast(bits - splat(MORE, half), "int8") for bits in (low, high)])
        count = lanes * size
        return [tirx.Shuffle([whole], list(range(v * count, (v + 1) * count))) for v in range(vectors)]


def splat(value: int, lanes: int) -> Expr:
    return tirx.const(value, f"uint8x{lanes}")


WHOLE, HALVED = WholeWords(), HalvedWords()
FORMS = {StoredForm.WHOLE: WHOLE, StoredForm.NIBBLES: HALVED}


def form_of(weight: Value) -> WholeWords:
    """The form of constant weights; raises ``Decline`` for others."""
    stored = stored_form(weight)
    if stored not in FORMS:
        raise Decline(f"its weights are stored as {stored.value}")
    return FORMS[stored]
