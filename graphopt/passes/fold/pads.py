"""Pads folded into the padding of convolutions and poolings."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, TypeVar

from graphopt.ir import Value
from graphopt.ops import AveragePool, Conv, MaxPool, Pad, Pool
from graphopt.passes.base import RewritePass
from graphopt.passes.contract import Exact
from graphopt.rewrite import Decline, Rule, rule

P = TypeVar("P", bound=Pool)


def total_pads(pad: Pad, own: tuple[int, ...]) -> tuple[int, ...]:
    """The spatial pads of ``pad`` and the operator's own; declines pads of other axes."""
    rank = len(pad.pads) // 2
    before, after = pad.pads[:rank], pad.pads[rank:]
    if any(before[:2] + after[:2]):
        raise Decline(f"pads {pad.pads} reach the batch or the channels")
    spatial = before[2:] + after[2:]
    return tuple(a + b for a, b in zip(spatial, own or (0,) * len(spatial), strict=True))


def refuse_value(pad: Pad, wanted: float, why: str) -> None:
    if pad.value != wanted:
        raise Decline(f"it pads with {pad.value}, {why}")


def padded(pool: P, pads: tuple[int, ...]) -> P:
    """The pooling with other pads; declines pads as large as its window."""
    for axis, extent in enumerate(pool.window().extent):
        if max(pads[axis], pads[axis + len(pads) // 2]) >= extent:
            raise Decline(f"pads {pads} would be as large as the window")
    return replace(pool, pads=pads)


@rule(lambda conv, pad, x, w, b: conv(pad(x), w, b))
def into_conv(conv: Conv, pad: Pad, x: Value, w: Value, b: Value) -> Value:
    refuse_value(pad, 0.0, "a convolution with 0")
    return replace(conv, pads=total_pads(pad, conv.pads))(x, w, b)


@rule(lambda pool, pad, x: pool(pad(x)))
def into_average_pool(pool: AveragePool, pad: Pad, x: Value) -> Value:
    refuse_value(pad, 0.0, "an average pooling with 0")
    if any(pool.pads) and not pool.count_include_pad:
        raise Decline("the pooling counts these pads but not its own")
    return padded(replace(pool, count_include_pad=True), total_pads(pad, pool.pads))(x)


@rule(lambda pool, pad, x: pool(pad(x)))
def into_max_pool(pool: MaxPool, pad: Pad, x: Value) -> Value:
    refuse_value(pad, float("-inf"), "a max pooling with -inf")
    return padded(pool, total_pads(pad, pool.pads))(x)


@rule(lambda outer, inner, x: outer(inner(x)))
def merge_pads(outer: Pad, inner: Pad, x: Value) -> Value:
    refuse_value(outer, inner.value, f"the pad in front with {inner.value}")
    return replace(outer, pads=tuple(a + b for a, b in zip(outer.pads, inner.pads, strict=True)))(x)


class FoldPads(RewritePass, name="fold-pads", contract=Exact()):
    """Fold pads of the spatial axes into the conv, average_pool or max_pool after them; merge pads in a row.

    The pads are added on each side. An average_pool then counts its padding.

    Declines: values other than the operator's own (0; -inf for max_pool); pads of the batch or the
    channels; an average_pool that has pads of its own and does not count them; pads as large as the
    window of a pooling; a pad with other readers.
    """

    rules: ClassVar[tuple[Rule, ...]] = (into_conv, into_average_pool, into_max_pool, merge_pads)
