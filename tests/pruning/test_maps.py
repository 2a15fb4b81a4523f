"""Index maps: exact where the contract looks, and nothing wrong that it would not see."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import graphopt
from graphopt import ops
from graphopt.errors import ContractViolation, InvalidGraph
from graphopt.ir import Batch, Graph, Node, Op, Shape, TensorType, Value, arg, constant
from graphopt.ops import Concat, Conv, Linear, Relu, Reshape, Slice, Softmax, Transpose
from graphopt.passes import PruneChannels
from graphopt.passes.contract import check_contract
from graphopt.passes.prune import couple
from graphopt.passes.prune.maps import MAPS
from graphopt.passes.prune.relations import ChannelAxis, Relations
from graphopt.passes.prune.reshape import AxisGroup, axis_groups
from pruning.acceptance import CASES


def weights(rng: np.random.Generator, *shape: int) -> Value:
    return constant(rng.uniform(-1, 1, shape).astype("float32"))


class Mirrored(Op, name="mirrored_for_pruning"):
    """x with its channels in reverse."""

    def infer(self, *inputs: TensorType) -> TensorType:
        return inputs[0]

    def evaluate(self, *inputs: np.ndarray) -> np.ndarray:
        return inputs[0][:, ::-1]


def test_around_an_operator_without_a_map_nothing_goes() -> None:
    rng = np.random.default_rng(0)
    x = arg("x", "float32", (2, 3))
    y = Mirrored()(Linear()(x, weights(rng, 8, 3), weights(rng, 8), name="first"))
    coupling = couple(Graph((x,), (Linear()(y, weights(rng, 2, 8), weights(rng, 2)),)))
    assert not coupling.groups
    first = coupling.graph.node("first").results[0]
    assert coupling.why_kept(ChannelAxis(first, 1)) == "mirrored_for_pruning has no channel map"


# a wrong index map of each kind, and a net that must show it
Wrong = Callable[[Node, Relations], None]
Place = Callable[[Node], tuple[Value, int]]


def reversed_link(
    a: Callable[[Node], tuple[Value, int]], b: Callable[[Node], tuple[Value, int]], op: type[Op]
) -> Wrong:
    """The right map, and in place of one of its links the same one back to front."""
    right = MAPS[op]

    def relate(node: Node, relations: Relations) -> None:
        before = len(relations.links)
        right(node, relations)
        x, y = relations.ids(*a(node)), relations.ids(*b(node))
        for i in range(before, len(relations.links)):
            first, second = relations.links[i]
            if set(first) == set(x) and set(second) == set(y):
                relations.links[i] = (first, second[::-1])

    return relate


def shifted_concat(node: Node, relations: Relations) -> None:
    """A concat that takes its operands for the other way round."""
    (y,) = node.results
    channels, stop = relations.ids(y, 1), y.type.shape[1]
    for x in node.inputs:
        own = relations.ids(x, 1)
        relations.link(own, channels[stop - len(own) : stop])
        stop -= len(own)
        for axis in (0, 2, 3):
            relations.join(x, axis, y, axis)


def start_ignored(node: Node, relations: Relations) -> None:
    (x,), (y,) = node.inputs, node.results
    assert isinstance(node.op, Slice)
    size = len(relations.ids(y, node.op.axis))
    relations.link(relations.ids(x, node.op.axis)[:size], relations.ids(y, node.op.axis))
    for axis in (0, 2, 3):
        relations.join(x, axis, y, axis)


def gates_interleaved(node: Node, relations: Relations) -> None:
    """An LSTM that takes the gates of a unit to stand next to each other."""
    MAPS_BEFORE[ops.Recurrent](node, relations)
    hidden = relations.ids(node.inputs[2], 2)
    for position in (1, 2, 3):
        rows = relations.ids(node.inputs[position], 1)
        relations.links = [(a, b) for a, b in relations.links if not np.isin(a, rows).all()]
        relations.link(rows.reshape(len(hidden), -1), hidden[:, None])


def nothing_linked(node: Node, relations: Relations) -> None:
    """A linear of which inputs and outputs go freely."""
    relations.contract(node, 0, -1)


MAPS_BEFORE = dict(MAPS)
MUTANTS: dict[str, tuple[type[Op], Wrong, str]] = {
    "conv outputs back to front": (
        Conv,
        reversed_link(lambda n: (n.inputs[1], 0), lambda n: (n.results[0], 1), Conv),
        "channel-shuffle",
    ),
    "concat back to front": (Concat, shifted_concat, "branch-concat"),
    "slice from the start": (Slice, start_ignored, "constant-slices"),
    "gates interleaved": (ops.Recurrent, gates_interleaved, "lstm"),
    "linear inputs back to front": (
        Linear,
        reversed_link(lambda n: (n.inputs[0], -1), lambda n: (n.inputs[1], 1), Linear),
        "fused-qkv",
    ),
    "linear unlinked": (Linear, nothing_linked, "flatten"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_contract_sees_a_wrong_map(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    op, wrong, net = MUTANTS[name]
    case = next(c for c in CASES if c.name == net)
    graph = graphopt.trace(case.model(), (case.example,))
    prune = PruneChannels(ratio=0.5, scope="local")
    check_contract(prune, graph, prune.contract, "as it is")
    monkeypatch.setitem(MAPS, op, wrong)
    with pytest.raises((ContractViolation, InvalidGraph)):
        check_contract(prune, graph, prune.contract, name)


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ((2, 12), (2, 3, 4), [((0,), (0,)), ((1,), (1, 2))]),
        ((2, 3, 4, 5), (2, 12, 5), [((0,), (0,)), ((1, 2), (1,)), ((3,), (2,))]),
        ((1, 6, 1, 1), (6,), [((1,), (0,))]),
        ((6,), (1, 6, 1), [((0,), (1,))]),
        ((4, 6), (6, 4), [((0, 1), (0, 1))]),
        ((), (1, 1), []),
        ((0, 3), (0,), [((0, 1), (0,))]),
        ((Batch(), 6), (Batch(2), 3), [((1,), (0, 1))]),
        ((5, Batch(), 8), (5, Batch(4), 2), [((0,), (0,)), ((2,), (1, 2))]),
        ((Batch(4), 5), (Batch(), 20), [((0, 1), (1,))]),
    ],
)
def test_segments_of_reshapes(before: Shape, after: Shape, wanted: list[tuple[int, ...]]) -> None:
    assert list(axis_groups(before, after)) == [AxisGroup(a, b, batch=False) for a, b in wanted]


def test_segments_that_mix_the_batch() -> None:
    assert list(axis_groups((4, Batch(), 3), (Batch(4), 3))) == [
        AxisGroup((0,), (0,), batch=True),
        AxisGroup((2,), (1,), False),
    ]


def units(graph: Graph, name: str, axis: int) -> list[set[int]]:
    """The indices of an axis of a node's result that go together, where they may."""
    coupling = couple(graph)
    place = ChannelAxis(graph.node(name).results[0], axis)
    labels = coupling.label_of(place)
    free = [label for label in dict.fromkeys(labels) if label not in coupling.reasons]
    return [set(np.flatnonzero(labels == label).tolist()) for label in free]


