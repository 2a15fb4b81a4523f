"""Poolings, by the windows themselves, as strided views."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from graphopt import ops
from graphopt.exporters.torch.rule import torch_rule
from graphopt.exporters.torch.rules.products import around
from graphopt.ops import Window

MAX_POOLS = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def padded(window: Window, x: Tensor, fill: float) -> Tensor:
    pads = around(window.pads[: window.rank], window.pads[window.rank :])
    return F.pad(x, pads, value=fill) if any(pads) else x


def windows(window: Window, x: Tensor, fill: float) -> Tensor:
    """All windows of x [n, c, *spatial], padded: [n, c, *out, *kernel]."""
    view = padded(window, x, fill)
    for axis in range(window.rank):
        view = view.unfold(axis + 2, window.extent[axis], window.strides[axis])[..., :: window.dilations[axis]]
    return view


@torch_rule(ops.MaxPool)
def max_pool(op: ops.MaxPool, x: Tensor) -> Tensor:
    """Of equal elements the first has the gradient. PyTorch pools no integers."""
    window = op.window()
    if not x.is_floating_point():
        return windows(window, x, torch.iinfo(x.dtype).min).amax(tuple(range(-window.rank, 0)))
    y: Tensor = MAX_POOLS[window.rank](
        padded(window, x, float("-inf")), window.kernel, window.strides, dilation=window.dilations
    )
    return y


@torch_rule(ops.AveragePool)
def average_pool(op: ops.AveragePool, x: Tensor) -> Tensor:
    window = op.window()
    axes = tuple(range(-window.rank, 0))
    ones = torch.ones_like(x[:1, :1])
    inside = windows(window, ones, 1.0 if op.count_include_pad else 0.0)
    return windows(window, x, 0.0).sum(axes) / inside.sum(axes)
