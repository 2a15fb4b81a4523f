"""Gradient importances against finite differences of the evaluator, which knows nothing of torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from graphopt.errors import InvalidInput
from graphopt.ir import Array, Batch, Graph, Value, arg, constant, rebuild
from graphopt.ops import BatchNorm, Conv, Linear, Mul, ReduceMean, Relu, Tanh
from graphopt.passes import Pipeline, PruneChannels
from graphopt.passes.prune import Importance
from graphopt.training import Hessian, Taylor

CLASSES = 3


def net(dead: bool = False) -> Graph:
    """Two convolutions and a classifier; with ``dead`` nothing reads channel 1 of the first."""
    rng = np.random.default_rng(0)
    made: dict[str, Array] = {
        "conv.weight": rng.standard_normal((4, 2, 2, 2)),
        "conv.bias": rng.standard_normal(4),
        "next.weight": rng.standard_normal((3, 4, 1, 1)),
        "next.bias": rng.standard_normal(3),
        "head.weight": rng.standard_normal((CLASSES, 3)),
        "head.bias": rng.standard_normal(CLASSES),
    }
    if dead:
        made["next.weight"][:, 1] = 0
    w = {name: constant(data, name) for name, data in made.items()}
    x = arg("x", "float64", (Batch(), 2, 3, 3))
    y = Tanh()(Conv()(x, w["conv.weight"], w["conv.bias"], name="conv"))
    y = Tanh()(Conv()(y, w["next.weight"], w["next.bias"], name="next"))
    y = ReduceMean(axes=(2, 3), keepdims=False)(y)
    return Graph((x,), (Linear()(y, w["head.weight"], w["head.bias"], name="head"),))


def batches(count: int, size: int) -> list[dict[str, Array]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.standard_normal((size, 2, 3, 3)), "label": rng.integers(0, CLASSES, size)} for _ in range(count)]


def cross_entropy(outputs: Tensor | tuple[Tensor, ...], batch: Mapping[str, Tensor]) -> Tensor:
    assert isinstance(outputs, Tensor)
    return F.cross_entropy(outputs, batch["label"])


def by_numpy(graph: Graph, batch: Mapping[str, Array]) -> float:
    """The same loss, of the evaluator's outputs."""
    y = graph(batch["x"])[0]
    log_sums = np.log(np.exp(y).sum(1))
    return float((log_sums - y[np.arange(len(y)), batch["label"]]).mean())


def weights(graph: Graph) -> dict[str, Value]:
    return {graph.names[n]: n.results[0] for n in graph.nodes if n.results[0].constant is not None}


def moved(graph: Graph, name: str, index: tuple[int, ...], by: float) -> Graph:
    """The graph with one element of a constant moved."""

    def move(node: object, inputs: object) -> tuple[Value, ...] | None:
        if node is not graph.node(name):
            return None
        (old,) = graph.node(name).results
        assert old.constant is not None
        data = old.constant.copy()
        data[index] += by
        return (constant(data, like=old),)

    return rebuild(graph, move)


def differences(graph: Graph, name: str, loss: Callable[[Graph], float]) -> Array:
    """The derivative of a loss by each element of a constant."""
    data = weights(graph)[name].constant
    assert data is not None
    step = 1e-6
    found = np.zeros(data.shape)
    for index in np.ndindex(*data.shape):
        up, down = (loss(moved(graph, name, index, s * step)) for s in (1, -1))
        found[index] = (up - down) / (2 * step)
    return found


def named(importance: Importance, graph: Graph) -> dict[str, Array]:
    scores = importance.scores(graph)
    found = {graph.names[v.node]: s for v, s in scores.items()}
    assert set(scores) == set(weights(graph).values())
    assert all(found[name].shape == v.type.shape for name, v in weights(graph).items())
    return found


