"""Traced graphs are held to the model on the example: what the trace did not see is found out."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from graphopt import ops
from graphopt.errors import Unsupported
from graphopt.frontends import trace
from graphopt.frontends.torch.check import Example, NotComparable, difference
from graphopt.frontends.torch.node import ATEN_RULES, AtenNode
from graphopt.ir import Graph, Value

ONE = torch.tensor([[1.0, 2.0, 3.0]])
FOUR = torch.arange(12.0).reshape(4, 3)


class Lambda(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


def centre(x: torch.Tensor) -> torch.Tensor:
    """Another path for a batch of one, as in pytorch/pytorch #151582."""
    return x - x.mean(0) if x.shape[0] > 1 else x


def squeezed(x: torch.Tensor) -> torch.Tensor:
    """A batch of one is dropped with the other axes of one element."""
    return (x * 2).squeeze()


def same(graph: Graph, model: nn.Module, x: torch.Tensor) -> bool:
    return np.array_equal(graph(x.numpy())[0], model(x).numpy())


def quiet(model: Any, x: Any = None, **options: Any) -> Graph:
    """The graph, traced without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return trace(model, x, **options)


MODELS = [Lambda(centre), Lambda(squeezed), torch.fx.symbolic_trace(Lambda(squeezed))]


@pytest.mark.parametrize("model", MODELS, ids=["centre", "squeezed", "squeezed_fx"])
def test_another_path_for_a_batch_of_one_fixes_the_batch(model: nn.Module) -> None:
    with pytest.warns(UserWarning, match=r"fixed batch of 1: the model does something else.*output 'output'"):
        graph = trace(model, ONE)
    assert not graph.is_symbolic
    assert same(graph, model, ONE)
    assert same(quiet(model, ONE, dynamic_batch=False), model, ONE)


@pytest.mark.parametrize("function", [centre, squeezed])
def test_a_graph_right_for_more_warns_of_one(function: Callable[..., Any]) -> None:
    with pytest.warns(UserWarning, match="for a batch of one the graph does not do what the model does"):
        graph = trace(Lambda(function), FOUR)
    assert graph.is_symbolic
    assert same(graph, Lambda(function), FOUR)


def test_programs_are_compared_where_they_hold_an_example() -> None:
    batch = torch.export.Dim("batch")
    program = torch.export.export(Lambda(torch.relu), (FOUR,), dynamic_shapes=({0: batch},))
    assert same(quiet(program), Lambda(torch.relu), FOUR)
    program.example_inputs = None
    assert quiet(program).is_symbolic


def test_what_only_the_trace_sees_is_refused() -> None:
    model = Lambda(lambda x: x + 1 if torch.compiler.is_exporting() else x + 2)
    with pytest.raises(Unsupported, match=r"not give what the model gives.*'output' differs by 0\.2"):
        trace(model, ONE)
    assert quiet(model, ONE, check=False).is_symbolic


def test_a_rule_that_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(at: AtenNode, x: Value) -> Value:
        return at.emit(ops.Tanh(), x)

    monkeypatch.setitem(ATEN_RULES, "aten.relu.default", wrong)
    with pytest.raises(Unsupported, match="check=False"):
        trace(nn.ReLU(), ONE)


class Counting(nn.Module):
    """Keeps books in Python, draws numbers, and changes its input."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.register_buffer("seen", torch.zeros(3), persistent=False)
        self.drop = nn.Dropout()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_exporting():
            self.calls = self.calls + 1
            self.seen += 1
            torch.rand(1), np.random.rand(), random.random()
        x.mul_(2)
        return self.drop(x)


def test_nothing_of_the_user_is_changed() -> None:
    model, x = Counting().train(), FOUR.clone()
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    graph = quiet(model, x)
    assert np.array_equal(graph(FOUR.numpy())[0], 2 * FOUR.numpy())
    assert (model.calls, model.seen.tolist(), model.training) == (0, [0, 0, 0], True)
    assert torch.equal(x, FOUR)
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])
    assert states[2] == random.getstate()


def test_a_random_model_is_not_compared() -> None:
    with pytest.warns(UserWarning, match="not compared with the model: the model gives other results each time"):
        trace(Lambda(lambda x: x * random.random()), ONE)


def test_a_model_that_fails_is_not_compared() -> None:
    def fails(x: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_exporting():
            raise KeyError("weights")
        return x + 1

    with pytest.warns(
        UserWarning, match="not compared with the model: the model fails on its example inputs: KeyError"
    ):
        trace(Lambda(fails), ONE)


def test_nan_and_infinity_are_results() -> None:
    quiet(Lambda(lambda x: torch.log(x - 2) / torch.tensor([1.0, 0.0, 1.0])), ONE)


def test_results_that_hang_on_rounding_are_not_compared() -> None:
    graph = trace(Lambda(lambda x: torch.sign(x + 1e-9)), ONE)
    with pytest.raises(NotComparable, match="changes an output by"):
        difference(graph, Example(Lambda(lambda x: torch.sign(x - 1e-9)), (torch.zeros(1, 3),), {}))
    apart = Example(Lambda(lambda x: torch.sign(x - 1)), (torch.zeros(1, 3),), {})
    assert difference(graph, apart) == "output 'output' differs by 2 of max|y|"


@pytest.mark.parametrize("pick", [lambda x: x.topk(40)[1], lambda x: x.sort()[1], lambda x: x.gather(1, x.topk(40)[1])])
def test_the_order_of_equal_elements_is_not_compared(pick: Callable[..., Any]) -> None:
    x = torch.rand(1, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        trace(Lambda(lambda x: pick(torch.relu(x))), x)
    assert all(
        "picks the first of elements that are equal" in str(w.message) for w in told if w.category is UserWarning
    )
    quiet(Lambda(lambda x: torch.relu(x).topk(3)[1]), x)


def test_named_arguments_in_any_order() -> None:
    class Both(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a - 2 * b

    quiet(Both(), {"b": FOUR, "a": FOUR + 1})
