"""Moves of elements that cancel, proved for every permutation, with any function and any constants in between."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import permutations, product

import pytest

from graphopt import ops
from graphopt.ir import Op, Value
from graphopt.passes import FoldAffine, FoldBatchNorm, RemoveIdentities, SimplifyReshapes
from graphopt.passes.cleanup import reshapes
from proofs import test_arithmetic, test_identities
from proofs.equal import Case, Opaque, OpaquePair, prove, unknown, x

RULES = {rule.name: rule for rule in SimplifyReshapes.rules}
SIZES = (2, 3, 1, 2)
"""Of the axes that transposes move."""


def in_a_row(*steps: Op, shape: tuple[int, ...]) -> Value:
    y = x(*shape)
    for step in steps:
        y = step(y)
    return y


def expanded(first: bool) -> Value:
    large, other = ops.Expand(shape=(2, 3))(x(1, 3)), unknown("c", 2, 3)
    return OpaquePair()(*((large, other) if first else (other, large)))


def around_reshapes(op: ops.Binary) -> Value:
    y = Opaque()(ops.Reshape(shape=(3, 2))(x(2, 3)))
    return ops.Reshape(shape=(6,))(op(unknown("c", 1, 1), op(y, unknown("d"))))


def around_transposes(inner: tuple[int, ...], outer: tuple[int, ...]) -> Value:
    """A function, and one of two with a constant of each shape that broadcasts, between two transposes."""
    y = Opaque()(ops.Transpose(perm=inner)(x(*SIZES[: len(inner)])))
    shape = y.type.static_shape
    y = OpaquePair()(y, unknown("c", *shape))
    y = OpaquePair()(unknown("d", *shape[1:]), y)
    y = OpaquePair()(y, unknown("e", *(d if i % 2 else 1 for i, d in enumerate(shape))))
    return ops.Transpose(perm=outer)(y)


def around_squares(inner: tuple[int, ...], outer: tuple[int, ...]) -> Value:
    """A constant between two transposes of axes of one length, where no shape tells a wrong one."""
    y = OpaquePair()(ops.Transpose(perm=inner)(x(2, 2, 2)), unknown("c", 2, 2, 2))
    return ops.Transpose(perm=outer)(y)


def alike(perm: tuple[int, ...]) -> Value:
    a, b = (x(*SIZES[: len(perm)], name=name) for name in "ab")
    return OpaquePair()(ops.Transpose(perm=perm)(a), ops.Transpose(perm=perm)(b))


def transposes(rank: int) -> Iterator[Case]:
    shape = SIZES[:rank]
    for inner, outer in product(permutations(range(rank)), repeat=2):
        steps = ops.Transpose(perm=inner), ops.Transpose(perm=outer)
        yield Case(reshapes.transpose_of_transpose, f"{inner} {outer}", partial(in_a_row, *steps, shape=shape))
        yield Case(RULES["transposes_around"], f"{inner} {outer}", partial(around_transposes, inner, outer))
    for perm in permutations(range(rank)):
        yield Case(reshapes.same_transposes, f"{perm}", partial(alike, perm))


def cases() -> Iterator[Case]:
    there, back = ops.Reshape(shape=(6,)), ops.Reshape(shape=(2, 3))
    yield Case(reshapes.reshape_of_reshape, "and back", partial(in_a_row, there, back, shape=(2, 3)))
    yield Case(reshapes.reshape_of_reshape, "further", partial(in_a_row, there, back, shape=(3, 2)))
    ones = ops.Transpose(perm=(1, 2, 0))
    yield Case(reshapes.transpose_of_ones, "", partial(in_a_row, ones, shape=(1, 2, 3)))
    larger = ops.Expand(shape=(2, 3)), ops.Expand(shape=(2, 2, 3))
    yield Case(reshapes.expand_of_expand, "", partial(in_a_row, *larger, shape=(1, 3)))
    yield Case(reshapes.expanded_left, "", partial(expanded, True))
    yield Case(reshapes.expanded_right, "", partial(expanded, False))
    for kind in (ops.ReduceSum, ops.ReduceMean, ops.ReduceMax, ops.ReduceMin, ops.ReduceProd):
        for keepdims, shape in ((True, (2,)), (False, (2, 1))):
            steps = kind(axes=(1,), keepdims=keepdims), ops.Reshape(shape=shape)
            yield Case(reshapes.reduced_shape, f"{kind.name} {keepdims}", partial(in_a_row, *steps, shape=(2, 2)))
    for op in (ops.Add(), ops.Mul(), OpaquePair()):
        yield Case(RULES["reshapes_around"], op.name, partial(around_reshapes, op))


CASES = tuple(cases())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_moves_are_proved(case: Case) -> None:
    prove(case)


@pytest.mark.parametrize("rank", [1, 2, 3, pytest.param(4, marks=pytest.mark.slow)])
def test_transposes_are_proved_for_every_permutation(rank: int) -> None:
    for case in transposes(rank):
        prove(case)


def test_every_rule_of_these_passes_is_proved() -> None:
    proved = {c.rule for c in (*CASES, *transposes(2), *test_arithmetic.CASES, *test_identities.CASES)}
    for pass_ in (FoldAffine, FoldBatchNorm, RemoveIdentities, SimplifyReshapes):
        assert set(pass_.rules) <= proved, f"{pass_.name}: {[r.name for r in set(pass_.rules) - proved]}"


def test_constants_moved_the_wrong_way_are_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    right = reshapes.retransposed
    monkeypatch.setattr(reshapes, "retransposed", lambda inner, outer, c: right(outer, inner, c))
    with pytest.raises(AssertionError, match="is not proved"):
        prove(Case(RULES["transposes_around"], "wrong", partial(around_squares, (1, 2, 0), (0, 2, 1))))
