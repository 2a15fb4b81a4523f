"""Bilinear resizing, as frontends have it: its matrices and weighted gathers are sums of a few elements in programs."""

from __future__ import annotations

import numpy as np
import pytest
from compiling import NATIVE, check_program, in_long_runs

import graphopt
from graphopt.ir import Graph, Value, arg, constant
from graphopt.ops import Add, Gather, Linear, LinearInteger, MaxPool, Mul, Relu, Requantize, Slice, Transpose
from graphopt.passes import Fuse

TARGETS = [NATIVE[-1], *in_long_runs(NATIVE[0], "aarch64", "armv7")]
SHAPE = (2, 12, 9, 17)


def weights(have: int, want: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each element of the result, the two elements that it lies between, and the weight of the second."""
    at = np.clip((np.arange(want) + 0.5) * have / want - 0.5, 0, have - 1)
    low = np.minimum(at.astype(int), have - 2)
    return low, (at - low).astype(np.float32)


def matrix(have: int, want: int) -> np.ndarray:
    low, high = weights(have, want)
    made = np.zeros((want, have), np.float32)
    made[np.arange(want), low] += 1 - high
    made[np.arange(want), low + 1] += high
    return made


def swapped(x: Value, axis: int) -> Value:
    perm = list(range(x.type.rank))
    perm[axis], perm[-1] = perm[-1], perm[axis]
    return x if axis == perm[axis] else Transpose(perm=tuple(perm))(x)


def by_matrix(x: Value, axis: int, want: int) -> Value:
    data = matrix(x.type.static_shape[axis], want)
    return swapped(Linear()(swapped(x, axis), constant(data), constant(np.zeros(want, np.float32))), axis)


def by_gathers(x: Value, axis: int, want: int) -> Value:
    low, high = weights(x.type.static_shape[axis], want)
    shape = [want if a == axis else 1 for a in range(x.type.rank)]
    one, two = (Gather(axis=axis)(x, constant(low + k)) for k in (0, 1))
    return Add()(Mul()(one, constant((1 - high).reshape(shape))), Mul()(constant(high.reshape(shape)), two))


def halved(x: Value, axis: int) -> Value:
    """The mean of each two elements."""
    size = x.type.static_shape[axis] // 2 * 2
    half = constant(np.float32(0.5))
    one, two = (Mul()(Slice(axis=axis, start=k, stop=size, step=2)(x), half) for k in (0, 1))
    return Add()(one, two)


def pooled(x: Value) -> Value:
    """The same elements, channels last."""
    return MaxPool(kernel=(1, 1))(x)


@pytest.mark.parametrize("target", TARGETS)
def test_floats(target: str) -> None:
    x = arg("x", "float32", SHAPE)
    ends = []
    for resize in (by_matrix, by_gathers):
        for source in (x, pooled(x)):
            once = resize(source, 2, 20)
            ends += [once, resize(source, 3, 37), pooled(resize(once, 3, 8)), resize(source, 1, 25)]
            ends += [Relu()(Add()(resize(once, 3, 40), constant(np.float32(0.25))))]
    ends += [halved(x, 2), halved(pooled(x), 3)]
    program = check_program(Fuse()(Graph((x,), tuple(ends))), target)
    kernels = {row["kernel"].rstrip("0123456789_") for row in program.manifest["kernels"]}
    assert kernels == {"mix", "max_pool"}


@pytest.mark.parametrize("target", TARGETS)
def test_integers_are_the_same(target: str) -> None:
    """Of the product with a quantized matrix, whose rows have scales of their own."""
    x, rng = arg("x", "int8", SHAPE), np.random.default_rng(0)

    def resized(x: Value, axis: int, want: int) -> Value:
        data = constant(np.round(127 * matrix(x.type.static_shape[axis], want)).astype(np.int8))
        sums = LinearInteger(zero_point=-7)(swapped(x, axis), data, constant(np.zeros(want, np.int32)))
        numbers = rng.integers(2**29, 2**30, want).astype(np.int32), rng.integers(36, 38, want).astype(np.int32)
        return swapped(Requantize(zero_point=3)(sums, *map(constant, numbers)), axis)

    ends = [resized(pooled(x), 2, 20), pooled(resized(resized(pooled(x), 2, 20), 3, 36)), resized(x, 3, 40)]
    graph = Fuse()(Graph((x,), tuple(ends)))
    program = graphopt.compile(graph, target)
    data = rng.integers(-128, 128, SHAPE).astype(np.int8)
    for got, want in zip(program.run(data), graph(x=data), strict=True):
        np.testing.assert_array_equal(got, want)
    assert {row["kernel"].rstrip("0123456789_") for row in program.manifest["kernels"]} == {"mix", "max_pool"}


def test_what_is_no_mixture_stays() -> None:
    """Sums of two axes, of two values, of runs that are not known, and products with full matrices."""
    x, other = arg("x", "float32", (1, 4, 6, 16)), arg("other", "float32", (1, 4, 6, 16))
    places = np.array([0, 0, 1])
    rows, columns = (Gather(axis=a)(x, constant(places)) for a in (2, 3))
    full = constant(np.ones((16, 16), np.float32)), constant(np.zeros(16, np.float32))
    ends = [Add()(rows, rows), Add()(rows, Gather(axis=2)(other, constant(places))), Linear()(x, *full), Add()(x, x)]
    program = check_program(Graph((x, other), (*ends, Mul()(columns, constant(np.float32(2))))), NATIVE[0])
    assert [row["kernel"] for row in program.manifest["kernels"]].count("mix") == 1


def test_matrices_in_a_row_between_exchanges() -> None:
    """An exchange of axes that became a part of a sum is no longer there for the next one."""

    def mixed(x: Value) -> Value:
        size = x.type.static_shape[-1]
        weight = (np.eye(size) + np.eye(size, k=1)) / 2
        return Linear()(x, constant(weight.astype(np.float32)), constant(np.zeros(size, np.float32)))

    swap = Transpose(perm=(0, 1, 3, 2))
    x = arg("x", "float32", (1, 3, 12, 16))
    once = swap(mixed(swap(x)))
    graph = Graph((x,), (swap(mixed(once)), mixed(once), swap(mixed(swap(mixed(swap(mixed(swap(x)))))))))
    check_program(graph, NATIVE[-1])
