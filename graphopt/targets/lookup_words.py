"""Lookups in tables of words, which stand in registers: of 256 words, in eight of AVX-512.

Other machines take the elements one by one, and so do tables that need more bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from tvm import tirx

from graphopt.ir import Array, TensorType, Value, constant
from graphopt.ops import Lookup
from graphopt.rewrite import Decline
from graphopt.targets.forms import form_rule
from graphopt.targets.instructions.x86_tables import PERMUTE_WORDS, WORDS
from graphopt.targets.requantize_sums import splat
from graphopt.targets.scalars import scalar_rule
from graphopt.targets.tir import Expr, Point, Tensor, cast, lanes_of

PLACES = 256


class LookupWords(Lookup):
    """table[x as a byte without a sign], in ``to``; x is int8 or uint8, table [256] of 16 bits.

    It stands in regions that are lowered, never in graphs, and has therefore no name of its own in the text form.
    """

    name: ClassVar[str] = Lookup.name

    to: str

    def infer(self, *inputs: TensorType) -> TensorType:
        return inputs[0].with_dtype(self.to)

    def evaluate(self, *inputs: Array) -> Array:
        x, table = inputs
        return np.asarray(table[x.view(np.uint8)].astype(self.to))


@form_rule(Lookup, isa="avx512")
def in_words(op: Lookup, x: Value, table: Value) -> Value:
    """The form of a lookup in a constant table whose integers fit 16 bits, with or without a sign."""
    data = table.constant
    if data is None or data.dtype.kind not in "iu":
        raise Decline("its table has no constant integers")
    dtype = next((name for name in ("int16", "uint16") if (data.astype(name) == data).all()), None)
    if dtype is None:
        raise Decline("its table needs more than 16 bits")
    by_byte = np.roll(data, PLACES // 2) if x.type.dtype == "int8" else data
    return LookupWords(to=str(data.dtype))(x, constant(by_byte.astype(dtype), like=table))


@scalar_rule(LookupWords)
def word_at(op: LookupWords, x: Expr, table: Tensor) -> Expr:
    return cast(table.load(Point((cast(cast(x, "uint8"), "int32"),))), op.to)


@scalar_rule(LookupWords, isa="llvm")
def words_at(op: LookupWords, x: Expr, table: Tensor) -> Expr:
    """Register by register of places; those of fewer lanes are repeated."""
    lanes = lanes_of(x)
    if lanes == 1:
        return word_at(op, x, table)
    found = [permuted(table, piece) for piece in pieces(cast(x, "uint8"), lanes)]
    return cast(tirx.Shuffle(found, list(range(lanes))), op.to)


def pieces(x: Expr, lanes: int) -> Iterator[Expr]:
    """Vectors of as many lanes as a register has words, of the lanes of a vector; a last one that is short repeats."""
    for start in range(0, lanes, WORDS):
        count = min(WORDS, lanes - start)
        part = tirx.Shuffle([x], list(range(start, start + count)))
        yield tirx.Shuffle([part] * -(-WORDS // count), list(range(WORDS)))


def permuted(table: Tensor, places: Expr) -> Expr:
    """The words of a table at the places in a vector: of each quarter, and then by the two bits that choose one."""
    index = cast(places, "int16")
    rows = [table.load(Point((start,), 0, WORDS)) for start in range(0, PLACES, WORDS)]
    if table.dtype != "int16":
        rows = [tirx.reinterpret(f"int16x{WORDS}", row) for row in rows]
    found = [PERMUTE_WORDS.intrinsic(16, low, index, high) for low, high in zip(rows[::2], rows[1::2], strict=True)]
    for bit in (PLACES // 4, PLACES // 2):
        chosen = tirx.NE(tirx.bitwise_and(index, splat(bit, index)), splat(0, index))
        found = [tirx.Select(chosen, high, low) for low, high in zip(found[::2], found[1::2], strict=True)]
    return found[0] if table.dtype == "int16" else tirx.reinterpret(f"{table.dtype}x{WORDS}", found[0])
