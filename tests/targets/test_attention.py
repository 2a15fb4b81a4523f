"""Attention in bands of rows: the bits of its kernels one after the other, and never all scores in memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from compiling import NATIVE, Weights, check_program, in_long_runs, random_inputs

import graphopt
from graphopt.ir import Graph, Op, Value, constant
from graphopt.ops import Add, MatMul, Mul, Relu, Reshape, Slice, Softmax, Transpose
from graphopt.passes import Fuse
from graphopt.runtime import Program
from graphopt.targets import lowering
from graphopt.targets.kernels import attention

TARGETS = [*NATIVE[:2], *in_long_runs(*NATIVE[2:], "aarch64", "armv7")]


def apart(graph: Graph, supported: set[type[Op]]) -> Graph:
    return graph


def count(program: Program) -> int:
    """The attentions of a program."""
    return sum(row["kernel"].startswith("attention") for row in program.manifest["kernels"])


def check(graph: Graph, target: str, monkeypatch: pytest.MonkeyPatch, attentions: int = 1) -> Program:
    """Hold a graph to its evaluation, and to the bits that it has where each kernel goes over all rows."""
    program = check_program(graph, target)
    assert count(program) == attentions
    inputs = random_inputs(graph, seed=5)
    with monkeypatch.context() as patched:
        patched.setattr(lowering, "join_attention", apart)
        plain = graphopt.compile(graph, target, io="float32")
    assert count(plain) == 0
    for one, other in zip(*(p.measure(inputs, count=False).outputs[0] for p in (program, plain)), strict=True):
        assert np.array_equal(one, other)
    return program


def heads(x: Value, count: int) -> Value:
    """[n, rows, channels] as [n, heads, rows, depth]."""
    n, rows, channels = x.type.static_shape
    return Transpose(perm=(0, 2, 1, 3))(Reshape(shape=(n, rows, count, channels // count))(x))


def attended(q: Value, k: Value, v: Value, masks: Sequence[Value] = ()) -> Value:
    """softmax(q k^T / sqrt(depth) + masks) v, of [..., rows, depth]."""
    *_, down, along = range(k.type.rank)
    turned = Transpose(perm=(*range(k.type.rank - 2), along, down))(k)
    scores = Mul()(MatMul()(q, turned), constant(np.float32(q.type.static_shape[-1] ** -0.5)))
    for mask in masks:
        scores = Add()(scores, mask)
    return MatMul()(Softmax(axis=-1)(scores), v)


@pytest.mark.parametrize("target", TARGETS)
def test_heads(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From linear layers and back, without copies of heads; queries and keys of other numbers."""
    g = Weights()
    q, k, v = g.x(2, 37, 24), g.x(2, 21, 24), g.x(2, 21, 24)
    y = attended(heads(q, 3), heads(k, 3), heads(v, 3))
    joined = Reshape(shape=(2, 37, 24))(Transpose(perm=(0, 2, 1, 3))(y))
    program = check(Fuse()(g.graph(Relu()(joined))), target, monkeypatch)
    assert len(program.manifest["kernels"]) == 2


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("rows", [16, 29, 64])
def test_bands(target: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bands of two sizes; masks for all rows and for each, of all heads and of each, constant or not."""
    monkeypatch.setattr(attention, "BAND_BYTES", 1)
    monkeypatch.setattr(attention, "LEAST_ROWS", 24)
    g = Weights()
    q, k, v = (g.x(2, 3, n, 8) for n in (rows, 19, 19))
    causal = np.where(np.tri(rows, 19, dtype=bool), 0, -np.inf).astype(np.float32)
    masks = [g.x(19), g.x(2, 1, 1, 19), constant(causal), g.x(3, rows, 1), g.w(3, rows, 19)]
    check(Fuse()(g.graph(attended(q, k, v, masks))), target, monkeypatch)


def test_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No batch; operands with fewer axes, and of one element along a batch; one operand for all."""
    g = Weights()
    x, shared = g.x(18, 7), g.x(1, 20, 5)
    ends = [
        attended(x, x, x),
        attended(g.x(4, 33, 5), shared, g.x(4, 20, 6)),
        attended(g.x(17, 6), g.x(2, 3, 16, 6), g.x(3, 16, 2)),
    ]
    check(Fuse()(g.graph(*ends)), NATIVE[-1], monkeypatch, attentions=3)


def test_a_row_without_anything_to_attend_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not a number, as it is in PyTorch; other rows are what they are."""
    x = [torch.randn(1, 2, 24, 8, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    mask = torch.zeros(24, 24)
    mask[5] = -torch.inf

    class Attend(torch.nn.Module):
        def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            return torch.softmax(q @ k.mT + mask, dim=-1) @ v

    program = graphopt.compile(graphopt.trace(Attend(), tuple(x), dynamic_batch=False, check=False))
    assert count(program) == 1
    y = program.run(*(one.numpy() for one in x))
    want = Attend()(*x).numpy()
    assert np.array_equal(np.isnan(y), np.isnan(want))
    assert np.allclose(y, want, atol=1e-5, equal_nan=True)
    assert np.isnan(y).sum() == 2 * 8


def test_scores_of_a_layer_are_never_in_memory() -> None:
    x = tuple(torch.zeros(1, 4, 512, 16) for _ in range(3))
    attend = torch.nn.functional.scaled_dot_product_attention

    class Attend(torch.nn.Module):
        def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            return attend(q, k, v, is_causal=True)

    program = graphopt.compile(graphopt.trace(Attend(), x, dynamic_batch=False))
    assert count(program) == 1
    assert program.manifest["workspace_bytes"] < 4 * 512 * 512


def test_what_is_not_one() -> None:
    """Scores or weights that something else reads too; a softmax down the columns; very few rows; no softmax."""
    g = Weights()
    q, k, v = (g.x(2, 24, 24) for _ in range(3))
    scores = MatMul()(q, Transpose(perm=(0, 2, 1))(k))
    weights = Softmax(axis=-1)(scores)
    others = [
        [MatMul()(weights, v), Relu()(weights)],
        [MatMul()(weights, v), scores],
        [MatMul()(Softmax(axis=1)(scores), v)],
        [MatMul()(Relu()(scores), v)],
        [MatMul()(v, weights)],
        [MatMul()(weights, weights)],
        [attended(Slice(axis=1, start=0, stop=3)(q), k, v)],
    ]
    for outputs in others:
        assert count(check_program(Fuse()(g.graph(*outputs)), NATIVE[-1])) == 0
