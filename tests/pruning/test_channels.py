"""What the options of PruneChannels do, what its criteria measure, what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from graphopt.errors import ContractViolation, InvalidInput
from graphopt.ir import Array, Graph, arg
from graphopt.ops import MaxPool, ReduceMean, Relu
from graphopt.ops.macs import count_macs
from graphopt.passes import Context, Pipeline, PruneChannels, bisect, parse_passes
from graphopt.passes.contract import check_contract
from graphopt.passes.prune import (
    Activation,
    BatchNormScale,
    ConstantBytes,
    CostModel,
    GeometricMedian,
    Macs,
    Magnitude,
    Random,
    Scores,
    Sensitivity,
)
from graphopt.targets import cost
from pruning.nets import Builder, residual_net, weight


def channels(graph: Graph, name: str) -> int:
    return weight(graph, f"{name}.weight").shape[0]


def sizes(graph: Graph) -> dict[str, int]:
    return {name: channels(graph, name) for name in ("stem", "block.1", "block.2", "head")}


@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.5, 1.0])
def test_local_ratio(ratio: float) -> None:
    small = Pipeline([PruneChannels(ratio=ratio, scope="local")], check=True)(residual_net())
    left = max(1, int(16 * (1 - ratio)))
    assert sizes(small) == {"stem": left, "block.1": left, "block.2": left, "head": 5}


def test_nothing_to_do_leaves_the_very_same_graph() -> None:
    graph = residual_net()
    assert PruneChannels(ratio=0.0)(graph) is graph


def test_the_least_magnitude_goes() -> None:
    graph = residual_net()
    w1, w2 = (weight(graph, f"block.{i}.weight").astype(np.float64) for i in (1, 2))
    saliency = (w1**2).sum((1, 2, 3)) + (w2**2).sum((0, 2, 3))
    small = PruneChannels(ratio=0.5, scope="local", importance=Magnitude(p=2))(graph)
    kept = np.sort(np.argsort(saliency)[8:])
    assert np.array_equal(weight(small, "block.1.bias"), weight(graph, "block.1.bias")[kept])


def test_keep_names_layers_by_their_weights_too() -> None:
    graph = residual_net()
    small = PruneChannels(ratio=0.5, scope="local", keep=["block.2.w*"])(graph)
    assert sizes(small) == {"stem": 16, "block.1": 8, "block.2": 16, "head": 5}
    with pytest.raises(InvalidInput, match=r"no layer is called 'tail\.\*'"):
        PruneChannels(ratio=0.5, keep=["tail.*"])(graph)


def test_round_to_and_min_channels() -> None:
    graph = residual_net(20)
    assert sizes(PruneChannels(ratio=0.5, scope="local", round_to=8)(graph))["stem"] == 16
    assert sizes(PruneChannels(ratio=0.99, scope="local", min_channels=6)(graph))["stem"] == 6
    assert sizes(PruneChannels(ratio=0.99, scope="local", min_channels=6, round_to=8)(graph))["stem"] == 8


@dataclass(frozen=True)
class AllChannels:
    """A cost model of our own: the channels of the layers."""

    def cost(self, graph: Graph) -> float:
        return float(sum(sizes(graph).values()))


@pytest.mark.parametrize("scope", ["global", "local"])
@pytest.mark.parametrize(
    ("options", "model", "target"),
    [
        ({"target_macs": 0.5}, Macs(), 0.5),
        ({"target_bytes": 0.3, "steps": 3}, ConstantBytes(), 0.3),
        ({"target_cost": 70, "cost": AllChannels()}, AllChannels(), 70 / 101),
    ],
    ids=["macs", "bytes", "cost"],
)
def test_budgets_are_met_closely(scope: str, options: dict[str, Any], model: CostModel, target: float) -> None:
    graph = residual_net(32)
    small = Pipeline([PruneChannels(scope=scope, **options)], check=True)(graph)
    assert 0.85 * target <= model.cost(small) / model.cost(graph) <= target


def test_a_budget_out_of_reach_is_refused() -> None:
    with pytest.raises(InvalidInput, match="target_macs: no pruning brings it to 1 "):
        PruneChannels(target_macs=1.0001e-6)(residual_net())


def test_per_cost_takes_more_where_a_channel_costs_more() -> None:
    """Two layers of like weights, the second on a quarter of the pixels: its channels cost less: more stay."""
    b = Builder(3)
    x = arg("x", "float32", (1, 3, 16, 16))
    y = Relu()(b.conv(x, 16, "wide"))
    y = MaxPool(kernel=(2, 2), strides=(2, 2))(y)
    y = Relu()(b.conv(y, 16, "narrow"))
    graph = Graph((x,), (b.linear(ReduceMean(axes=(2, 3), keepdims=False)(y), 5, "head"),))
    plain, weighed = (PruneChannels(target_macs=0.5, per_cost=on)(graph) for on in (False, True))
    assert channels(weighed, "wide") < channels(plain, "wide")
    assert channels(weighed, "narrow") > channels(plain, "narrow")
    for small in (plain, weighed):
        assert 0.4 <= count_macs(small) / count_macs(graph) <= 0.5


def test_steps_score_anew_and_fine_tuning_comes_between() -> None:
    graph, seen = residual_net(), list[int]()

    def tune(g: Graph) -> Graph:
        seen.append(channels(g, "stem"))
        return g

    small = PruneChannels(ratio=0.75, scope="local", steps=3, fine_tune=tune)(graph)
    assert (seen, sizes(small)["block.1"]) == ([12, 8, 4], 4)


def calibration(count: int = 3) -> list[Array]:
    return [np.random.default_rng(i).standard_normal((2, 3, 8, 8)).astype("float32") for i in range(count)]


def first_output(graph: Graph) -> float:
    return -float(np.abs(graph(calibration()[0])[0]).mean())


@pytest.mark.parametrize(
    "importance",
    [
        *("magnitude", "geometric-median", "batch-norm-scale", "random"),
        *(Magnitude(p=1), GeometricMedian(), BatchNormScale(), Random(seed=3), Activation(calibration())),
        Sensitivity(first_output),
    ],
    ids=lambda criterion: criterion if isinstance(criterion, str) else type(criterion).__name__,
)
def test_every_criterion_prunes_and_holds_the_contract(importance: object) -> None:
    prune = PruneChannels(ratio=0.5, scope="local", importance=importance)  # type: ignore[arg-type]
    small = Pipeline([prune], check=True)(residual_net(8))
    assert sizes(small)["stem"] == 4


def unit_norm(graph: Graph, scale: Array) -> Scores:
    norm = graph.node("norm.scale").results[0]
    return {norm: scale}


def test_a_function_is_a_criterion_and_signed_scores_cancel() -> None:
    scale = np.array([3.0, -1.0, 2.0, -4.0] * 4)
    small = PruneChannels(ratio=0.5, scope="local", importance=lambda g: unit_norm(g, scale))(residual_net())
    assert np.array_equal(weight(small, "norm.bias"), weight(residual_net(), "norm.bias")[np.abs(scale) > 2])


def test_activations_of_the_sums_are_scored() -> None:
    graph = residual_net()
    scores = Activation(calibration()).scores(graph)
    head = graph.node("head").inputs[0]
    wanted = np.mean([np.abs(Graph(graph.inputs, (head,))(x)[0]).mean(0) for x in calibration()], axis=0)
    assert np.allclose(scores[head], wanted[None], rtol=1e-6)


def test_measured_sensitivity_is_the_drop_without_a_unit() -> None:
    graph = residual_net(4)

    def score(g: Graph) -> float:
        return float(g(calibration()[0])[0].sum())

    scores = Sensitivity(score).scores(graph)
    assert sum(int((a > 0).sum()) for a in scores.values()) > 0
    for value, drops in scores.items():
        assert drops.shape.count(1) >= value.type.rank - 1


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "neither a ratio nor a budget says how much is to go"),
    ({"ratio": 0.5, "target_macs": 0.5}, "a ratio and a budget are given"),
    ({"ratio": 1.5}, "ratio 1.5 is not in"),
    ({"ratio": 0.5, "scope": "galaxy"}, "unknown scope 'galaxy'"),
    ({"ratio": 0.5, "round_to": 0}, "round_to 0 is less than 1"),
    ({"target_macs": 0.5, "target_bytes": 0.5}, "more than one target"),
    ({"ratio": 0.5, "per_cost": True}, "per_cost without a budget"),
    ({"target_cost": 0.5}, "target_cost and cost go together"),
    ({"ratio": 0.5, "keep": "head"}, "keep is one string"),
    ({"ratio": 0.5, "importance": "beauty"}, "no criterion is called 'beauty'"),
    ({"ratio": 0.5, "importance": lambda g: {g.outputs[0]: np.zeros((1, 1, 3))}}, "scores of shape"),
    ({"ratio": 0.5, "importance": lambda g: {}}, "says nothing of any channel"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[m for _, m in BAD])
def test_what_cannot_be_is_refused_with_a_reason(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        PruneChannels(**options)(residual_net())


def test_a_generator_of_data_is_refused() -> None:
    with pytest.raises(InvalidInput, match="read but once"):
        Activation(x for x in calibration()).scores(residual_net())


def test_notes_say_what_is_coupled_what_went_and_what_stayed() -> None:
    context = Context()
    PruneChannels(ratio=0.5, scope="local").run(residual_net(), context)
    told = {(n.node, n.declined): n.text for n in context.notes}
    assert told["block.1", False] == (
        "8 of 16 units removed, each of block.1.weight[0], block.1.bias[0], block.2.weight[1]"
    )
    assert told["head", True] == "kept: it is a graph output"
    assert "head.weight[1]" in told["stem", False] and "block.2.bias[0]" in told["stem", False]


def test_the_pass_has_a_command_line_form() -> None:
    (prune,) = parse_passes("prune-channels{ratio=0.25, scope='local', keep=('head',)}")
    small = prune(residual_net())
    assert sizes(small)["stem"] == 12


def test_a_pass_that_promises_to_mask_must_tell() -> None:
    prune = PruneChannels(ratio=0.5)
    with pytest.raises(ContractViolation, match="does not tell its removals"):
        check_contract(lambda g: g, residual_net(), prune.contract, "nothing")


@pytest.mark.parametrize("scope", ["global", "local", "isomorphic"])
def test_scopes(scope: str) -> None:
    """A linear of which all weights are small, and a convolution: only globally does one make up for the other."""
    b = Builder()
    x = arg("x", "float32", (2, 3, 4, 4))
    y = ReduceMean(axes=(2, 3), keepdims=False)(Relu()(b.conv(x, 16, "conv")))
    graph = Graph((x,), (b.linear(Relu()(b.linear(y, 16, "linear")), 5, "head"),))

    def scores(g: Graph) -> Scores:
        low, high = (g.node(f"{name}.bias").results[0] for name in ("conv", "linear"))
        return {low: np.arange(16.0), high: 100 + np.arange(16.0)}

    small = PruneChannels(ratio=0.5, scope=scope, importance=scores, normalize=False)(graph)
    found = channels(small, "conv"), channels(small, "linear")
    assert found == ((1, 15) if scope == "global" else (8, 8))


def test_bisecting_does_not_blame_it() -> None:
    assert bisect(residual_net(), [PruneChannels(ratio=0.5)]) is None


@pytest.mark.slow
def test_a_target_counts_its_own_instructions() -> None:
    graph, model = residual_net(), cost("cortex-m4")
    small = PruneChannels(target_cost=0.5, cost=model)(graph)
    assert 0.4 <= model.cost(small) / model.cost(graph) <= 0.5


def test_a_target_counts_its_own_bytes() -> None:
    graph, model = residual_net(), cost("cortex-m4", "ram")
    assert model.cost(PruneChannels(ratio=0.5, scope="local")(graph)) < 0.7 * model.cost(graph)
    with pytest.raises(InvalidInput, match="unknown unit 'joules'"):
        cost("cortex-m4", "joules")


def test_a_layer_that_is_left_thin_is_told_of() -> None:
    context = Context()
    PruneChannels(ratio=0.95, scope="local").run(residual_net(), context)
    (note,) = (n for n in context.notes if n.node == "stem.weight" and n.alarm)
    assert note.text.startswith("only 1 of 16 channels are left")
    context = Context()
    PruneChannels(ratio=0.5, scope="local").run(residual_net(), context)
    assert not any(n.alarm for n in context.notes)
