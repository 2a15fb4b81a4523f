"""Coupling a network twice as deep takes twice the work: counted, not timed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from graphopt.ir import Graph, Value, arg
from graphopt.ops import Add, MatMul, Relu, Reshape, Softmax, Split, Transpose
from graphopt.passes.prune import ChannelGroup, couple, coupling
from graphopt.passes.prune.relations import ChannelAxis, Relations
from pruning.nets import Builder


def residual(blocks: int) -> Graph:
    b = Builder()
    x = arg("x", "float32", (2, 8))
    y = b.linear(x, 8, "stem")
    for i in range(blocks):
        y = Relu()(Add()(y, b.linear(Relu()(b.linear(y, 8, f"{i}.up")), 8, f"{i}.down")))
    return Graph((x,), (b.linear(y, 3, "head"),))


def attention(blocks: int) -> Graph:
    """Of each block three reshapes can give up heads or the channels of a head."""
    b = Builder()
    x = arg("x", "float32", (2, 5, 6))
    y = b.linear(x, 8, "stem")
    for i in range(blocks):
        y = Add()(y, b.linear(heads(b.linear(y, 24, f"{i}.qkv")), 8, f"{i}.out"))
    return Graph((x,), (b.linear(y, 3, "head"),))


def heads(qkv: Value) -> Value:
    q, k, v = (
        Transpose(perm=(0, 2, 1, 3))(Reshape(shape=(2, 5, 4, 2))(part))
        for part in Split(axis=2, sizes=(8, 8, 8)).apply(qkv).results
    )
    weights = Softmax(axis=-1)(MatMul()(q, Transpose(perm=(0, 1, 3, 2))(k)))
    return Reshape(shape=(2, 5, 8))(Transpose(perm=(0, 2, 1, 3))(MatMul()(weights, v)))


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Relations]]:
    """The relations of each time that components are looked for."""
    seen: list[Relations] = []
    right = coupling.solve

    def solve(relations: Relations) -> coupling.Coupling:
        seen.append(relations)
        return right(relations)

    monkeypatch.setattr(coupling, "solve", solve)
    yield seen


def structure(group: ChannelGroup) -> tuple[object, ...]:
    return len(group), tuple((p.value.op.name, p.axis, n) for p, n in zip(group.axes, group.counts, strict=True))


def test_blocks_are_settled_side_by_side(solved: list[Relations]) -> None:
    one = couple(attention(1))
    rounds = len(solved)
    four = couple(attention(4))
    assert len(solved) == 2 * rounds
    own = [structure(g) for g in one.groups if len(g) == 4]
    assert len(own) == 1, "four heads"
    assert [structure(g) for g in four.groups if len(g) == 4] == own * 4


def lookups(blocks: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often an axis is looked up to name the layers of all groups."""
    found, count = couple(residual(blocks)), 0
    right = ChannelAxis.__hash__

    def counted(self: ChannelAxis) -> int:
        nonlocal count
        count += 1
        return right(self)

    with monkeypatch.context() as patch:
        patch.setattr(ChannelAxis, "__hash__", counted)
        named = [found.layers(group) for group in found.groups]
    assert [names[0] for names in named] == ["stem", *(f"{i}.up" for i in range(blocks))]
    assert named[0] == ("stem", *(f"{i}.down" for i in range(blocks)))
    return count


def test_layers_are_named_by_their_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lookups(40, monkeypatch) < 2.5 * lookups(20, monkeypatch)
