"""Passes broken on purpose: the checks that hold the real ones must catch each of them on drawn graphs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from graphopt.errors import ContractViolation, InvalidGraph
from graphopt.ir import Array, Graph, Node, Value
from graphopt.ops import ConvTranspose, Fused, Pad, Sub, Transpose
from graphopt.passes import (
    CommonSubexpressions,
    FoldAffine,
    FoldBatchNorm,
    FoldPads,
    Fuse,
    Pass,
    RemoveIdentities,
    SimplifyReshapes,
)
from graphopt.passes.cleanup import cse, identities, reshapes
from graphopt.passes.fold import affine, batch_norm, channels, pads
from graphopt.passes.fold.channels import ChannelAffine, elements
from graphopt.passes.fuse import fuse
from graphopt.testing import check_pass, random_graph

EXAMPLES = 4000


def without_epsilon(norm: Any, scale: Value, bias: Value, mean: Value, var: Value) -> ChannelAffine:
    factor = elements(scale) / np.sqrt(elements(var))
    return ChannelAffine(factor, elements(bias) - elements(mean) * factor)


def without_mean(norm: Any, scale: Value, bias: Value, mean: Value, var: Value) -> ChannelAffine:
    factor = elements(scale) / np.sqrt(elements(var) + norm.epsilon)
    return ChannelAffine(factor, elements(bias))


def groups_of_the_wrong_axis(weights: Array, scale: Array, group: int) -> Array:
    """Takes the factors of the first group for all."""
    return np.asarray(weights * scale[: weights.shape[1]].reshape(1, -1, *[1] * (weights.ndim - 2)))


def response_of_one_group(layer: Any, weights: Array, shift: Array) -> Array:
    if isinstance(layer, ConvTranspose):
        return np.asarray((weights * shift.reshape(-1, *[1] * (weights.ndim - 1))).sum()) * np.ones(
            weights.shape[1] * layer.group
        )
    shifted = weights * shift[: weights.shape[1]].reshape(1, -1, *[1] * (weights.ndim - 2))
    return np.asarray(shifted.reshape(len(weights), -1).sum(axis=1))


def pads_swapped(pad: Pad, own: tuple[int, ...]) -> tuple[int, ...]:
    rank = len(pad.pads) // 2
    spatial = pad.pads[rank + 2 :] + pad.pads[2:rank]
    return tuple(a + b for a, b in zip(spatial, own or (0,) * len(spatial), strict=True))


def own_pads_forgotten(pad: Pad, own: tuple[int, ...]) -> tuple[int, ...]:
    rank = len(pad.pads) // 2
    return pad.pads[2:rank] + pad.pads[rank + 2 :]


def counting_as_before(pool: Any, total: tuple[int, ...]) -> Any:
    return replace(pool, pads=total, **({"count_include_pad": False} if pool.name == "average_pool" else {}))


def any_value(pad: Pad, wanted: float, why: str) -> None:
    """Takes every pad for one of the operator's own value."""


def no_borders(layer: Any, weight: Any) -> None:
    """Takes every layer for one without borders."""


def first_of_each_channel(c: Value, x: Any, axis: int) -> Array:
    data = elements(c)
    data = data.reshape((1,) * (x.rank - data.ndim) + data.shape)
    for a in range(x.rank):
        data = data if a == axis else data.take([0], a)
    return data.reshape(-1)


def sub_as_add(op: Any, operand: Array) -> ChannelAffine:
    if isinstance(op, Sub):
        return ChannelAffine(np.ones_like(operand), operand)
    return RIGHT_ARITHMETIC(op, operand)


RIGHT_ARITHMETIC = channels.arithmetic


def composed_backwards(inner: Transpose, outer: Transpose) -> Transpose:
    return Transpose(perm=tuple(outer.perm[p] for p in inner.perm))


def not_moved(inner: Transpose, outer: Transpose, c: Value) -> Value:
    return c


def same_class_will_do(self: CommonSubexpressions, graph: Graph) -> dict[Node, Node]:
    first: dict[Node, Node] = {}
    seen: dict[Any, Node] = {}
    for node in graph.nodes:
        operands = tuple((first[v.node], v.index) for v in node.inputs)
        # what has no operands is kept apart, or there would be no graph left
        key = (type(node.op), operands, node.types) if operands else node
        first[node] = seen.setdefault(key, node)
    return first


