"""Masks of weights, low-rank factors, and sparse storage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from graphopt.errors import InvalidInput
from graphopt.ir import Array, Graph, Node, Value, arg, constant, rebuild
from graphopt.ops import Conv, Relu
from graphopt.ops.macs import count_macs
from graphopt.passes import Context, Factorize, FoldConstants, Pipeline, PruneWeights
from graphopt.passes.contract import check_contract
from graphopt.passes.prune import GeometricMedian, compress
from graphopt.passes.prune.sparse import smallest
from pruning.nets import Builder, residual_net, weight
from pruning.test_drawn_graphs import prunable

LAYERS = ("stem", "block.1", "block.2", "head")


def zeros(graph: Graph, layer: str) -> Array:
    """Where the weight of a layer is zero, after the masks have been multiplied in."""
    found = graph.node(layer).inputs[1].constant
    assert found is not None
    return np.asarray(found == 0)


@pytest.mark.parametrize("pattern", ["unstructured", "block4x1", "2:4"])
@pytest.mark.parametrize("scope", ["local", "global"])
def test_masks_have_their_pattern_and_hold_the_contract(pattern: str, scope: str) -> None:
    prune = PruneWeights(sparsity=0.75, pattern=pattern, scope=scope)
    masked = Pipeline([prune], check=True)(residual_net())
    assert all(masked.node(layer).inputs[1].op.name == "mul" for layer in LAYERS if pattern != "2:4" or layer != "stem")
    gone = {layer: zeros(FoldConstants()(masked), layer) for layer in LAYERS}
    if pattern == "2:4":
        assert not gone.pop("stem").any()  # three inputs
        for mask in gone.values():
            assert (np.moveaxis(mask, 1, -1).reshape(-1, 4).sum(1) == 2).all()
        return
    if scope == "local":
        # the five outputs of the head are a block of four and one of one
        assert all(abs(m.mean() - 0.75) <= (0.2 if layer == "head" else 0.01) for layer, m in gone.items())
    total = sum(m.sum() for m in gone.values()) / sum(m.size for m in gone.values())
    assert abs(total - 0.75) <= 0.05
    if pattern == "block4x1":
        for layer in ("stem", "block.1", "block.2"):
            fours = gone[layer].reshape(4, 4, -1)
            assert (fours == fours[:, :1]).all()


def test_the_smallest_weights_are_masked_and_notes_tell_the_bytes() -> None:
    graph, context = residual_net(), Context()
    masked = FoldConstants()(PruneWeights(sparsity=0.5).run(graph, context))
    w, gone = np.abs(weight(graph, "block.1.weight")), zeros(masked, "block.1")
    assert w[gone].max() <= w[~gone].min()
    (note,) = (n for n in context.notes if n.node == "block.1.weight")
    assert note.text == "50.0% zeros, 9,216 bytes dense, 4,896 compressed"


def test_masks_survive_a_change_of_the_weights() -> None:
    masked = PruneWeights(sparsity=0.5)(residual_net())
    after = FoldConstants()(trained(masked, 1.0))
    before = FoldConstants()(masked)
    assert all(np.array_equal(zeros(after, layer), zeros(before, layer)) for layer in LAYERS)


@given(graph=prunable(), pattern=st.sampled_from(["unstructured", "block4x1", "2:4"]))
def test_masks_hold_the_contract_on_structures(graph: Graph, pattern: str) -> None:
    prune = PruneWeights(sparsity=0.6, pattern=pattern, scope="global")
    check_contract(prune, graph, prune.contract, prune.name)


def test_what_cannot_be_masked_is_refused() -> None:
    for options, message in (
        ({"sparsity": 1.0}, "sparsity 1.0 is not in"),
        ({"pattern": "3:7"}, "unknown pattern '3:7'"),
        ({"scope": "isomorphic"}, "unknown scope"),
        ({"importance": GeometricMedian()}, "does not speak of single weights"),
    ):
        with pytest.raises(InvalidInput, match=message):
            PruneWeights(**options)(residual_net())  # type: ignore[arg-type]


SPARSE = arrays.arrays(
    st.sampled_from([np.float32, np.int8]),
    arrays.array_shapes(min_dims=1, max_dims=4, max_side=6),
    elements=st.sampled_from([0, 0, 0, 1, -3, 7]),
    fill=st.nothing(),
)


@given(data=SPARSE, block=st.integers(1, 5))
def test_compressed_weights_decode_exactly(data: Array, block: int) -> None:
    packed = compress(data, block)
    assert packed.decode().dtype == data.dtype
    assert np.array_equal(packed.decode(), data)


def test_compression_is_only_chosen_where_it_saves() -> None:
    rng = np.random.default_rng(0)
    full = rng.integers(1, 100, (16, 64)).astype(np.int8)
    assert smallest(full) is None
    sparse = full * (rng.random((16, 64)) < 0.25)
    found = smallest(sparse.astype(np.int8))
    assert found is not None
    assert found.nbytes == 16 * 64 // 8 + np.count_nonzero(sparse)
    blocks = full * (rng.random((4, 64)) < 0.25).repeat(4, axis=0)
    found = smallest(blocks.astype(np.int8))
    assert found is not None
    assert (found.block, found.nbytes) == (4, 4 * 64 // 8 + np.count_nonzero(blocks))


def low_rank(rank: int) -> Graph:
    """A 3x3 and a 1x1 convolution of a rank, between layers of full rank."""
    b = Builder()
    x = arg("x", "float32", (2, 3, 8, 8))
    y = Relu()(b.conv(x, 32, "stem"))

    def factors(*shape: int) -> Array:
        parts = [b.rng.standard_normal(s) for s in ((shape[0], rank), (rank, rank, *shape[2:]), (rank, shape[1]))]
        return np.asarray(np.einsum("or,rs...,sc->oc...", *parts), "float32")

    big, flat = (constant(factors(*shape)) for shape in ((24, 32, 3, 3), (32, 24, 1, 1)))
    y = Relu()(Conv(pads=(1, 1, 0, 0), strides=(2, 1))(y, big, b.w("big.bias", 24), name="big"))
    y = Conv(strides=(1, 2))(y, flat, b.w("flat.bias", 32), name="flat")
    return Graph((x,), (b.linear(y, 24, "lin"),))


@pytest.mark.parametrize("options", [{"energy": 1.0}, {"energy": 0.9}, {"rank": 2}], ids=str)
def test_factors_are_the_projected_layers(options: dict[str, float]) -> None:
    graph, context = low_rank(2), Context()
    small = Pipeline([Factorize(**options)], check=True)(graph, context)  # type: ignore[arg-type]
    assert count_macs(small) < count_macs(graph)
    assert {"big", "flat"} <= {n.node for n in context.notes if not n.declined}


def test_all_the_energy_loses_nothing() -> None:
    graph = low_rank(3)
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype("float32")
    wanted, got = graph(x)[0], Factorize(energy=1 - 1e-9)(graph)(x)[0]
    assert np.abs(wanted - got).max() <= 1e-4 * np.abs(wanted).max()


def test_factors_are_declined_where_they_save_nothing() -> None:
    context = Context()
    graph = residual_net()
    assert Factorize(energy=0.999).run(graph, context) is graph
    assert all(n.declined and "would cost" in n.text for n in context.notes)
    with pytest.raises(InvalidInput, match="energy 0 is not in"):
        Factorize(energy=0)
    kept = Context()
    Factorize(rank=1, keep=["block.*"]).run(graph, kept)
    assert {n.node for n in kept.notes if n.declined} == {"block.1", "block.2"}


@given(graph=prunable())
def test_factors_hold_the_contract_on_structures(graph: Graph) -> None:
    factorize = Factorize(rank=1)
    check_contract(factorize, graph, factorize.contract, factorize.name)


def test_a_threshold_masks_what_is_smaller() -> None:
    graph = residual_net()
    t = float(np.median(np.abs(weight(graph, "block.1.weight"))))
    masked = FoldConstants()(Pipeline([PruneWeights(threshold=t)], check=True)(graph))
    for layer in LAYERS:
        np.testing.assert_array_equal(zeros(masked, layer), np.abs(weight(graph, f"{layer}.weight")) < t)


def trained(graph: Graph, by: float) -> Graph:
    """What training does: float constants get other values."""

    def move(node: Node, _: tuple[Value, ...]) -> list[Value] | None:
        data = node.results[0].constant
        return [constant(data + by, like=node.results[0])] if data is not None and data.dtype.kind == "f" else None

    return rebuild(graph, move)


@pytest.mark.parametrize("options", [{"sparsity": 0.8}, {"threshold": 0.05}], ids=str)
def test_steps_go_there_bit_by_bit(options: dict[str, float]) -> None:
    graph, seen = residual_net(), []

    def untrained(graph: Graph) -> Graph:
        seen.append(zeros(graph, "block.1").mean())
        return trained(graph, 0.0)

    masked = FoldConstants()(PruneWeights(**options, steps=4, fine_tune=untrained)(graph))
    at_once = FoldConstants()(PruneWeights(**options)(graph))
    assert len({*seen}) == 4
    assert seen == sorted(seen)
    np.testing.assert_array_equal(zeros(masked, "block.1"), zeros(at_once, "block.1"))


def test_masks_hold_whatever_a_fine_tuning_does() -> None:
    masked = FoldConstants()(PruneWeights(sparsity=0.6, fine_tune=lambda g: trained(g, 1.0))(residual_net()))
    assert abs(zeros(masked, "block.1").mean() - 0.6) < 0.01
    with pytest.raises(InvalidInput, match="the fine-tuned graph has no such weight"):
        PruneWeights(fine_tune=lambda g: Graph(g.inputs, g.inputs))(residual_net())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": -1.0}, "is no magnitude"),
        ({"threshold": float("nan")}, "is no magnitude"),
        ({"threshold": 0.1, "sparsity": 0.5}, "a threshold and a sparsity"),
        ({"threshold": 0.1, "pattern": "2:4"}, "goes with no other pattern"),
        ({"threshold": 0.1, "importance": "random"}, "goes with no other pattern"),
        ({"steps": 0}, "steps 0 is less than 1"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        PruneWeights(**options)