def test_taylor_is_the_weight_times_the_difference() -> None:
    graph, data = net(), batches(3, 2)
    signed, magnitude = (named(Taylor(cross_entropy, data, signed=s), graph) for s in (True, False))
    for name, value in weights(graph).items():
        w = value.constant
        terms = [w * differences(graph, name, lambda g, b=b: by_numpy(g, b)) for b in data]
        np.testing.assert_allclose(signed[name], np.mean(terms, axis=0), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(magnitude[name], np.mean(np.abs(terms), axis=0), rtol=1e-6, atol=1e-9)


def test_the_fisher_estimate_is_of_squared_differences() -> None:
    graph, data = net(), batches(3, 1)
    scores = named(Hessian(cross_entropy, data), graph)
    for name, value in weights(graph).items():
        w = value.constant
        squares = [differences(graph, name, lambda g, b=b: by_numpy(g, b)) ** 2 for b in data]
        np.testing.assert_allclose(scores[name], w**2 * np.mean(squares, axis=0) / 2, rtol=1e-6, atol=1e-9)


def test_hutchinson_is_exact_where_the_hessian_is_diagonal() -> None:
    x, w = arg("x", "float64", (Batch(), 5)), constant(np.array([1.0, -2, 0.5, 3, 0]), "w")
    graph = Graph((x,), (Mul()(x, w),))
    data = [np.random.default_rng(s).standard_normal((4, 5)) for s in range(2)]
    scores = Hessian(lambda y, batch: y.square().sum(), data, estimate="hutchinson", draws=1).scores(graph)
    second = np.mean([2 * (x**2).sum(0) for x in data], axis=0)
    np.testing.assert_allclose(scores[w], w.constant**2 * second / 2, rtol=1e-12)


def test_hutchinson_errs_as_its_variance_allows() -> None:
    """The variance of one draw of h[i] is the sum of H[i, j]^2 over j other than i."""
    rng = np.random.default_rng(0)
    x, w, b = arg("x", "float64", (3, 2)), rng.standard_normal((2, 2)), rng.standard_normal(2)
    graph = Graph((x,), (Tanh()(Linear()(x, constant(w, "w"), constant(b, "b"))),))
    data, draws, step = rng.standard_normal((3, 2)), 400, 1e-4
    places = [("w", (i, j)) for i in range(2) for j in range(2)] + [("b", (i,)) for i in range(2)]

    def loss(*moves: tuple[int, float]) -> float:
        changed = graph
        for place, by in moves:
            changed = moved(changed, *places[place], by)
        return float((changed(data)[0] ** 2).sum())

    hessian = np.zeros((6, 6))
    for i, j in np.ndindex(6, 6):
        corners = [s * t * loss((i, s * step), (j, t * step)) for s in (1, -1) for t in (1, -1)]
        hessian[i, j] = sum(corners) / (4 * step**2)
    found = named(Hessian(lambda y, batch: y.square().sum(), [data], "hutchinson", draws, seed=1), graph)
    scores = np.concatenate([found["w"].reshape(-1), found["b"]])
    half_squares = np.concatenate([w.reshape(-1), b]) ** 2 / 2
    spread = np.sqrt((hessian**2).sum(1) - hessian.diagonal() ** 2) / draws**0.5
    assert (np.abs(scores / half_squares - hessian.diagonal()) <= 4 * spread + 1e-5).all()


def test_a_loss_that_is_linear_in_the_weights_has_no_curvature() -> None:
    x, w = arg("x", "float64", (2,)), constant(np.ones(2), "w")
    linear = Hessian(lambda y, batch: y.sum(), [np.ones(2)], estimate="hutchinson")
    np.testing.assert_array_equal(linear.scores(Graph((x,), (Mul()(x, w),)))[w], [0, 0])


ALL = [
    Taylor(cross_entropy, batches(3, 2)),
    Taylor(cross_entropy, batches(3, 2), signed=True),
    Hessian(cross_entropy, batches(3, 2)),
    Hessian(cross_entropy, batches(3, 2), estimate="hutchinson"),
]
IDS = ["taylor", "taylor-signed", "fisher", "hutchinson"]


@pytest.mark.parametrize("importance", ALL[:-1], ids=IDS[:-1])
def test_what_the_loss_does_not_feel_scores_zero_and_goes_first(importance: Taylor | Hessian) -> None:
    graph = net(dead=True)
    scores = named(importance, graph)
    assert not any(
        scores[n].take(1, axis).any() for n, axis in (("conv.weight", 0), ("conv.bias", 0), ("next.weight", 1))
    )
    assert scores["conv.weight"][0].any()
    pruning = PruneChannels(ratio=0.25, importance=importance, scope="local", keep=["next", "head"])
    small = Pipeline([pruning], check=True)(graph)
    x = batches(1, 2)[0]["x"]
    np.testing.assert_allclose(small(x)[0], graph(x)[0], rtol=1e-12)
    kept = weights(small)["conv.weight"].constant
    np.testing.assert_array_equal(kept, weights(graph)["conv.weight"].constant[[0, 2, 3]])


@pytest.mark.parametrize("importance", ALL, ids=IDS)
def test_scores_are_deterministic(importance: Taylor | Hessian) -> None:
    first, again = named(importance, net()), named(importance, net())
    for name, score in first.items():
        np.testing.assert_array_equal(score, again[name])


def test_another_seed_draws_other_signs() -> None:
    one, two = (named(Hessian(cross_entropy, batches(1, 2), "hutchinson", seed=s), net()) for s in (0, 1))
    assert not np.array_equal(one["conv.weight"], two["conv.weight"])


def test_statistics_of_norms_are_not_scored_and_not_moved() -> None:
    x = arg("x", "float32", (Batch(), 2))
    parameters = [constant(np.full(2, v, np.float32), n) for n, v in (("s", 1), ("b", 0), ("m", 0.5), ("v", 2))]
    graph = Graph((x,), (Relu()(BatchNorm()(x, *parameters)),))
    data = [np.random.default_rng(0).standard_normal((8, 2)).astype(np.float32)]
    scores = Taylor(lambda y, batch: (y - batch["x"]).square().mean(), data).scores(graph)
    assert set(scores) == set(parameters[:2])


def test_data_and_losses_that_do_not_do() -> None:
    graph, data = net(), batches(1, 2)
    with pytest.raises(InvalidInput, match="the data can be read"):
        Taylor(cross_entropy, (b for b in data)).scores(graph)
    with pytest.raises(InvalidInput, match="no estimate is called 'exact'"):
        Hessian(cross_entropy, data, estimate="exact")
    with pytest.raises(InvalidInput, match="there is no data"):
        Taylor(cross_entropy, []).scores(graph)
    with pytest.raises(InvalidInput, match="no input 'x'"):
        Taylor(cross_entropy, [{"y": data[0]["x"]}]).scores(graph)
    with pytest.raises(InvalidInput, match="a scalar tensor, computed from the outputs, is needed"):
        Taylor(lambda y, batch: y, data).scores(graph)
    with pytest.raises(InvalidInput, match="a scalar tensor, computed from the outputs, is needed"):
        Taylor(lambda y, batch: torch.zeros(()), data).scores(graph)
    with pytest.raises(InvalidInput, match="the loss of a batch is nan"):
        Taylor(lambda y, batch: y.sum() * float("nan"), data).scores(graph)
