"""Folding arithmetic with constants and batch norms into layers, proved for all real weights and inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import pytest

from graphopt import ops
from graphopt.ir import Value, constant
from graphopt.passes.fold import affine, batch_norm
from graphopt.rewrite import Const, Rule, rule
from proofs.equal import Case, prove, unknown, x

Layer = Callable[[Value], Value]
Operand = Callable[[Value], Value]


def linear(v: Value) -> Value:
    return ops.Linear()(v, unknown("w", 2, 2), unknown("b", 2))


def conv(v: Value, group: int = 1, pads: tuple[int, ...] = ()) -> Value:
    return ops.Conv(group=group, pads=pads)(v, unknown("w", 2, 2, 2), unknown("b", 2))


def conv_transpose(v: Value) -> Value:
    return ops.ConvTranspose(strides=(2,))(v, unknown("w", 2, 2, 2), unknown("b", 2))


def grouped_conv_transpose(v: Value) -> Value:
    return ops.ConvTranspose(group=2)(v, unknown("w", 4, 1, 1), unknown("b", 2))


LAYERS: dict[str, tuple[Layer, tuple[int, ...]]] = {
    "linear": (linear, (2, 2)),
    "conv": (conv, (1, 2, 3)),
    "grouped conv": (partial(conv, group=2), (1, 4, 2)),
    "conv_transpose": (conv_transpose, (1, 2, 2)),
    "grouped conv_transpose": (grouped_conv_transpose, (1, 4, 2)),
}
"""By name, a layer and the shape of its operand."""

PADDED = partial(conv, pads=(1, 0))
SHIFTS, SCALES = (ops.Add, ops.Sub), (ops.Mul, ops.Div)


def number(_: Value) -> Value:
    return unknown("c")


def by_channel(y: Value) -> Value:
    """A number for each channel, of a shape that broadcasts to ``y``."""
    return unknown("c", *(d if a == 1 else 1 for a, d in enumerate(y.type.static_shape)))


def behind(op: type[ops.Binary], operand: Operand, layer: Layer, shape: tuple[int, ...]) -> Value:
    y = layer(x(*shape))
    return op()(y, operand(y))


def in_front(op: type[ops.Binary], operand: Operand, layer: Layer, shape: tuple[int, ...]) -> Value:
    v = x(*shape)
    return layer(op()(v, operand(v)))


def subtracted(operand: Operand, layer: Layer, shape: tuple[int, ...]) -> Value:
    y = layer(x(*shape))
    return ops.Sub()(operand(y), y)


def normed(v: Value) -> Value:
    channels = v.type.static_shape[1]
    return ops.BatchNorm()(v, *(unknown(name, channels) for name in ("scale", "bias", "mean", "var")))


def norm_behind(layer: Layer, shape: tuple[int, ...]) -> Value:
    return normed(layer(x(*shape)))


def norm_in_front(layer: Layer, shape: tuple[int, ...]) -> Value:
    return layer(normed(x(*shape)))


def twice(first: type[ops.Binary], second: type[ops.Binary]) -> Value:
    return second()(first()(x(2, 3), unknown("c", 2, 1)), unknown("d", 2, 1))


def cases() -> Iterator[Case]:
    for name, (layer, shape) in LAYERS.items():
        # a shift in front of gaps does not reach all results alike, and is declined
        even = SCALES if name == "conv_transpose" else (*SHIFTS, *SCALES)
        for operand in (number, by_channel):
            title = f"{operand.__name__}, {name}"
            for op in (*SHIFTS, *SCALES):
                yield Case(affine.into_producer, f"{op.name} {title}", partial(behind, op, operand, layer, shape))
            for op in even:
                yield Case(affine.into_consumer, f"{op.name} {title}", partial(in_front, op, operand, layer, shape))
            yield Case(affine.subtracted_from_constant, title, partial(subtracted, operand, layer, shape))
        yield Case(batch_norm.into_producer, name, partial(norm_behind, layer, shape))
        if even != SCALES:
            yield Case(batch_norm.into_consumer, name, partial(norm_in_front, layer, shape))
    yield Case(batch_norm.into_producer, "padded conv", partial(norm_behind, PADDED, (1, 2, 3)))
    yield Case(affine.into_consumer, "mul, padded conv", partial(in_front, ops.Mul, number, PADDED, (1, 2, 3)))
    for merged, family in ((affine.shifted_twice, SHIFTS), (affine.scaled_twice, SCALES)):
        for first, second in product(family, repeat=2):
            yield Case(merged, f"{first.name}, {second.name}", partial(twice, first, second))


CASES = tuple(cases())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_folding_is_proved(case: Case) -> None:
    prove(case)


@rule(lambda op, x, c: op(x, c))
def wrong_sign(op: ops.Sub, x: Value, c: Const) -> Value:
    """Not so: x - c is x + c."""
    return ops.Add()(x, c)


@rule(lambda layer, op, x, w, b, c: layer(op(x, c), w, b))
def forgotten_bias(layer: ops.Linear, op: ops.Add, x: Value, w: Const, b: Const, c: Const) -> Value:
    """Not so: a shift in front of a layer is nothing behind it."""
    return layer(x, w, b)


@rule(lambda op, x, c: op(x, c))
def new_divisor(op: ops.Mul, x: Value, c: Const) -> Value:
    """Right but for a c of zero."""
    return ops.Div()(x, ops.Div()(constant(1.0), c))


WRONG: list[tuple[Rule, type[ops.Binary], str]] = [
    (wrong_sign, ops.Sub, "is not proved"),
    (forgotten_bias, ops.Add, "is not proved"),
    (new_divisor, ops.Mul, "which may be out of its domain"),
]


@pytest.mark.parametrize(("wrong", "op", "why"), WRONG, ids=[r.name for r, *_ in WRONG])
def test_what_is_wrong_is_refuted(wrong: Rule, op: type[ops.Binary], why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        prove(Case(wrong, "wrong", partial(in_front, op, by_channel, linear, (2, 2))))
