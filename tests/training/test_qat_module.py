"""The module of quantization-aware training computes the integers of its program, and passes gradients to floats."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import graphopt
from graphopt.ir import Array, Graph
from graphopt.passes import Context, LowerInteger, Quantize
from graphopt.training.quantization.module import QuantizedModule
from graphopt.training.quantization.prepare import quantized_module


def samples(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def linear_net() -> tuple[Graph, Array]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    x = samples(64, 8)
    return graphopt.trace(model, (torch.from_numpy(x),)), x


def trained(graph: Graph, x: Array, steps: int = 4, **options: str) -> QuantizedModule:
    """The module after a few large steps toward what the float graph gives."""
    module = quantized_module(graph, Quantize(calibration=x, **options), True, Context())
    optimizer = torch.optim.Adam(module.parameters(), 0.05)
    wanted = torch.from_numpy(graph(x)[0])
    for _ in range(steps):
        optimizer.zero_grad()
        (module(torch.from_numpy(x)) - wanted).square().mean().backward()
        optimizer.step()
    return module


def outputs(module: nn.Module, x: Array) -> Array:
    found: Array = module(torch.from_numpy(x)).detach().numpy()
    return found


@pytest.mark.parametrize("weights", ["int8", "int4", "binary"])
def test_it_begins_where_quantization_without_training_ends(weights: str) -> None:
    graph, x = linear_net()
    options = Quantize(calibration=x, weights=weights)
    module = quantized_module(graph, options, True, Context())
    np.testing.assert_array_equal(outputs(module, x), options(graph)(x)[0])


@pytest.mark.parametrize("weights", ["int8", "int4", "binary"])
@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_outputs_are_those_of_the_program(weights: str, target: str) -> None:
    graph, x = linear_net()
    module = trained(graph, x, weights=weights)
    program = graphopt.compile(LowerInteger()(module.quantized()), target, batch=len(x), io="float32")
    np.testing.assert_array_equal(program.run(x), outputs(module, x))


def test_gradients_reach_weights_biases_and_scales() -> None:
    module = trained(*linear_net(), steps=1)
    names = {name for name, p in module.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    layers = {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert names == layers | {"0_weight_scale", "2_weight_scale", "1.scale", "2.scale"}


def test_values_in_training_are_those_of_the_program_too() -> None:
    graph, x = linear_net()
    module = trained(graph, x)
    module.train()
    in_training = outputs(module, x)
    with torch.no_grad():
        np.testing.assert_array_equal(in_training, outputs(module.eval(), x))