def net(*middle: Callable[[Value], Value], channels: int = 8) -> Graph:
    """x -> conv "a" -> the middle -> conv or linear."""
    rng = np.random.default_rng(0)
    x = arg("x", "float32", (2, 3, 4, 4))
    y = Conv(pads=(1, 1, 1, 1))(x, weights(rng, channels, 3, 3, 3), weights(rng, channels), name="a")
    for step in middle:
        y = step(y)
    c = y.type.static_shape[1]
    last = weights(rng, 2, c, *[1] * (y.type.rank - 2))
    return Graph((x,), ((Conv() if y.type.rank == 4 else Linear())(y, last, weights(rng, 2), name="z"),))


def test_a_shuffle_couples_the_channels_that_share_a_place() -> None:
    graph = net(Reshape(shape=(2, 2, 4, 4, 4)), Transpose(perm=(0, 2, 1, 3, 4)), Reshape(shape=(2, 8, 4, 4)))
    assert units(graph, "a", 1) == [{i, i + 4} for i in range(4)]


def test_a_flatten_takes_all_that_a_channel_spreads_to() -> None:
    graph = net(Relu(), Reshape(shape=(2, 128)))
    (group,) = couple(graph).groups
    counts = {(p.value.op.name, p.axis): n for p, n in zip(group.axes, group.counts, strict=True)}
    assert (len(group), counts["conv", 1], counts["reshape", 1]) == (8, 1, 16)


@pytest.mark.parametrize(("group", "wanted"), [(1, 8), (2, 4), (4, 4), (8, 8)])
def test_groups_go_whole_or_by_place_whichever_is_finer(group: int, wanted: int) -> None:
    rng = np.random.default_rng(0)
    graph = net(lambda y: Conv(group=group)(y, weights(rng, 8, 8 // group, 1, 1), weights(rng, 8)))
    assert len(units(graph, "a", 1)) == wanted


def test_heads_of_one_channel_that_a_reshape_puts_into_the_batch() -> None:
    rng = np.random.default_rng(0)
    x = arg("x", "float32", (Batch(), 5, 4))
    y = Linear()(x, weights(rng, 6, 4), weights(rng, 6), name="a")
    y = Reshape(shape=(5, Batch(6), 1))(Transpose(perm=(1, 0, 2))(y))
    y = Transpose(perm=(1, 0, 2))(Reshape(shape=(5, Batch(), 6))(Relu()(y)))
    graph = Graph((x,), (Linear()(y, weights(rng, 2, 6), weights(rng, 2)),))
    assert units(graph, "a", 2) == [{i} for i in range(6)]
    prune = PruneChannels(ratio=0.5)
    check_contract(prune, graph, prune.contract, "heads in the batch")


def test_softmax_over_channels_keeps_them() -> None:
    graph = net(Softmax(axis=1))
    coupling = couple(graph)
    assert coupling.why_kept(ChannelAxis(graph.node("a").results[0], 1)) == "softmax adds up over it"


def test_equal_biases_do_not_couple_layers() -> None:
    from graphopt.passes.prune.coupling import separate_vectors

    rng = np.random.default_rng(0)
    x, bias = arg("x", "float32", (2, 4)), weights(rng, 4)
    y = Relu()(Linear()(Relu()(Linear()(x, weights(rng, 4, 4), bias)), weights(rng, 4, 4), bias))
    graph = Graph((x,), (Linear()(y, weights(rng, 2, 4), weights(rng, 2)),))
    assert len(couple(graph).groups) == 1
    assert len(couple(separate_vectors(graph)).groups) == 2
