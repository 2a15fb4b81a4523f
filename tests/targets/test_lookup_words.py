"""Lookups of bytes in tables: in registers of AVX-512 where the table fits 16 bits, one by one elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import NATIVE

from graphopt import compile
from graphopt.ir import Array, Graph, Value, arg, constant
from graphopt.ops import LinearInteger, Lookup, Requantize
from graphopt.passes import Fuse
from graphopt.rewrite import Decline
from graphopt.targets.instructions.x86_tables import words_at
from graphopt.targets.lookup_words import LookupWords, in_words

TABLES: dict[str, Array] = {
    "int8": np.arange(-128, 128)[::-1],
    "uint8": np.arange(256) * 7 % 256,
    "int16": np.arange(256) * 257 - (1 << 15),
    "int32": np.arange(256) * 257,
    "int64": np.arange(256) - 300,
}
WIDER = {"int32": np.arange(256) * 999 - 7, "float32": np.arange(256) / 3}
SIZES = (1, 3, 16, 31, 64, 133)


def tables() -> list[Array]:
    return [data.astype(dtype) for kind in (TABLES, WIDER) for dtype, data in kind.items()]


@pytest.mark.parametrize("target", [NATIVE[0], *NATIVE[-2:]])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_every_place(dtype: str, target: str) -> None:
    """Alone, for each table and rows of any length; every element is looked up."""
    inputs = [arg(f"x{i}", dtype, (256, size)) for i, size in enumerate(SIZES)]
    graph = Graph(tuple(inputs), tuple(Lookup()(x, constant(table)) for x in inputs for table in tables()))
    places = np.arange(256).astype(np.uint8).view(dtype)
    data = [np.stack([np.roll(places, i)[np.arange(size) % 256] for i in range(256)]) for size in SIZES]
    for got, wanted in zip(compile(graph, target).run(*data), graph(*data), strict=True):
        assert (got == wanted).all()


@pytest.mark.parametrize("target", NATIVE)
def test_behind_products(target: str) -> None:
    """Of layers of any number of channels and rows, whose vectors go several at once, or are the last lanes."""
    rng, ends = np.random.default_rng(0), list[Value]()
    x = arg("x", "int8", (7, 12))
    for channels in (1, 5, 16, 40, 70):
        weight = constant(rng.integers(-127, 128, (channels, 12)).astype(np.int8))
        sums = LinearInteger(zero_point=3)(x, weight, constant(rng.integers(-999, 999, channels).astype(np.int32)))
        scale = (constant(np.array(number, np.int32)) for number in (1 << 30, 38))
        ends.append(Lookup()(Requantize(zero_point=5)(sums, *scale), constant(TABLES["int8"].astype(np.int8))))
    graph, data = Fuse()(Graph((x,), tuple(ends))), rng.integers(-128, 128, (7, 12)).astype(np.int8)
    for got, wanted in zip(compile(graph, target).run(data), graph(data), strict=True):
        assert (got == wanted).all()


def test_form() -> None:
    for dtype in ("int8", "uint8"):
        x = np.arange(256).astype(np.uint8).view(dtype)
        value = arg("x", dtype, (256,))
        for table in (data.astype(of) for of, data in TABLES.items()):
            made = in_words(Lookup(), value, constant(table))
            assert isinstance(made.op, LookupWords) and made.type.dtype == str(table.dtype)
            words = made.node.inputs[1].constant
            assert words is not None and words.itemsize == 2
            assert (made.op.evaluate(x, words) == Lookup().evaluate(x, table)).all()
        for of, data in WIDER.items():
            with pytest.raises(Decline):
                in_words(Lookup(), value, constant(data.astype(of)))


def test_meaning_of_the_instruction() -> None:
    low, high, places = np.arange(64) % 32, 100 + np.arange(64) % 32, np.arange(64) * 5
    assert (words_at(low, places, high) == [p if p < 32 else 68 + p for p in places % 64]).all()
