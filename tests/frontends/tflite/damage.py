"""Damaged TFLite files: bytes, words and lengths that are wrong, and numbers that fit nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

WORDS = (0, 1, 2, 7, 127, 128, 255, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFC, 0xFFFFFFFF)
NUMBERS = (-(2**31), -(2**16), -2, -1, 0, 1, 2, 3, 5, 127, 1000, 2**16, 2**30, 2**31 - 1)


def flipped(chance: random.Random, data: bytearray) -> bytes:
    for _ in range(chance.choice((1, 1, 2, 8))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def word_replaced(chance: random.Random, data: bytearray) -> bytes:
    """A word, where offsets and lengths lie, by one that leads elsewhere."""
    place = 4 * chance.randrange(len(data) // 4)
    word = chance.choice((*WORDS, len(data), chance.randrange(2**32)))
    data[place : place + 4] = word.to_bytes(4, "little")
    return bytes(data)


def word_moved(chance: random.Random, data: bytearray) -> bytes:
    """A word by another of the file: an offset that leads to a table of another kind."""
    here, there = (4 * chance.randrange(len(data) // 4) for _ in range(2))
    data[here : here + 4] = data[there : there + 4]
    return bytes(data)


def cut_short(chance: random.Random, data: bytearray) -> bytes:
    return bytes(data[: chance.randrange(len(data))])


def cut_out(chance: random.Random, data: bytearray) -> bytes:
    start = chance.randrange(len(data))
    del data[start : start + chance.randrange(1, 64)]
    return bytes(data)


def numbers(chance: random.Random, data: bytearray) -> bytes:
    """A sound flatbuffer of numbers that fit nothing: shapes, axes, strides, scales, indices."""
    model = schema.ModelT.InitFromPackedBuf(bytes(data), 0)
    for _ in range(chance.choice((1, 1, 2, 4))):
        owner, name = chance.choice(list(places(model)))
        value = getattr(owner, name)
        if isinstance(value, np.ndarray | list):
            made = [type(v)(v) if isinstance(v, float) else int(v) for v in value]
            made[chance.randrange(len(made))] = chance.choice(fitting(made[0], name))
            setattr(owner, name, made)
        else:
            setattr(owner, name, chance.choice(fitting(value, name)))
    builder = flatbuffers.Builder(1024)
    try:
        builder.Finish(model.Pack(builder), b"TFL3")
    except (TypeError, OverflowError, AssertionError, AttributeError):  # none that can be written
        return flipped(chance, data)
    return bytes(builder.Output())


def fitting(value: object, name: str) -> tuple[Any, ...]:
    """Numbers that can be written in place of another."""
    if isinstance(value, bool):
        return (True, False)
    if isinstance(value, float | np.floating):
        return (0.0, -1.0, 1e-38, 1e38, float("nan"), float("inf"))
    narrow = name in ("type", "builtinOptionsType", "padding", "fusedActivationFunction", "deprecatedBuiltinCode")
    return tuple(n for n in NUMBERS if not narrow or 0 <= n < 128)


def places(model: Any) -> Iterator[tuple[Any, str]]:
    """The numbers and vectors of a model: objects, and the names of their fields."""
    stack, seen = [model], set[int]()
    while stack:
        owner = stack.pop()
        if owner is None or id(owner) in seen:
            continue
        seen.add(id(owner))
        for name, value in vars(owner).items():
            if isinstance(value, list | np.ndarray) and len(value):
                if hasattr(value[0], "__dict__"):
                    stack += list(value)
                elif name != "data":
                    yield owner, name
            elif hasattr(value, "__dict__"):
                stack.append(value)
            elif isinstance(value, int | float) and not name.startswith("builtinOptions2"):
                yield owner, name


MUTATIONS: tuple[Callable[[random.Random, bytearray], bytes], ...] = (
    *(flipped, word_replaced, word_moved, cut_short, cut_out),
    *(numbers, numbers, numbers),
)


def mutant(seed: int, known: dict[str, bytes]) -> tuple[str, bytes]:
    """A file name and a damaged model."""
    chance = random.Random(seed)
    name = chance.choice(sorted(known))
    return f"{seed}_{name}", chance.choice(MUTATIONS)(chance, bytearray(known[name]))
