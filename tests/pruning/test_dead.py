"""RemoveDeadChannels: what goes, what padding keeps, and that nothing moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from graphopt.ir import Array, Graph, Value, arg, constant, rebuild
from graphopt.ops import Conv, Mul, Relu, Sigmoid
from graphopt.passes import Context, RemoveDeadChannels
from graphopt.passes.prune.intervals import intervals
from graphopt.testing import check_pass
from graphopt.testing.strategies import graphs
from pruning.nets import Builder, residual_net, weight
from pruning.test_drawn_graphs import prunable


def with_arrays(graph: Graph, new: dict[str, Array]) -> Graph:
    """The graph with other arrays in its named constants."""
    values = {graph.node(name).results[0]: constant(data.astype("float32"), name=name) for name, data in new.items()}
    return rebuild(graph, lambda node, _: [values[node.results[0]]] if node.results[0] in values else None)


def chain(pad: int, bias: float, activation: type[Relu | Sigmoid] = Relu) -> Graph:
    """conv "a", of which channels 2 and 5 have no weights but a bias -> activation -> conv "b" of so many pads."""
    b = Builder()
    x = arg("x", "float32", (2, 3, 6, 6))
    y = activation()(b.conv(x, 8, "a"))
    graph = Graph((x,), (b.conv(y, 4, "b", pad=pad),))
    w, c = weight(graph, "a.weight").copy(), weight(graph, "a.bias").copy()
    w[[2, 5]], c[[2, 5]] = 1e-13, bias
    return with_arrays(graph, {"a.weight": w, "a.bias": c})


def left(graph: Graph) -> int:
    return weight(graph, "a.weight").shape[0]


@pytest.mark.parametrize(
    ("pad", "bias", "activation", "channels"),
    [
        (0, 0.7, Relu, 6),  # the constant goes into the bias of b
        (1, -0.7, Relu, 6),  # zero is zero at the border too
        (1, 0.7, Relu, 8),  # not so a constant that is not zero
        (0, -0.7, Sigmoid, 6),
        (1, -0.7, Sigmoid, 8),
    ],
)
def test_constants_go_where_padding_allows(pad: int, bias: float, activation: type[Relu], channels: int) -> None:
    assert left(check_pass(RemoveDeadChannels(), chain(pad, bias, activation))) == channels


def test_a_channel_that_depends_on_the_input_stays() -> None:
    graph = chain(0, 0.7)
    w = weight(graph, "a.weight").copy()
    w[2] = 1e-6
    assert left(RemoveDeadChannels()(with_arrays(graph, {"a.weight": w}))) == 7
    assert left(RemoveDeadChannels(limit=1e-3)(with_arrays(graph, {"a.weight": w}))) == 6


def test_a_channel_that_nobody_reads_goes_and_then_what_only_it_reads() -> None:
    graph = residual_net()
    w = weight(graph, "block.2.weight").copy()
    w[:, [0, 3]] = 0
    context = Context()
    small = RemoveDeadChannels().run(with_arrays(graph, {"block.2.weight": w}), context)
    assert weight(small, "block.1.weight").shape[0] == 14
    assert [str(n) for n in context.notes] == ["remove-dead-channels: block.1: 2 of 16 channels are dead"]
    check_pass(RemoveDeadChannels(), with_arrays(graph, {"block.2.weight": w}))


def test_the_last_channel_stays() -> None:
    graph = with_arrays(chain(0, -0.5), {"a.weight": np.zeros((8, 3, 3, 3)), "a.bias": -np.ones(8)})
    assert left(check_pass(RemoveDeadChannels(), graph)) == 1


def test_a_constant_through_a_product_and_groups() -> None:
    """A depthwise convolution in between, without pads, and a scale."""
    b = Builder()
    x = arg("x", "float32", (2, 3, 6, 6))
    y = Relu()(b.conv(x, 8, "a"))
    y = Mul()(Conv(group=8)(y, b.w("d.weight", 8, 1, 3, 3), b.w("d.bias", 8)), b.w("scale", 8, 1, 1))
    graph = Graph((x,), (b.conv(y, 4, "b", size=1),))
    w = weight(graph, "a.weight").copy()
    w[:3] = 0
    assert left(check_pass(RemoveDeadChannels(), with_arrays(graph, {"a.weight": w}))) == 5


def thinned(graph: Graph, seed: int) -> Graph:
    """The graph with about a third of the rows of its weights made next to nothing."""
    rng = np.random.default_rng(seed)

    def thin(data: Array) -> Array:
        rows = rng.random(data.shape[0]) < 0.35
        return np.where(rows.reshape(-1, *[1] * (data.ndim - 1)), 1e-14 * data, data).astype(data.dtype)

    def transform(node: object, _: tuple[Value, ...]) -> list[Value] | None:
        value = node.results[0]  # type: ignore[attr-defined]
        data = value.constant
        if data is None or data.dtype.kind != "f" or data.ndim < 2:
            return None
        return [constant(thin(data), like=value)]

    return rebuild(graph, transform)


@settings(max_examples=70)
@given(graph=prunable())
def test_on_structures_with_dead_channels(graph: Graph) -> None:
    check_pass(RemoveDeadChannels(), thinned(graph, seed=len(graph.nodes)))


@given(graph=graphs())
def test_on_any_graph(graph: Graph) -> None:
    check_pass(RemoveDeadChannels(), graph)


@given(graph=graphs(symbolic=False))
def test_intervals_hold_every_value(graph: Graph) -> None:
    """Of inputs within the limit; values beyond it are none of the intervals' business."""
    limit = 2.0
    known = intervals(graph, limit)
    rng = np.random.default_rng(0)
    floats = [v for n in graph.nodes for v in n.results if v.type.is_float and v.constant is None]
    wide = replace(graph, outputs=tuple(floats), output_names=())
    inputs = [
        rng.uniform(-limit, limit, v.type.static_shape).astype(v.type.dtype)
        if v.type.is_float
        else rng.integers(0, 2, v.type.static_shape).astype(v.type.dtype)
        for v in graph.inputs
    ]
    with np.errstate(all="ignore"):
        values = wide(*inputs)
    beyond = {v for v, y in zip(floats, values, strict=True) if not np.abs(y).max(initial=0) <= limit}
    for value, y in zip(floats, values, strict=True):
        if depends_on(value, beyond):
            continue
        bounds, slack = known[value], 1e-5 * (1 + np.abs(y).max(initial=0))
        assert (y >= bounds.low - slack).all() and (y <= bounds.high + slack).all(), value


def depends_on(value: Value, others: set[Value]) -> bool:
    from graphopt.ir import topological

    return any(v in others for node in topological([value]) for v in node.results)
