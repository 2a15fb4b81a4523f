"""Programs with quantize and dequantize of ``quantized_decomposed``, as torchao's PT2E export has them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.ao.quantization.fx._decomposed
from torch import Tensor, nn

import graphopt
from graphopt.errors import Unsupported
from graphopt.ir import Graph
from graphopt.ops import ConvInteger, LinearInteger
from graphopt.passes import Context, LowerInteger

Q = torch.ops.quantized_decomposed


class Net(nn.Module):
    """A convolution with weights by channel, a dense layer with weights by tensor, activations of int8 or uint8."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.dtype, self.limits = dtype, (torch.iinfo(dtype).min, torch.iinfo(dtype).max)
        self.zero = 3 if dtype == torch.int8 else 131
        w = torch.randn(4, 3, 3, 3)
        self.register_buffer("scales", w.abs().amax((1, 2, 3)) / 127)
        self.register_buffer("zeros", torch.zeros(4, dtype=torch.int64))
        self.register_buffer("w", Q.quantize_per_channel(w, self.scales, self.zeros, 0, -127, 127, torch.int8))
        self.register_buffer("v", torch.randint(-127, 128, (5, 4), dtype=torch.int8))
        self.bias = nn.Parameter(torch.randn(4))

    def fake(self, x: Tensor, scale: float) -> Tensor:
        q = Q.quantize_per_tensor(x, scale, self.zero, *self.limits, self.dtype)
        return Q.dequantize_per_tensor(q, scale, self.zero, *self.limits, self.dtype)

    def forward(self, x: Tensor) -> Tensor:
        w = Q.dequantize_per_channel(self.w, self.scales, self.zeros, 0, -127, 127, torch.int8)
        v = Q.dequantize_per_tensor(self.v, 0.01, 0, -127, 127, torch.int8)
        y = self.fake(torch.relu(nn.functional.conv2d(self.fake(x, 0.02), w, self.bias, padding=1)), 0.1)
        y = self.fake(y.mean((2, 3)), 0.05)
        return self.fake(nn.functional.linear(y, v), 0.1)


def imported(model: nn.Module) -> tuple[Graph, Tensor]:
    x = torch.randn(2, 3, 6, 5)
    return graphopt.trace(model.eval(), x), x


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8])
def test_programs_compute_the_same_and_become_integer(dtype: torch.dtype) -> None:
    model = Net(dtype)
    graph, x = imported(model)
    with torch.no_grad():
        want = model(x).numpy()
    np.testing.assert_allclose(graph(x.numpy())[0], want, atol=1e-5)
    context = Context()
    integer = LowerInteger().run(graph, context)
    assert not [n for n in context.notes if n.declined]
    assert {ConvInteger, LinearInteger} <= {type(n.op) for n in integer.nodes}
    assert np.abs(integer(x.numpy())[0] - want).max() <= 0.2 + 1e-5


def test_limits_within_the_dtype_clip() -> None:
    class Narrow(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            q = Q.quantize_per_tensor(x, 0.1, 5, -20, 30, torch.int8)
            return Q.dequantize_per_tensor(q, 0.1, 5, -20, 30, torch.int8)

    x = torch.linspace(-9, 9, 181).reshape(1, 181)
    graph = graphopt.trace(Narrow(), x)
    np.testing.assert_allclose(graph(x.numpy())[0], Narrow()(x).numpy(), atol=1e-6)


def test_computed_scales_are_refused() -> None:
    class Dynamic(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            scale, zero = x.abs().max() / 127, torch.zeros((), dtype=torch.int64)
            q = Q.quantize_per_tensor.tensor(x, scale, zero, -128, 127, torch.int8)
            return Q.dequantize_per_tensor.tensor(q, scale, zero, -128, 127, torch.int8)

    with pytest.raises(Unsupported, match="quantize statically"):
        graphopt.trace(Dynamic(), torch.randn(2, 3))
