"""Normalisations."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from graphopt import ops
from graphopt.exporters.torch.rule import torch_rule
from graphopt.exporters.torch.rules.products import column

MOMENTUM = 0.1
"""What one batch weighs in the running statistics, as in torch.nn.BatchNorm2d."""


@torch_rule(ops.BatchNorm)
def batch_norm(op: ops.BatchNorm, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """Fast where mean and variance are given; else differentiable in all five, which F.batch_norm is not."""
    if not (mean.requires_grad or var.requires_grad):
        return F.batch_norm(x, mean, var, scale, bias, eps=op.epsilon)
    factor = scale / torch.sqrt(var + op.epsilon)
    return torch.addcmul(column(bias, x), x - column(mean, x), column(factor, x))


@torch_rule(ops.BatchNorm, training=True)
def batch_norm_of_batch(op: ops.BatchNorm, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """By the statistics of the batch, which the running ones, buffers of the module, follow."""
    return F.batch_norm(x, mean, var, scale, bias, training=True, momentum=MOMENTUM, eps=op.epsilon)


@torch_rule(ops.LayerNorm)
def layer_norm(op: ops.LayerNorm, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return F.layer_norm(x, scale.shape, scale, bias, op.epsilon)


@torch_rule(ops.Softmax)
def softmax(op: ops.Softmax, x: Tensor) -> Tensor:
    return x.softmax(op.axis)