def any_order_will_do(self: CommonSubexpressions, graph: Graph) -> dict[Node, Node]:
    first: dict[Node, Node] = {}
    seen: dict[Any, Node] = {}
    for node in graph.nodes:
        operands = frozenset((first[v.node], v.index) for v in node.inputs)
        first[node] = seen.setdefault((node.op, operands) if operands else node, node)
    return first


def operands_swapped(group: Any, graph: Graph, new: dict[Value, Value]) -> Value:
    right = RIGHT_FUSED(group, graph, new)
    assert isinstance(right.op, Fused)
    body = right.op.body
    values = dict(zip(body.inputs, body.inputs, strict=True))
    for node in body.nodes:
        if node.results[0] not in values:
            inputs = [values[v] for v in node.inputs]
            swapped = inputs[::-1] if isinstance(node.op, Sub) else inputs
            values[node.results[0]] = node.op(*swapped)
    return Fused(body=replace(body, outputs=(values[body.outputs[0]],)))(*right.node.inputs)


RIGHT_FUSED = fuse.fused


def bounds_of_relu_lost(op: Any) -> tuple[float, float]:
    return getattr(op, "low", float("-inf")), getattr(op, "high", float("inf"))


def neutral_whatever_the_operator(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    x, c = inputs
    return x if x.type == node.types[0] and c.constant is not None and np.all(c.constant == 1) else None


def output_scale_by_row(layer: Any, x: Value, w: Value, b: Value, a: ChannelAffine) -> Value:
    """Scales the output channels of every layer along its first weight axis, conv_transpose's too."""
    weights, bias = elements(w), elements(b)
    scale = np.resize(a.scale, weights.shape[0]).reshape(-1, *[1] * (weights.ndim - 1))
    return layer(x, channels.folded(weights * scale, w), channels.folded(bias * a.scale + a.shift, b))


MUTANTS: list[tuple[str, Pass, Any, str, Callable[..., Any]]] = [
    ("epsilon forgotten", FoldBatchNorm(), batch_norm, "normalisation", without_epsilon),
    ("mean forgotten", FoldBatchNorm(), batch_norm, "normalisation", without_mean),
    ("groups ignored", FoldBatchNorm(), channels, "scale_grouped", groups_of_the_wrong_axis),
    ("groups of a shift ignored", FoldBatchNorm(), channels, "response", response_of_one_group),
    ("shift in front of padding", FoldBatchNorm(), channels, "refuse_borders", no_borders),
    ("conv_transpose scaled by rows", FoldBatchNorm(), batch_norm, "fold_after", output_scale_by_row),
    ("varying constants as channels", FoldAffine(), affine, "by_channel", first_of_each_channel),
    ("sub as add", FoldAffine(), affine, "arithmetic", sub_as_add),
    ("pads before and after swapped", FoldPads(), pads, "total_pads", pads_swapped),
    ("the operator's own pads forgotten", FoldPads(), pads, "total_pads", own_pads_forgotten),
    ("padding not counted", FoldPads(), pads, "padded", counting_as_before),
    ("any pad value", FoldPads(), pads, "refuse_value", any_value),
    ("transposes composed backwards", SimplifyReshapes(), reshapes, "composed", composed_backwards),
    ("constants between transposes left", SimplifyReshapes(), reshapes, "retransposed", not_moved),
    ("attributes ignored", CommonSubexpressions(), cse.CommonSubexpressions, "representatives", same_class_will_do),
    ("operand order ignored", CommonSubexpressions(), cse.CommonSubexpressions, "representatives", any_order_will_do),
    ("operands of sub swapped", Fuse(), fuse, "fused", operands_swapped),
    ("relu has no bounds", RemoveIdentities(), identities, "bounds", bounds_of_relu_lost),
]


def first_caught(pass_: Pass) -> str | None:
    """What the checks say of the first drawn graph that a pass gets wrong."""
    for seed in range(EXAMPLES):
        graph = random_graph(seed)
        try:
            if str(pass_(graph)) != str(graph):
                check_pass(pass_, graph)
        except (ContractViolation, InvalidGraph) as error:
            return f"seed {seed}: {error}"
    return None


@pytest.mark.parametrize(("pass_", "where", "name", "broken"), [m[1:] for m in MUTANTS], ids=[m[0] for m in MUTANTS])
def test_broken_pass_is_caught(
    monkeypatch: pytest.MonkeyPatch, pass_: Pass, where: Any, name: str, broken: Callable[..., Any]
) -> None:
    monkeypatch.setattr(where, name, broken)
    assert first_caught(pass_) is not None
