"""Operators that compute nothing, proved to: for all real numbers, and for clips with any bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import pytest

from graphopt import ops
from graphopt.ir import Op, Value
from graphopt.passes.cleanup import identities
from graphopt.rewrite import Rule
from proofs.equal import Case, prove, unknown, x
from proofs.terms import unknowns

APPLIED: list[tuple[Rule, Op, tuple[int, ...]]] = [
    (identities.same_type, ops.Identity(), (2, 3)),
    (identities.same_type, ops.Reshape(shape=(2, 3)), (2, 3)),
    (identities.same_type, ops.Slice(axis=1, start=0, stop=3), (2, 3)),
    (identities.same_type, ops.Pad(pads=(0, 0, 0, 0)), (2, 3)),
    (identities.same_type, ops.Expand(shape=(2, 3)), (2, 3)),
    (identities.same_type, ops.Concat(axis=1), (2, 3)),
    (identities.same_type, ops.Split(axis=1, sizes=(3,)), (2, 3)),
    (identities.still_transpose, ops.Transpose(perm=(1, 0, 2)), (1, 1, 3)),
    (identities.single_element, ops.MaxPool(kernel=(1,)), (1, 2, 3)),
    (identities.single_element, ops.AveragePool(kernel=(1,)), (1, 2, 3)),
    (identities.single_element, ops.ReduceMean(axes=(1,)), (2, 1, 3)),
    (identities.single_element, ops.ReduceProd(axes=(1,)), (2, 1, 3)),
    (identities.single_element, ops.Resize(sizes=(3,)), (1, 2, 3)),
    (identities.no_clip, ops.Clip(), (2,)),
]
"""Rules, and an operator with the shape of its operand."""

POSITIVE = (ops.Relu(), ops.Abs(), ops.Exp(), ops.Sqrt(), ops.Sigmoid(), ops.HardSigmoid(), ops.Softmax(axis=0))


def applied(op: Op, shape: tuple[int, ...]) -> Value:
    return op(x(*shape))


def in_a_row(*steps: Callable[[], Op]) -> Value:
    y = x(1)
    for step in steps:
        y = step()(y)
    return y


def with_constant(op: type[ops.Binary], constant_first: bool) -> Value:
    operands = x(2, 2), unknown("c", 2)
    return op()(*(operands[::-1] if constant_first else operands))


def clip(name: str) -> Op:
    low, high = unknowns(name, 2)
    return ops.Clip(low=low, high=high)


def cases() -> Iterator[Case]:
    for rule, op, shape in APPLIED:
        yield Case(rule, op.name, partial(applied, op, shape))
    for kind in (ops.Add, ops.Sub, ops.Mul, ops.Div, ops.Pow):
        for first in (False, True) if kind.commutative else (False,):
            yield Case(identities.neutral_operand, f"{kind.name} {first}", partial(with_constant, kind, first))
    for inner, outer in product((ops.Relu, partial(clip, "c")), (ops.Relu, partial(clip, "d"))):
        yield Case(identities.clip_of_clip, "of bounds unknown", partial(in_a_row, inner, outer))
    for op, outer in product(POSITIVE, (ops.Relu, ops.Abs)):
        yield Case(identities.of_non_negative, f"{op.name}, {outer.name}", partial(in_a_row, lambda op=op: op, outer))
    yield Case(identities.negated_twice, "", partial(in_a_row, ops.Neg, ops.Neg))
    yield Case(identities.abs_of_negated, "", partial(in_a_row, ops.Neg, ops.Abs))


CASES = tuple(cases())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_that_it_computes_nothing_is_proved(case: Case) -> None:
    prove(case)
