"""Quantization-aware training from a float graph to one on integers: what it learns, keeps, and says."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import DATA, X, accuracy, cross_entropy, same, small_net
from small import weights as weights_of
from torch.utils.data import DataLoader, TensorDataset

from graphopt.errors import InvalidInput
from graphopt.ir import Array, Graph, arg
from graphopt.ops import BatchNorm, Conv, Dequantize, IntegerProduct, Linear, Relu
from graphopt.passes import Context, FoldConstants, PruneChannels, PruneWeights, Quantize
from graphopt.passes.quantize.layers import packed_weights
from graphopt.training import fine_tune, quantization_aware, quantized_module
from graphopt.training.data import Outputs

BOLD = {"name": "adam", "relative": 0.01}


@cache
def float_net() -> Graph:
    return fine_tune(small_net(), DATA, cross_entropy, epochs=15, optimizer={"name": "adam", "lr": 0.02})


def layers(graph: Graph) -> dict[str, Array]:
    """The integer weights of the layers of a graph."""
    found = {n.inputs[1].node.name: n.inputs[1].constant for n in graph.nodes if isinstance(n.op, IntegerProduct)}
    return {name: array for name, array in found.items() if array is not None}


def test_it_learns_what_rounding_lost() -> None:
    graph = float_net()
    trained = quantization_aware(
        graph, DATA, cross_entropy, weights="binary", epochs=8, optimizer=BOLD, evaluate=accuracy
    )
    before = accuracy(Quantize(calibration=X, weights="binary")(graph))
    assert accuracy(trained) > before + 0.05
    assert trained.history.epochs[0].metric == before
    assert trained.history.kept.metric == accuracy(trained)


@pytest.mark.parametrize(("weights", "bits"), [("int8", 8), ("int4", 4), ("binary", 1)])
def test_weights_have_the_bits_asked_for(weights: str, bits: int) -> None:
    trained = quantization_aware(float_net(), DATA, cross_entropy, weights=weights, epochs=4, optimizer=BOLD)
    assert {found for found, _ in packed_weights(trained).values()} == {bits}
    assert trained.history.epochs[-1].loss < trained.history.epochs[0].loss


def test_what_is_evaluated_is_the_program() -> None:
    seen: list[Graph] = []

    def evaluate(graph: Graph) -> float:
        seen.append(graph)
        return float(len(seen))

    trained = quantization_aware(float_net(), DATA, cross_entropy, epochs=2, evaluate=evaluate)
    assert len(seen) == 3
    assert same(seen[-1], trained)
    assert [n.op.name for n in trained.nodes if isinstance(n.op, Conv | BatchNorm | Linear)] == []


def test_a_layer_is_kept_apart() -> None:
    overrides = {"stem": "int8", "head": "int8"}
    trained = quantization_aware(float_net(), DATA, cross_entropy, weights="binary", overrides=overrides, epochs=1)
    assert [bits for bits, _ in packed_weights(trained).values()] == [8, 1, 8]


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_pruned_weights_stay_zero(weights: str) -> None:
    pruned = PruneWeights(sparsity=0.5)(float_net())
    trained = quantization_aware(pruned, DATA, cross_entropy, weights=weights, epochs=2, optimizer=BOLD)
    real = [n.inputs[1].constant for n in FoldConstants()(pruned).nodes if isinstance(n.op, Conv | Linear)]
    assert len(real) == 3
    for before, after in zip(real, layers(trained).values(), strict=True):
        assert before is not None
        assert (before == 0).mean() >= 0.4
        assert not after[before == 0].any()
    with pytest.raises(InvalidInput, match=r"(?s)binary weights cannot be zero.*overrides"):
        quantization_aware(pruned, DATA, cross_entropy, weights="binary")


def test_channels_that_were_pruned_stay_away() -> None:
    pruned = PruneChannels(ratio=0.5)(float_net())
    trained = quantization_aware(pruned, DATA, cross_entropy, epochs=1)
    shapes = {name: weights_of(pruned)[name].shape for name in layers(trained)}
    assert {name: array.shape for name, array in layers(trained).items()} == shapes
    assert shapes["stem.weight"][0] == 3


@pytest.mark.parametrize("learn", [True, False])
def test_scales_are_learned_if_they_are_to_be(learn: bool) -> None:
    graph = float_net()
    trained = quantization_aware(
        graph, DATA, cross_entropy, calibration=X, learn_scales=learn, epochs=1, optimizer=BOLD
    )
    before, after = (output_scale(g) for g in (Quantize(calibration=X)(graph), trained))
    assert (before != after) == learn


def output_scale(graph: Graph) -> float:
    (output,) = graph.outputs
    assert isinstance(output.op, Dequantize)
    scale = output.node.inputs[1].constant
    assert scale is not None
    return float(scale)


def test_a_step_is_a_part_of_each_weight_however_small_these_are() -> None:
    """A net for raw images has weights of its first layer far below 1."""
    graph = small_net(scale=2.0**-12, norm=False)
    options = Quantize(calibration=X)
    module = quantized_module(graph, options)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    module(torch.from_numpy(X)).square().sum().backward()
    optimizer.step()
    weight = module.get_parameter("stem.weight")
    moved = (weight - before["stem.weight"]).detach().square().mean().sqrt() / weight.detach().square().mean().sqrt()
    assert 0.005 < float(moved) < 0.02


def test_norms_are_those_of_the_data_in_the_end() -> None:
    seen: list[float] = []

    def loss(outputs: Outputs, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        value = cross_entropy(outputs, batch)
        seen.append(float(value.detach()))
        return value

    trained = quantization_aware(float_net(), DATA, loss, epochs=4, batch_size=96, optimizer={"name": "SGD", "lr": 0.0})
    *_, last = seen
    batch = {name: torch.from_numpy(array) for name, array in DATA.items()}
    (outputs,) = trained(X)
    assert last == pytest.approx(float(cross_entropy(torch.from_numpy(outputs), batch)), abs=1e-6)


@pytest.mark.parametrize("taught", [False, True])
def test_frozen_norms_keep_the_statistics_of_the_graph(taught: bool) -> None:
    """On data that has others, with steps of nothing: the program is that of the beginning."""
    graph, moved = float_net(), {**DATA, "x": X + 2}
    before = quantized_module(graph, Quantize(calibration=moved["x"])).program()
    options: Any = {"teacher": graph if taught else None, "calibration": moved["x"], "epochs": 2}
    options["optimizer"] = {"name": "SGD", "lr": 0.0}
    assert same(quantization_aware(graph, moved, cross_entropy, frozen_norms=True, **options), before)
    assert not same(quantization_aware(graph, moved, cross_entropy, **options), before)


def test_the_float_graph_teaches() -> None:
    graph = float_net()
    trained = quantization_aware(graph, X, weights="binary", teacher=graph, epochs=8, optimizer=BOLD, evaluate=accuracy)
    assert accuracy(trained) > accuracy(Quantize(calibration=X, weights="binary")(graph))
    with pytest.raises(InvalidInput, match="neither a loss nor a teacher"):
        quantization_aware(graph, X)


def test_a_run_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    whole = quantization_aware(float_net(), DATA, cross_entropy, epochs=3)
    count = 0

    def interrupted(outputs: Outputs, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        nonlocal count
        count += 1
        if count == 11:  # 3 batches before the first step, and the last of the second epoch
            raise KeyboardInterrupt
        return cross_entropy(outputs, batch)

    with pytest.raises(KeyboardInterrupt):
        quantization_aware(float_net(), DATA, interrupted, epochs=3, checkpoint=tmp_path)
    assert same(quantization_aware(float_net(), DATA, cross_entropy, epochs=3, checkpoint=tmp_path), whole)


def test_a_seed_makes_the_program() -> None:
    loader = DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(DATA["label"])), 16, shuffle=True)
    runs = []
    for state in (1, 2):
        torch.manual_seed(state)
        wanted = torch.rand(1)
        torch.manual_seed(state)
        runs.append(quantization_aware(float_net(), loader, cross_entropy, epochs=1, seed=5))
        assert torch.rand(1) == wanted
    assert same(*runs)


def test_a_graph_without_layers_is_refused() -> None:
    x = arg("x", "float32", (2, 3))
    with pytest.raises(InvalidInput, match="no layer can be on integers"):
        quantization_aware(Graph((x,), (Relu()(x),)), np.ones((4, 3), "float32"), cross_entropy)


@pytest.mark.parametrize("options", [{"weights": "int4-grouped"}, {"overrides": {"stem": "int4-grouped"}}])
def test_grouped_weights_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="weights of factors by group are not trained"):
        quantization_aware(float_net(), DATA, cross_entropy, **options)


def test_what_stays_float_is_told() -> None:
    context = Context()
    trained = quantization_aware(
        float_net(), DATA, cross_entropy, overrides={"next": "float32"}, epochs=1, context=context
    )
    assert [n.node for n in context.notes if n.declined] == ["next"]
    assert len([n for n in trained.nodes if isinstance(n.op, Conv)]) == 1


def test_a_run_that_goes_wrong_keeps_what_it_began_with() -> None:
    graph, options = float_net(), Quantize(calibration=X, weights="int4")
    with pytest.warns(UserWarning, match="training stopped"):
        trained = quantization_aware(
            graph, DATA, cross_entropy, weights="int4", calibration=X, optimizer={"name": "SGD", "lr": 1e9}
        )
    np.testing.assert_array_equal(trained(X)[0], quantized_module(graph, options).program()(X)[0])


def test_layers_that_are_lost_are_told() -> None:
    def bounded(outputs: Outputs, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        assert isinstance(outputs, torch.Tensor)
        return outputs.abs().clamp(max=5).mean()

    with pytest.warns(UserWarning, match=r"training took layers off the integers: .*stays float"):
        quantization_aware(float_net(), DATA, bounded, epochs=1, optimizer={"name": "adam", "lr": 10.0})
