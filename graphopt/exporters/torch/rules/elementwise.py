"""Arithmetic, elementary functions and activations, element by element."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from graphopt import ops
from graphopt.exporters.torch.rule import plain, torch_rule

plain(
    {
        ops.Abs: torch.abs,
        ops.Acos: torch.acos,
        ops.Acosh: torch.acosh,
        ops.Add: torch.add,
        ops.Asin: torch.asin,
        ops.Asinh: torch.asinh,
        ops.Atan: torch.atan,
        ops.Atanh: torch.atanh,
        ops.Ceil: torch.ceil,
        ops.Cos: torch.cos,
        ops.Cosh: torch.cosh,
        ops.Erf: torch.erf,
        ops.Exp: torch.exp,
        ops.Floor: torch.floor,
        ops.Identity: lambda x: x,
        ops.Log: torch.log,
        ops.Maximum: torch.maximum,
        ops.Minimum: torch.minimum,
        ops.Mul: torch.mul,
        ops.Neg: torch.neg,
        ops.Pow: torch.pow,
        ops.Reciprocal: torch.reciprocal,
        ops.Relu: torch.relu,
        ops.Round: torch.round,
        ops.Sigmoid: torch.sigmoid,
        ops.Silu: F.silu,
        ops.Sin: torch.sin,
        ops.Sinh: torch.sinh,
        ops.Softsign: F.softsign,
        ops.Sqrt: torch.sqrt,
        ops.Sub: torch.sub,
        ops.Tan: torch.tan,
        ops.Tanh: torch.tanh,
    }
)


@torch_rule(ops.Div)
def div(op: ops.Div, a: Tensor, b: Tensor) -> Tensor:
    """Integers truncate; by -1 they are negated, for the machine traps on the quotient that does not fit."""
    if a.is_floating_point():
        return a / b
    negated = (b == -1) & (torch.iinfo(b.dtype).min < 0)
    return torch.where(negated, -a, torch.div(a, torch.where(negated, 1, b), rounding_mode="trunc"))


@torch_rule(ops.Sign)
def sign(op: ops.Sign, x: Tensor) -> Tensor:
    """torch.sign makes NaN zero."""
    return torch.where(x.isnan(), x, x.sign()) if x.is_floating_point() else x.sign()


@torch_rule(ops.Clip)
def clip(op: ops.Clip, x: Tensor) -> Tensor:
    if x.is_floating_point():
        return x.clamp(op.low, op.high)
    limits = torch.iinfo(x.dtype)
    return x.clamp(int(max(op.low, limits.min)), int(min(op.high, limits.max)))


@torch_rule(ops.LeakyRelu)
def leaky_relu(op: ops.LeakyRelu, x: Tensor) -> Tensor:
    return F.leaky_relu(x, op.alpha)


@torch_rule(ops.PRelu)
def prelu(op: ops.PRelu, x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, slope * x, x)


@torch_rule(ops.HardSigmoid)
def hard_sigmoid(op: ops.HardSigmoid, x: Tensor) -> Tensor:
    return (op.alpha * x + op.beta).clamp(0, 1)


@torch_rule(ops.HardSwish)
def hard_swish(op: ops.HardSwish, x: Tensor) -> Tensor:
    return x * (x / 6 + 0.5).clamp(0, 1)


@torch_rule(ops.Elu)
def elu(op: ops.Elu, x: Tensor) -> Tensor:
    return F.elu(x, op.alpha)


@torch_rule(ops.Selu)
def selu(op: ops.Selu, x: Tensor) -> Tensor:
    return op.gamma * F.elu(x, op.alpha)


@torch_rule(ops.Celu)
def celu(op: ops.Celu, x: Tensor) -> Tensor:
    return F.celu(x, op.alpha)


@torch_rule(ops.Softplus)
def softplus(op: ops.Softplus, x: Tensor) -> Tensor:
    """F.softplus drops what is below 2e-9 above a threshold."""
    return torch.logaddexp(x, torch.zeros_like(x))


@torch_rule(ops.Mish)
def mish(op: ops.Mish, x: Tensor) -> Tensor:
    return x * torch.tanh(torch.logaddexp(x, torch.zeros_like(x)))


@torch_rule(ops.Gelu)
def gelu(op: ops.Gelu, x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh" if op.tanh else "none")


@torch_rule(ops.Swish)
def swish(op: ops.Swish, x: Tensor) -> Tensor:
    return x * torch.sigmoid(op.alpha * x)


@torch_rule(ops.ThresholdedRelu)
def thresholded_relu(op: ops.ThresholdedRelu, x: Tensor) -> Tensor:
    return torch.where(x > op.alpha, x, 0)


@torch_rule(ops.Shrink)
def shrink(op: ops.Shrink, x: Tensor) -> Tensor:
    return torch.where(x < -op.lambd, x + op.bias, torch.where(x > op.lambd, x - op.bias, 0))
