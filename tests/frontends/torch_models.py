"""Torch modules made of functions, and their comparison with the graphs traced from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from graphopt.ir import Graph


class Lambda(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


class Two(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        return self.function(x, y)


def outputs(result: Any) -> list[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        return [result]
    parts = result.values() if isinstance(result, dict) else result
    return [tensor for part in parts for tensor in outputs(part)]


def check(graph: Graph, model: nn.Module, *shapes: tuple[int, ...], batches: tuple[int, ...] = (1, 3)) -> None:
    """The graph equals the module in evaluation mode, at each batch, on inputs of these shapes."""
    model.eval()
    for batch in batches:
        generator = torch.Generator().manual_seed(batch)
        inputs = [torch.rand((batch, *shape), generator=generator) * 4 - 2 for shape in shapes]
        got = graph(*(i.numpy().copy() for i in inputs))
        with torch.no_grad():
            expected = outputs(model(*inputs))
        assert len(got) == len(expected)
        for a, b in zip(got, expected, strict=True):
            assert a.shape == tuple(b.shape)
            assert np.abs(a - b.numpy()).max() <= 1e-5 * max(np.abs(b.numpy()).max(), 1e-30)


def example(*shapes: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(torch.rand((1, *shape)) + 0.5 for shape in shapes)


def warm(norm: nn.Module) -> nn.Module:
    """Statistics as after training."""
    with torch.no_grad():
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    return norm


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What graphopt has logged."""
    return [r.getMessage() for r in caplog.records if r.name == "graphopt"]


IMAGE = (4, 8, 8)


def assign(x: torch.Tensor, index: Any) -> torch.Tensor:
    y = x.clone()
    y[index] = y[index] * 2 + 1
    return y
