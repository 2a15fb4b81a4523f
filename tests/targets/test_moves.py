"""Moves of elements as copies from strides to other strides: every way of copying, exact, in every dtype and layout."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from compiling import NATIVE, in_long_runs

import graphopt
from graphopt.ir import Graph, Value, arg, constant
from graphopt.ops import Concat, Expand, Gather, MaxPool, Pad, Reshape, Resize, Slice, Tile, Transpose
from graphopt.runtime import Program

TARGETS = [NATIVE[-1], *in_long_runs(NATIVE[0], "aarch64", "armv7")]
SHAPES = {
    "int8": (1, 17, 4, 33),
    "int16": (1, 3, 8, 16),
    "float32": (2, 5, 9, 19),
    "int64": (1, 6, 5, 9),
    "bool": (1, 5, 4, 17),
}
PERMS = [(0, 2, 3, 1), (0, 3, 1, 2), (0, 3, 2, 1), (0, 1, 3, 2), (3, 2, 1, 0), (1, 2, 0, 3)]


def moves(x: Value) -> Iterator[Value]:
    """Each kind of move of a value of four axes."""
    (n, c, h, w), fill = x.type.static_shape, 1 if x.type.dtype == "bool" else -3
    for perm in PERMS:
        yield Transpose(perm=perm)(x)
    for axis in range(4):
        yield Concat(axis=axis)(x, x)
    for axis, step in ((1, 2), (2, 1), (3, 2), (3, 3), (3, 5)):
        yield Slice(axis=axis, start=1, stop=x.type.static_shape[axis], step=step)(x)
    yield Pad(pads=(0, 0, 1, 2, 0, 0, 2, 1), value=fill)(x)
    yield Pad(pads=(0, 3, 0, 0, 1, 0, 0, 5), value=fill)(x)
    yield Pad(pads=(0, 0, 0, 4, 0, 2, 0, 0), value=fill)(x)
    yield Tile(repeats=(1, 2, 1, 3))(x)
    yield Expand(shape=(n, c, h, 11))(Slice(axis=3, start=2, stop=3)(x))
    yield Expand(shape=(n, 7, h, w))(Slice(axis=1, start=0, stop=1)(x))
    for places in ([2, 1, 0, *range(w), w - 2, w - 3], list(range(w))[::-1], [3, 3, 3, 0, -1]):
        yield Gather(axis=3)(x, constant(np.array(places)))
    yield Gather(axis=1)(x, constant(np.array([0, c - 1, 1, 1])))
    for factors in ((2, 2), (1, 3), (3, 1)):
        yield Resize(sizes=(factors[0] * h, factors[1] * w))(x)
    yield Resize(sizes=(h, 1))(x)


def rearranged(x: Value) -> Iterator[Value]:
    """Pixels shuffled there and back, channels shuffled, windows cut out."""
    n, c, h, w = x.type.static_shape
    for split, perm, shape in (
        ((n, c // 4, 2, 2, h, w), (0, 1, 4, 2, 5, 3), (n, c // 4, 2 * h, 2 * w)),
        ((n, 2, 2, c // 4, h, w), (0, 3, 4, 1, 5, 2), (n, c // 4, 2 * h, 2 * w)),
        ((n, c, h // 2, 2, w // 2, 2), (0, 3, 5, 1, 2, 4), (n, 4 * c, h // 2, w // 2)),
        ((n, 4, c // 4, h, w), (0, 2, 1, 3, 4), (n, c, h, w)),
        ((n, c, h // 2, 2, w // 2, 2), (0, 2, 4, 3, 5, 1), (n * (h // 2) * (w // 2), 4, c)),
    ):
        yield Reshape(shape=shape)(Transpose(perm=perm)(Reshape(shape=split)(x)))


def drawn(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    integers = np.random.default_rng(0).integers(-100, 100, shape)
    return (integers % 2 == 0) if dtype == "bool" else integers.astype(dtype)


def check(graph: Graph, target: str, x: np.ndarray) -> Program:
    program = graphopt.compile(graph, target)
    results = program.run(x)
    for got, want in zip(results, graph(x=x), strict=True):
        np.testing.assert_array_equal(got, want)
    return program


@pytest.mark.parametrize("dtype", SHAPES)
@pytest.mark.parametrize("target", TARGETS)
def test_every_move_of_rows(target: str, dtype: str) -> None:
    x = arg("x", dtype, SHAPES[dtype])
    check(Graph((x,), tuple(moves(x))), target, drawn(dtype, SHAPES[dtype]))


def pooled(x: Value) -> Value:
    """The same elements, channels last."""
    return MaxPool(kernel=(1, 1))(x)


@pytest.mark.parametrize("dtype", ["int8", "float32"])
@pytest.mark.parametrize("target", TARGETS)
def test_every_move_with_channels_last(target: str, dtype: str) -> None:
    shape = (1, 8, 6, 10)
    x = arg("x", dtype, shape)
    ends = [*moves(pooled(x)), *rearranged(pooled(x)), *rearranged(x)]
    check(
        Graph((x,), tuple(end if i % 2 or end.type.rank < 4 else pooled(end) for i, end in enumerate(ends))),
        target,
        drawn(dtype, shape),
    )


def test_reshapes_around_a_transpose_are_one_copy_and_leave_the_layout_to_windows() -> None:
    x = arg("x", "float32", (1, 8, 6, 10))
    shuffled = next(rearranged(pooled(x)))
    program = check(Graph((x,), (pooled(shuffled), shuffled)), NATIVE[0], drawn("float32", (1, 8, 6, 10)))
    assert [row["kernel"] for row in program.manifest["kernels"]] == ["max_pool", "rearrange", "max_pool_1"]


def chain(x: Value, chance: np.random.Generator) -> Value:
    """Transposes and reshapes in a row, drawn; reshapes split an axis, merge two, or put in an axis of one."""
    for _ in range(int(chance.integers(2, 7))):
        shape = list(x.type.static_shape)
        at = int(chance.integers(len(shape)))
        kind = chance.choice(["turn", "turn", "split", "merge", "one"])
        if kind == "turn":
            x = Transpose(perm=tuple(map(int, chance.permutation(len(shape)))))(x)
        elif kind == "split" and shape[at] % 2 == 0:
            x = Reshape(shape=(*shape[:at], 2, shape[at] // 2, *shape[at + 1 :]))(x)
        elif kind == "merge" and at:
            x = Reshape(shape=(*shape[: at - 1], shape[at - 1] * shape[at], *shape[at + 1 :]))(x)
        elif len(shape) < 6:
            x = Reshape(shape=(*shape[:at], 1, *shape[at:]))(x)
    return x


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_moves_in_a_row(dtype: str) -> None:
    """A move that joined its neighbours is no longer there for the next one to join."""
    x, chance = arg("x", dtype, (4, 1, 6, 10)), np.random.default_rng(0)
    turned = Reshape(shape=(1, 4, 60))(Transpose(perm=(1, 0, 2, 3))(x))
    ends = [Transpose(perm=(2, 0, 1))(turned), *(chain(x, chance) for _ in range(40))]
    check(Graph((x,), tuple(end for end in ends if end is not x)), NATIVE[-1], drawn(dtype, (4, 1, 6, 10)))
