"""The common modules and functions of PyTorch, against the graphs traced from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from frontends.torch_models import IMAGE, Lambda, assign, check, example, told, warm
from graphopt.frontends import trace
from graphopt.ir import Batch, parse, print_graph

MODULES: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "conv1d": (nn.Conv1d(4, 6, 3, padding=1, stride=2), (4, 9)),
    "conv1d_same": (nn.Conv1d(4, 6, 4, padding="same", dilation=2), (4, 19)),
    "conv2d": (nn.Conv2d(4, 6, (3, 2), padding=(1, 0), stride=(2, 1), dilation=(1, 2)), IMAGE),
    "conv2d_valid": (nn.Conv2d(4, 6, 3, padding="valid"), IMAGE),
    "conv2d_depthwise": (nn.Conv2d(4, 8, 3, groups=4, bias=False), IMAGE),
    "conv3d": (nn.Conv3d(2, 3, 2), (2, 4, 5, 6)),
    "conv_transpose1d": (nn.ConvTranspose1d(4, 3, 3, stride=2), (4, 7)),
    "conv_transpose2d": (nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2), IMAGE),
    "conv_transpose2d_dilated": (nn.ConvTranspose2d(4, 6, 3, dilation=2, bias=False), IMAGE),
    "linear": (nn.Linear(8, 5), IMAGE),
    "linear_no_bias": (nn.Linear(8, 5, bias=False), (8,)),
    "batch_norm1d": (warm(nn.BatchNorm1d(4)), (4, 9)),
    "batch_norm2d": (warm(nn.BatchNorm2d(4, eps=1e-3)), IMAGE),
    "batch_norm2d_plain": (warm(nn.BatchNorm2d(4, affine=False)), IMAGE),
    "relu": (nn.ReLU(), IMAGE),
    "relu6": (nn.ReLU6(), IMAGE),
    "leaky_relu": (nn.LeakyReLU(0.2), IMAGE),
    "hardtanh": (nn.Hardtanh(-0.5, 0.75), IMAGE),
    "hardswish": (nn.Hardswish(), IMAGE),
    "hardsigmoid": (nn.Hardsigmoid(), IMAGE),
    "silu": (nn.SiLU(), IMAGE),
    "sigmoid": (nn.Sigmoid(), IMAGE),
    "tanh": (nn.Tanh(), IMAGE),
    "glu": (nn.GLU(1), IMAGE),
    "softmax": (nn.Softmax(-1), IMAGE),
    "softmax_channels": (nn.Softmax(1), IMAGE),
    "dropout": (nn.Sequential(nn.Dropout(), nn.Identity(), nn.ReLU()), IMAGE),
    "max_pool1d": (nn.MaxPool1d(3, 2, 1), (4, 9)),
    "max_pool2d": (nn.MaxPool2d(5, 1, 2), IMAGE),
    "max_pool2d_dilated": (nn.MaxPool2d(2, 2, dilation=2), IMAGE),
    "max_pool2d_ceil": (nn.MaxPool2d(3, 2, ceil_mode=True), IMAGE),
    "max_pool2d_ceil_padded": (nn.MaxPool2d(2, 2, 1, ceil_mode=True), (4, 7, 8)),
    "avg_pool1d": (nn.AvgPool1d(3, 2), (4, 9)),
    "avg_pool2d": (nn.AvgPool2d(3, 2, 1), IMAGE),
    "avg_pool2d_inside": (nn.AvgPool2d(3, 2, 1, count_include_pad=False), IMAGE),
    "avg_pool2d_ceil": (nn.AvgPool2d(3, 2, ceil_mode=True), IMAGE),
    "avg_pool2d_ceil_inside": (nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), IMAGE),
    "adaptive_avg_pool1d": (nn.AdaptiveAvgPool1d(3), (4, 9)),
    "adaptive_avg_pool2d": (nn.AdaptiveAvgPool2d(1), IMAGE),
    "adaptive_avg_pool2d_grid": (nn.AdaptiveAvgPool2d((4, 2)), IMAGE),
    "adaptive_avg_pool2d_same": (nn.AdaptiveAvgPool2d((8, None)), IMAGE),
    "adaptive_max_pool2d": (nn.AdaptiveMaxPool2d(1), IMAGE),
    "upsample1d": (nn.Upsample(scale_factor=3), (4, 5)),
    "upsample2d": (nn.Upsample(scale_factor=2, mode="nearest"), IMAGE),
    "upsample2d_size": (nn.Upsample(size=(16, 4)), IMAGE),
    "upsample2d_uneven": (nn.Upsample(size=(11, 5)), IMAGE),
    "upsample2d_exact": (nn.Upsample(scale_factor=3, mode="nearest-exact"), IMAGE),
    "zero_pad": (nn.ZeroPad2d((1, 2, 0, 3)), IMAGE),
    "constant_pad": (nn.ConstantPad1d((1, 2), -1.5), (4, 9)),
    "cropping_pad": (nn.ZeroPad2d((-1, 2, 1, -3)), IMAGE),
    "pixel_shuffle": (nn.PixelShuffle(2), IMAGE),
    "channel_shuffle": (nn.ChannelShuffle(2), IMAGE),
    "flatten": (nn.Flatten(), IMAGE),
    "unflatten": (nn.Unflatten(1, (2, 2)), IMAGE),
}
FUNCTIONS: dict[str, Callable[[torch.Tensor], Any]] = {
    "add": lambda x: x + 1.5,
    "add_alpha": lambda x: torch.add(x, x.abs(), alpha=2),
    "integer_scalars": lambda x: (x * 3 + 1) / 2 - 1,
    "sub": lambda x: x - 2.0,
    "rsub": lambda x: 2.0 - x,
    "div": lambda x: 1 / (x.abs() + 1),
    "square": lambda x: x**2 + x.square(),
    "pow": lambda x: x.abs() ** 0.5 + 2**x,
    "rsqrt": lambda x: (x.abs() + 1).rsqrt(),
    "reciprocal": lambda x: (x.abs() + 1).reciprocal(),
    "exp_sqrt": lambda x: x.exp().sqrt(),
    "neg_abs": lambda x: -x.abs(),
    "minimum": lambda x: torch.minimum(x, x * 2),
    "maximum": lambda x: torch.max(x, -x),
    "clamp": lambda x: x.clamp(-0.5, 0.5),
    "clamp_min": lambda x: x.clamp(min=0.25),
    "clamp_max": lambda x: x.clamp(max=0.25),
    "clamp_zero": lambda x: x.clamp_min(0),
    "mean": lambda x: x.mean((2, 3)),
    "mean_keep": lambda x: x.mean(-1, keepdim=True),
    "sum": lambda x: x.sum(1),
    "sum_features": lambda x: x.flatten(1).sum(1),
    "amax": lambda x: x.amax((-1, -2)),
    "max_values": lambda x: x.max(1).values,
    "view": lambda x: x.view(x.shape[0], -1),
    "view_batch_last": lambda x: x.reshape(-1, 16).reshape(x.size(0), 4, -1),
    "reshape_batch": lambda x: x.reshape(x.shape[0] * 4, 8, 8).mean(2).reshape(-1, 4, 8),
    "squeeze": lambda x: x[:, :1].squeeze(1).unsqueeze(-1),
    "permute": lambda x: x.permute(0, 2, 3, 1),
    "transpose": lambda x: x.transpose(1, -1).contiguous(),
    "expand": lambda x: x[:, :1].expand(-1, 5, -1, -1),
    "repeat": lambda x: x.repeat(1, 2, 1, 3),
    "slice": lambda x: x[:, 1:3, ::2, -3:],
    "index": lambda x: x[:, 1, -1],
    "narrow": lambda x: x.narrow(1, 1, 2),
    "chunk": lambda x: torch.cat(x.chunk(3, 2)[::-1], 2),
    "split": lambda x: x.split(3, 1),
    "split_sizes": lambda x: x.split([1, 3], 1)[1],
    "unbind": lambda x: x.unbind(1)[2],
    "stack": lambda x: torch.stack([x, -x], 2),
    "matmul": lambda x: x @ x.transpose(-1, -2),
    "bmm": lambda x: torch.bmm(x[:, 0], x[:, 1]),
    "interpolate": lambda x: F.interpolate(x, scale_factor=2.0),
    "float": lambda x: x.float().detach().clone(),
    "linspace": lambda x: x * torch.linspace(0, 1, 8) + torch.zeros(8, 1),
    "tensor_constant": lambda x: x + torch.tensor([1, 2, 3, 4, 5, 6, 7, 8]),
    "no_grad": torch.no_grad()(lambda x: x * 2),
    "assign_slice": lambda x: assign(x, (slice(None), slice(1, 3))),
    "assign_index": lambda x: assign(x, (slice(None), 2)),
}


@pytest.mark.parametrize("name", MODULES)
def test_module(name: str, caplog: pytest.LogCaptureFixture) -> None:
    model, shape = MODULES[name]
    graph = trace(model, example(shape))
    assert graph.inputs[0].type.shape[0] == Batch() and not told(caplog)
    check(graph, model, shape)
    assert print_graph(parse(print_graph(graph), graph.constants)) == print_graph(graph)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str, caplog: pytest.LogCaptureFixture) -> None:
    model = Lambda(FUNCTIONS[name])
    graph = trace(model, example(IMAGE))
    assert graph.is_symbolic and not told(caplog)
    check(graph, model, IMAGE)


def test_in_place_on_views() -> None:
    """What is written through one view is read through another."""

    def shared_memory(x: torch.Tensor) -> torch.Tensor:
        y = x * 1
        left, right = y.chunk(2, 1)
        left += right
        return torch.cat([torch.relu_(y), left], 1)

    check(trace(Lambda(shared_memory), example(IMAGE)), Lambda(shared_memory), IMAGE)


def test_in_place_on_batch_norm_path() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 1), warm(nn.BatchNorm2d(4)), Lambda(lambda x: assign(x, (slice(None), 1))))
    check(trace(model, example(IMAGE)), model, IMAGE)
