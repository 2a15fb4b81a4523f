"""Recurrent layers in PyTorch: its own layer, where it has one, is the same function with the same gradients."""

from __future__ import annotations

import pytest
import torch

from graphopt import ops
from graphopt.exporters.torch.rules.recurrent import by_own_layer, own_layer, stepwise
from graphopt.exporters.torch.rules.recurrent import layer as rule

LAYERS = {
    "lstm": (ops.LSTM, {}),
    "gru": (ops.GRU, {"linear_before_reset": True}),
    "rnn": (ops.RNN, {}),
    "rnn of relu": (ops.RNN, {"activation": "relu"}),
}


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("layer", LAYERS)
def test_its_own_layer_is_step_by_step(layer: str, direction: str) -> None:
    kind, options = LAYERS[layer]
    op = kind(direction=direction, **options)
    own = own_layer(op)
    assert own is not None
    generator = torch.Generator().manual_seed(0)
    d, t, n, i, h = len(op.reversed), 5, 3, 4, 6
    shapes = [(t, n, i), (d, op.gates * h, i), (d, op.gates * h, h), (d, 2 * op.gates * h), *[(d, n, h)] * op.states]
    given = [torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True) for s in shapes]
    results = []
    for outputs in (by_own_layer(own, op, *given[:4], given[4:]), stepwise(op, *given[:4], given[4:])):
        loss = sum((y * torch.arange(y.numel()).reshape(y.shape).sin()).sum() for y in outputs)
        results.append([*outputs, *torch.autograd.grad(loss, given)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layer", LAYERS)
def test_mixed_precision(layer: str) -> None:
    kind, options = LAYERS[layer]
    op, t, n, i, h = kind(**options), 5, 3, 4, 6
    shapes = [(1, op.gates * h, i), (1, op.gates * h, h), (1, 2 * op.gates * h)]
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(s, generator=generator, requires_grad=True) for s in shapes]
    x = torch.randn(t, n, i, generator=generator)
    wanted = rule(op, x, *weights)[0]
    with torch.autocast("cpu", torch.bfloat16):
        for given in (x, x.bfloat16()):
            y = rule(op, given, *weights)[0]
            assert (y - wanted).abs().max() < 0.05
            torch.autograd.backward(y.float().sum())


def test_a_gru_that_resets_before_the_product_has_none() -> None:
    assert own_layer(ops.GRU(linear_before_reset=False)) is None
