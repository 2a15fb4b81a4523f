"""The reference semantics against PyTorch, in float64, so that the evaluator is not the only oracle."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from graphopt.ir import Array, Op
from graphopt.ops import (
    Abs,
    AveragePool,
    BatchNorm,
    Clip,
    Conv,
    ConvTranspose,
    Div,
    Exp,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Linear,
    MatMul,
    MaxPool,
    Neg,
    Pad,
    Pow,
    ReduceMax,
    ReduceMean,
    ReduceSum,
    Relu,
    Resize,
    Sigmoid,
    Silu,
    Softmax,
    Sqrt,
    Sub,
    Tanh,
    Transpose,
)

Torch = Callable[..., torch.Tensor]


def hold(op: Op, reference: Torch, *shapes: tuple[int, ...], positive: bool = False) -> None:
    rng = np.random.default_rng(0)
    arrays: list[Array] = [rng.uniform(0.5, 2, s) if positive else rng.standard_normal(s) for s in shapes]
    got = op.evaluate(*arrays)
    assert isinstance(got, np.ndarray)
    np.testing.assert_allclose(got, reference(*map(torch.from_numpy, arrays)).numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("strides", "pads", "dilations", "group"), list(itertools.product([1, 2], [0, 2], [1, 2], [1, 2, 4]))
)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_conv(rank: int, strides: int, pads: int, dilations: int, group: int) -> None:
    op = Conv(strides=(strides,) * rank, pads=(pads,) * 2 * rank, dilations=(dilations,) * rank, group=group)
    function = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    spatial, kernel = (6, 5, 7)[:rank], (3, 2, 1)[:rank]

    def reference(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return function(x, w, b, strides, pads, dilations, group)

    hold(op, reference, (2, 4, *spatial), (8, 4 // group, *kernel), (8,))


@pytest.mark.parametrize(
    ("strides", "pads", "extra", "dilations", "group"),
    # PyTorch refuses an output padding as large as stride and dilation
    [c for c in itertools.product([1, 3], [0, 1], [0, 1], [1, 2], [1, 2]) if c[2] < max(c[0], c[3])],
)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_conv_transpose(rank: int, strides: int, pads: int, extra: int, dilations: int, group: int) -> None:
    op = ConvTranspose(
        strides=(strides,) * rank,
        pads=(pads,) * 2 * rank,
        dilations=(dilations,) * rank,
        output_padding=(extra,) * rank,
        group=group,
    )
    function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]

    def reference(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return function(x, w, b, strides, pads, extra, group, dilations)

    hold(op, reference, (2, 4, *(4, 3, 5)[:rank]), (4, 3, *(3, 2, 3)[:rank]), (3 * group,))


@pytest.mark.parametrize(
    ("kernel", "strides", "pads", "dilations"), list(itertools.product([2, 3], [1, 2], [0, 1], [1, 2]))
)
def test_max_pool(kernel: int, strides: int, pads: int, dilations: int) -> None:
    op = MaxPool(kernel=(kernel, 3), strides=(strides, 1), pads=(pads,) * 4, dilations=(dilations, 1))
    hold(op, lambda x: F.max_pool2d(x, (kernel, 3), (strides, 1), pads, (dilations, 1)), (2, 3, 7, 6))


@pytest.mark.parametrize(
    ("kernel", "strides", "pads", "counted"), list(itertools.product([2, 3], [1, 2], [0, 1], [False, True]))
)
def test_average_pool(kernel: int, strides: int, pads: int, counted: bool) -> None:
    op = AveragePool(kernel=(kernel, 3), strides=(strides, 1), pads=(pads,) * 4, count_include_pad=counted)
    hold(op, lambda x: F.avg_pool2d(x, (kernel, 3), (strides, 1), pads, False, counted), (2, 3, 7, 6))


@pytest.mark.parametrize(
    ("op", "reference"),
    [
        (Relu(), F.relu),
        (LeakyRelu(alpha=0.2), lambda x: F.leaky_relu(x, 0.2)),
        (Clip(low=-0.5, high=0.75), lambda x: x.clamp(-0.5, 0.75)),
        (Sigmoid(), torch.sigmoid),
        (Tanh(), torch.tanh),
        (Silu(), F.silu),
        (HardSigmoid(alpha=1 / 6), F.hardsigmoid),
        (HardSwish(), F.hardswish),
        (Exp(), torch.exp),
        (Neg(), torch.neg),
        (Abs(), torch.abs),
        (Softmax(axis=1), lambda x: x.softmax(1)),
        (Softmax(axis=-1), lambda x: x.softmax(-1)),
        (ReduceMean(axes=(1, 3)), lambda x: x.mean((1, 3), keepdim=True)),
        (ReduceSum(axes=(0, 2), keepdims=False), lambda x: x.sum((0, 2))),
        (ReduceMax(axes=(2, 3), keepdims=False), lambda x: x.amax((2, 3))),
        (Transpose(perm=(2, 0, 3, 1)), lambda x: x.permute(2, 0, 3, 1)),
        (Pad(pads=(0, 0, 1, 2, 0, 0, 3, 0), value=-2.0), lambda x: F.pad(x, (2, 0, 1, 3), value=-2.0)),
        (Resize(sizes=(7, 9)), lambda x: F.interpolate(x, (7, 9), mode="nearest")),
        (Resize(sizes=(2, 3)), lambda x: F.interpolate(x, (2, 3), mode="nearest")),
    ],
    ids=lambda v: v.name if isinstance(v, Op) else "",
)
def test_one_operand(op: Op, reference: Torch) -> None:
    hold(op, reference, (2, 3, 4, 5))


def test_more_operands() -> None:
    hold(Sqrt(), torch.sqrt, (3, 4), positive=True)
    hold(Pow(), torch.pow, (3, 4), (4,), positive=True)
    hold(Div(), torch.div, (3, 4), (3, 1), positive=True)
    hold(Sub(), torch.sub, (3, 1, 4), (2, 1))
    hold(Linear(), F.linear, (2, 3, 4), (5, 4), (5,))
    hold(MatMul(), torch.matmul, (2, 1, 3, 4), (5, 4, 2))

    def batch_norm(x: torch.Tensor, s: torch.Tensor, b: torch.Tensor, m: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(x, m, v, s, b, eps=1e-3)

    for shape in ((4, 3), (2, 3, 4), (2, 3, 4, 5)):
        hold(BatchNorm(epsilon=1e-3), batch_norm, shape, (3,), (3,), (3,), (3,), positive=True)


def test_integer_division_truncates() -> None:
    a, b = np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2])
    want = torch.div(torch.from_numpy(a), torch.from_numpy(b), rounding_mode="trunc").numpy()
    np.testing.assert_array_equal(np.asarray(Div().evaluate(a, b)), want)
    big = np.array([2**62 + 1])
    np.testing.assert_array_equal(np.asarray(Div().evaluate(big, np.array([1]))), big)
