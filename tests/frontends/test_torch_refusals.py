"""Torch modules that are refused, with what the error says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from frontends.torch_models import Lambda
from graphopt.errors import InvalidInput, Unsupported
from graphopt.frontends import trace


def test_all_unsupported_nodes_are_listed() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        y = torch.linalg.svdvals(x).cumsum(1).sum() + F.max_pool1d(x, 2, ceil_mode=True).sum()
        return torch.special.i0(y.flip(0)) + F.adaptive_max_pool1d(x, 3).sum()

    with pytest.raises(Unsupported) as caught:
        trace(Lambda(function), torch.rand(1, 4, 8), name="net")
    text = str(caught.value)
    for line in ("aten._linalg_svd.default", "aten.i0.default"):
        assert line in text
    assert "adaptive max pooling of (8,) to (3,)" in text and text.startswith("net: 3 nodes cannot be imported")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: F.dropout(x, 0.5, training=True), "dropout in training mode"),
        (lambda x: torch.rand(8) + x, "aten.rand.default"),
        (lambda x: F.max_pool1d(x, 2, return_indices=True)[1], "result 1"),
        (lambda x: F.batch_norm(x, None, None, training=True), "statistics of the batch"),
        (lambda x: F.avg_pool1d(x, 3, 2, 1, ceil_mode=True), "counts its padding"),
        (lambda x: x[:, 4:4], "is empty"),
        (lambda x: x[x > 0], "a shape depends on data"),
        (lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5), "attention with dropout"),
        (lambda x: torch.einsum("bii->bi", x[:, :, :4]), "name every axis once"),
    ],
)
def test_refusals(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(Unsupported, match="cannot be imported") as caught:
        trace(Lambda(function), torch.rand(1, 4, 8))
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_dropout_in_training_is_refused(kind: Callable[..., nn.Module]) -> None:
    program = torch.export.export(kind(8, 4, 2, dropout=0.5).train(), (torch.rand(2, 4, 8),))
    with pytest.raises(Unsupported, match="dropout between recurrent layers"):
        trace(program)


def test_projected_lstm_is_refused() -> None:
    with pytest.raises(Unsupported, match="proj_size"):
        trace(nn.LSTM(8, 4, proj_size=2), torch.rand(1, 4, 8))


def test_state_is_refused() -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.count += 1
            return x + self.count

    with pytest.raises(Unsupported, match=r"count .*the model changes it"):
        trace(Counter(), torch.rand(1, 4))


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.function = nn.Linear(4, 4).bfloat16()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.function.weight.float().sum()


def test_bfloat16_is_refused() -> None:
    with pytest.raises(Unsupported, match="input 'input': it is bfloat16"):
        trace(nn.Linear(4, 4).bfloat16(), torch.rand(1, 4).bfloat16())
    with pytest.raises(Unsupported, match=r"function\.weight .*bfloat16"):
        trace(Mixed(), torch.rand(1, 4))


def test_dynamic_size_is_refused() -> None:
    program = torch.export.export(
        nn.ReLU(), (torch.rand(2, 4),), dynamic_shapes=({0: torch.export.Dim("b"), 1: torch.export.Dim("seq")},)
    )
    with pytest.raises(Unsupported, match="input 'input': dimension 1 is dynamic"):
        trace(program)


def test_a_refusal_tells_why_there_is_no_rule() -> None:
    with pytest.raises(Unsupported, match=r"\(aten\.atan2\.default\): no operator stands for the angle of two"):
        trace(Lambda(lambda x: torch.atan2(x, x + 1)), torch.rand(1, 4))


def test_control_flow_is_refused() -> None:
    with pytest.raises(Unsupported, match=r"torch\.export cannot trace"):
        trace(Lambda(lambda x: x if x.sum() > 0 else -x), torch.rand(1, 4))


@pytest.mark.parametrize(("model", "inputs"), [(nn.ReLU(), None), (object(), None), (nn.ReLU(), "x")])
def test_wrong_arguments(model: Any, inputs: Any) -> None:
    with pytest.raises(InvalidInput):
        trace(model, inputs)


def test_sparse_weights_are_refused() -> None:
    model = Lambda(lambda x: x)
    model.register_buffer("weight", torch.eye(3).to_sparse())
    model.function = lambda x: x + model.weight
    with pytest.raises(Unsupported, match=r"weight \(parameter\): it is no dense tensor"):
        trace(model, torch.ones(3, 3))
