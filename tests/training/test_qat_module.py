"""The module of quantization-aware training computes the integers of its program, and passes gradients to floats."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

import graphopt
from graphopt.ir import Array, Graph
from graphopt.ops import BatchNorm
from graphopt.passes import Context, Quantize
from graphopt.training import QuantizedModule, quantized_module

Net = tuple[Graph, Array]


def traced(model: nn.Module, *shape: int) -> Net:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return graphopt.trace(model.eval(), (torch.from_numpy(x),)), x


@cache
def linear_net() -> Net:
    torch.manual_seed(0)
    return traced(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), 32, 8)


class Residual(nn.Module):
    """Norms behind convolutions, in groups too, and an addition; one norm turns its channels round, one is dead."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        depthwise, pointwise = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1)
        self.block = nn.Sequential(depthwise, nn.BatchNorm2d(8), nn.ReLU6(), pointwise, nn.BatchNorm2d(8))
        self.head = nn.Linear(32, 5)
        self.train()
        for _ in range(10):
            self(torch.randn(16, 3, 8, 8))
        with torch.no_grad():
            self.stem[1].weight[:2] = torch.tensor([0.0, -1.0])

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        pooled: Tensor = self.head(F.max_pool2d(torch.relu(self.block(y) + y), 4).flatten(1))
        return pooled


@cache
def convolutional_net() -> Net:
    return traced(Residual(), 16, 3, 8, 8)


class Sequence(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.head = kind(6, 8, bidirectional=kind is nn.GRU), nn.LazyLinear(3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.layer(x)[0][-1])
        return y


@cache
def recurrent_net(kind: type[nn.RNNBase]) -> Net:
    model = Sequence(kind)
    model(torch.zeros(5, 4, 6))
    return traced(model, 5, 4, 6)


NETS: dict[str, Callable[[], Net]] = {
    "linear": linear_net,
    "convolutional": convolutional_net,
    "lstm": partial(recurrent_net, nn.LSTM),
    "gru": partial(recurrent_net, nn.GRU),
}
WIDTHS: list[dict[str, str | bool]] = [
    {"weights": "int8"},
    {"weights": "int4"},
    {"weights": "int4", "per_channel": False},
    {"weights": "binary"},
    {"activations": "int16"},
    {"weights": "binary", "activations": "binary"},
]


def module_of(net: Net, **options: str | bool) -> QuantizedModule:
    graph, x = net
    quantize = Quantize(calibration=[x], **options)  # type: ignore[arg-type]
    return quantized_module(graph, quantize)


def train(module: nn.Module, net: Net, steps: int = 3) -> None:
    """A few large steps toward what the float graph gives."""
    graph, x = net
    optimizer, wanted = torch.optim.Adam(module.parameters(), 0.03), torch.from_numpy(graph(x)[0])
    for _ in range(steps):
        optimizer.zero_grad()
        (module(torch.from_numpy(x)) - wanted).square().mean().backward()
        optimizer.step()


def outputs(module: nn.Module, x: Array) -> Array:
    found: Array = module(torch.from_numpy(x)).detach().numpy()
    return found


@pytest.mark.parametrize("weights", ["int8", "int4", "binary"])
def test_it_begins_where_quantization_without_training_ends(weights: str) -> None:
    net = linear_net()
    module = module_of(net, weights=weights)
    np.testing.assert_array_equal(
        outputs(module, net[1]), Quantize(calibration=net[1], weights=weights)(net[0])(net[1])[0]
    )


FAST = ("linear", "convolutional")
CASES = [
    pytest.param(
        *(name, options),
        id="-".join(map(str, (name, *options.values()))),
        marks=[] if name in FAST or i in (1, 5) else pytest.mark.slow,
    )
    for name in NETS
    for i, options in enumerate(WIDTHS)
]
"""Recurrent layers, which take long, in fast runs by int4 and binary weights alone."""


@pytest.mark.parametrize(("name", "options"), CASES)
def test_outputs_are_those_of_the_program(name: str, options: dict[str, str | bool]) -> None:
    net, context = NETS[name](), Context()
    module = module_of(net, **options)
    module.train()
    train(module, net)
    module.eval()
    program = module.program(context)
    assert not [str(note) for note in context.notes if note.declined]
    np.testing.assert_array_equal(outputs(module, net[1]), program(net[1])[0])
    with torch.no_grad():
        np.testing.assert_array_equal(outputs(module, net[1]), program(net[1])[0])


@pytest.mark.parametrize(("weights", "target"), [("binary", "host"), ("int8", "cortex-m4")])
def test_outputs_are_those_of_the_compiled_program(weights: str, target: str) -> None:
    net = convolutional_net()
    module = module_of(net, weights=weights)
    train(module, net)
    program = graphopt.compile(module.program(), target, batch=len(net[1]), io="float32")
    np.testing.assert_array_equal(program.run(net[1]), outputs(module, net[1]))


def test_outputs_are_those_of_the_program_in_mixed_precision() -> None:
    net = linear_net()
    module = module_of(net)
    with torch.autocast("cpu", torch.bfloat16):
        found = outputs(module, net[1])
    np.testing.assert_array_equal(found, module.program()(net[1])[0])


def test_values_in_training_are_those_of_the_program_once_norms_are_frozen() -> None:
    net = convolutional_net()
    module = module_of(net)
    module.train()
    train(module, net)
    of_batch = outputs(module, net[1])
    with torch.no_grad():
        assert not np.array_equal(of_batch, outputs(module.eval(), net[1]))
    module.train()
    module.freeze_norms([net[1]])
    train(module, net)
    in_training = outputs(module, net[1])
    np.testing.assert_array_equal(in_training, module.program()(net[1])[0])


def test_frozen_norms_have_the_statistics_of_the_data() -> None:
    net = convolutional_net()
    module = module_of(net, activations="int16")
    module.freeze_norms([net[1] + 5])
    graph = module.quantized()
    (norm,) = [n for n in graph.nodes if isinstance(n.op, BatchNorm) and graph.names[n].startswith("stem")]
    conv = norm.inputs[0]
    (given,) = Graph(graph.inputs, (conv,))(net[1] + 5)
    for position, wanted in ((3, given.mean((0, 2, 3))), (4, given.var((0, 2, 3)))):
        np.testing.assert_allclose(norm.inputs[position].constant, wanted, rtol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_gradients_reach_weights_biases_and_scales(name: str) -> None:
    module = module_of(NETS[name](), weights="int4")
    train(module, NETS[name](), steps=1)
    lacking = [n for n, p in module.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert lacking == []
    learned = {n for n, _ in module.named_parameters() if "scale" in n}
    assert learned
    assert not any(n.startswith(("x", "input")) for n in learned)


def test_moves_and_what_they_move_keep_one_scale() -> None:
    net = convolutional_net()
    module = module_of(net)
    train(module, net)
    names = [n.op.name for n in module.program().nodes]
    assert names.count("requantize") == 5  # three convolutions, the addition, the linear layer: none for the pooling
