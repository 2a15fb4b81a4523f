"""Torch modules against the graphs traced from them."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from models import mobilenet_v2, resnet18, tiny_yolo
from torch import nn
from torch.nn import functional as F  # noqa: N812

from graphopt import ops
from graphopt.errors import InvalidInput, Unsupported
from graphopt.frontends import trace
from graphopt.ir import Batch, Constant, Graph, bind_batch, parse, print_graph


class Lambda(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


class Two(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        return self.function(x, y)


def outputs(result: Any) -> list[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        return [result]
    parts = result.values() if isinstance(result, dict) else result
    return [tensor for part in parts for tensor in outputs(part)]


def check(graph: Graph, model: nn.Module, *shapes: tuple[int, ...], batches: tuple[int, ...] = (1, 3)) -> None:
    """The graph equals the module in evaluation mode, at each batch, on inputs of these shapes."""
    model.eval()
    for batch in batches:
        generator = torch.Generator().manual_seed(batch)
        inputs = [torch.rand((batch, *shape), generator=generator) * 4 - 2 for shape in shapes]
        got = graph(*(i.numpy().copy() for i in inputs))
        with torch.no_grad():
            expected = outputs(model(*inputs))
        assert len(got) == len(expected)
        for a, b in zip(got, expected, strict=True):
            assert a.shape == tuple(b.shape)
            assert np.abs(a - b.numpy()).max() <= 1e-5 * max(np.abs(b.numpy()).max(), 1e-30)


def example(*shapes: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(torch.rand((1, *shape)) + 0.5 for shape in shapes)


def warm(norm: nn.Module) -> nn.Module:
    """Statistics as after training."""
    with torch.no_grad():
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    return norm


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What graphopt has logged."""
    return [r.getMessage() for r in caplog.records if r.name == "graphopt"]


IMAGE = (4, 8, 8)
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


def assign(x: torch.Tensor, index: Any) -> torch.Tensor:
    y = x.clone()
    y[index] = y[index] * 2 + 1
    return y


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


def test_two_inputs() -> None:
    model = Two(lambda x, y: {"sum": x + y[:, :, None], "both": torch.cat([x, y.unsqueeze(2)], 2)})
    graph = trace(model, example((4, 8), (4,)))
    assert [graph.names[v.node] for v in graph.inputs] == ["x", "y"]
    assert graph.output_names == ("sum", "both")
    check(graph, model, (4, 8), (4,))


def test_inputs_by_name() -> None:
    x, y = example((4,), (4,))
    graph = trace(Two(lambda x, y: (x * 2, (y, x - y))), {"x": x, "y": y})
    assert graph.output_names == ("output_0", "output_1_0", "output_1_1")
    assert graph.is_symbolic


@pytest.mark.parametrize("make", [mobilenet_v2, resnet18, tiny_yolo])
def test_network(make: Callable[[], nn.Module]) -> None:
    model = make()
    graph = trace(model, torch.rand(1, 3, 64, 64))
    assert graph.name == type(model).__name__ and graph.is_symbolic
    check(graph, model, (3, 64, 64))


@pytest.mark.parametrize("make", [lambda: mobilenet_v2(0.35), lambda: resnet18(10)])
def test_fx(make: Callable[[], nn.Module]) -> None:
    model = make()
    traced = torch.fx.symbolic_trace(model)
    graph = trace(traced, torch.rand(1, 3, 32, 32))
    check(graph, model, (3, 32, 32))
    names = set(graph.names.values())
    for node in traced.graph.nodes:
        if node.op == "call_module" and "dropout" not in node.name and not node.target.endswith("classifier.0"):
            assert node.target in names


def test_fx_names_of_functions_survive() -> None:
    traced = torch.fx.symbolic_trace(Lambda(lambda x: torch.relu(x + 1).mean(1) * 2))
    graph = trace(traced, torch.rand(1, 4))
    assert {n.name for n in traced.graph.nodes if n.op.startswith("call")} <= set(graph.names.values())


def test_exported_program() -> None:
    model = resnet18(10)
    batch = torch.export.Dim("b")
    program = torch.export.export(model, (torch.rand(2, 3, 32, 32),), dynamic_shapes=({0: batch},))
    check(trace(program), model, (3, 32, 32))
    fixed = trace(program, dynamic_batch=False)
    assert fixed.inputs[0].type.shape == (2, 3, 32, 32)
    check(fixed, model, (3, 32, 32), batches=(2,))


def test_names_survive() -> None:
    model = resnet18(10)
    graph = trace(model, torch.rand(1, 3, 32, 32))
    names = set(graph.names.values())
    parameters = {n for n, _ in model.named_parameters()}
    assert parameters <= names
    wanted = {"x", "conv1", "layer1.0.conv1", "layer2.0.downsample.1", "layer1.0", "layer1.0.relu", "layer1.0.relu_1"}
    assert wanted | {"fc", "layer1.0.conv1.bias"} <= names
    assert isinstance(graph.node("layer1.0").op, ops.Add)
    assert all(not n.op.value.flags.writeable for n in graph.nodes if isinstance(n.op, Constant))
    assert graph.output_names == ("output",)


def test_shared_weight_is_one_constant() -> None:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    graph = trace(nn.Sequential(first, second), torch.rand(1, 4))
    linear = [n for n in graph.nodes if isinstance(n.op, ops.Linear)]
    assert linear[0].inputs[1] is linear[1].inputs[1]
    assert graph.names[linear[0].inputs[1].node] == "0.weight"


def test_training_mode_is_restored() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.BatchNorm1d(4))
    model[2].eval()
    check(trace(model, torch.rand(1, 4)), model, (4,))
    model.train()
    model[2].eval()
    trace(model, torch.rand(1, 4))
    assert [m.training for m in model] == [True, True, False]


def test_float16_weights_stay() -> None:
    graph = trace(nn.Linear(4, 4).half(), torch.rand(1, 4).half())
    assert {n.types[0].dtype for n in graph.nodes} == {"float16"}


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


@pytest.mark.parametrize(
    "function", [lambda x: x.reshape(2, -1) if x.shape[0] == 2 else x, lambda x: torch.cat([x, torch.ones(1, 4)])]
)
def test_fixed_batch_is_told(function: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "graphopt"):
        graph = trace(Lambda(function), torch.rand(3, 4))
    assert graph.inputs[0].type.shape == (3, 4)
    assert "fixed-batch graph of 3" in told(caplog)[0]
    check(graph, Lambda(function), (4,), batches=(3,))


def test_static_batch_on_request(caplog: pytest.LogCaptureFixture) -> None:
    graph = trace(nn.Linear(4, 2), torch.rand(1, 4), dynamic_batch=False)
    assert graph.inputs[0].type.shape == (1, 4) and not told(caplog)


def test_bound_batch_equals() -> None:
    model = tiny_yolo()
    check(bind_batch(trace(model, torch.rand(1, 3, 32, 32)), 2), model, (3, 32, 32), batches=(2,))


def test_all_unsupported_nodes_are_listed() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        y = torch.linalg.svdvals(x).cumsum(1).sum() + F.max_pool1d(x, 2, ceil_mode=True).sum()
        return torch.special.i0(y.flip(0)) + F.adaptive_max_pool1d(x, 3).sum()

    with pytest.raises(Unsupported) as caught:
        trace(Lambda(function), torch.rand(1, 4, 8), name="net")
    text = str(caught.value)
    for line in ("aten._linalg_svd.default", "aten.i0.default"):
        assert line in text
    assert "adaptive max pooling of (8,) to (3,)" in text and text.startswith("net: 3 nodes cannot be imported")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: F.dropout(x, 0.5, training=True), "dropout in training mode"),
        (lambda x: torch.rand(8) + x, "aten.rand.default"),
        (lambda x: F.max_pool1d(x, 2, return_indices=True)[1], "result 1"),
        (lambda x: F.batch_norm(x, None, None, training=True), "statistics of the batch"),
        (lambda x: F.avg_pool1d(x, 3, 2, 1, ceil_mode=True), "counts its padding"),
        (lambda x: x[:, 4:4], "is empty"),
        (lambda x: x[x > 0], "a shape depends on data"),
        (lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5), "attention with dropout"),
        (lambda x: torch.einsum("bii->bi", x[:, :, :4]), "name every axis once"),
    ],
)
def test_refusals(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(Unsupported, match="cannot be imported") as caught:
        trace(Lambda(function), torch.rand(1, 4, 8))
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_dropout_in_training_is_refused(kind: Callable[..., nn.Module]) -> None:
    program = torch.export.export(kind(8, 4, 2, dropout=0.5).train(), (torch.rand(2, 4, 8),))
    with pytest.raises(Unsupported, match="dropout between recurrent layers"):
        trace(program)


def test_projected_lstm_is_refused() -> None:
    with pytest.raises(Unsupported, match="proj_size"):
        trace(nn.LSTM(8, 4, proj_size=2), torch.rand(1, 4, 8))


def test_copy_of_a_buffer_may_change() -> None:
    class Copied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.rand(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            table = self.table.clone()
            table += 1
            return x * table + self.table.to(torch.float64).add_(1).float()

    model = Copied()
    check(trace(model, torch.rand(1, 4)), model, (4,))


def test_state_is_refused() -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.count += 1
            return x + self.count

    with pytest.raises(Unsupported, match=r"count .*the model changes it"):
        trace(Counter(), torch.rand(1, 4))


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.function = nn.Linear(4, 4).bfloat16()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.function.weight.float().sum()


def test_bfloat16_is_refused() -> None:
    with pytest.raises(Unsupported, match="input 'input': it is bfloat16"):
        trace(nn.Linear(4, 4).bfloat16(), torch.rand(1, 4).bfloat16())
    with pytest.raises(Unsupported, match=r"function\.weight .*bfloat16"):
        trace(Mixed(), torch.rand(1, 4))


def test_dynamic_size_is_refused() -> None:
    program = torch.export.export(
        nn.ReLU(), (torch.rand(2, 4),), dynamic_shapes=({0: torch.export.Dim("b"), 1: torch.export.Dim("seq")},)
    )
    with pytest.raises(Unsupported, match="input 'input': dimension 1 is dynamic"):
        trace(program)


def test_a_refusal_tells_why_there_is_no_rule() -> None:
    with pytest.raises(Unsupported, match=r"\(aten\.atan2\.default\): no operator stands for the angle of two"):
        trace(Lambda(lambda x: torch.atan2(x, x + 1)), torch.rand(1, 4))


def test_control_flow_is_refused() -> None:
    with pytest.raises(Unsupported, match=r"torch\.export cannot trace"):
        trace(Lambda(lambda x: x if x.sum() > 0 else -x), torch.rand(1, 4))


@pytest.mark.parametrize(("model", "inputs"), [(nn.ReLU(), None), (object(), None), (nn.ReLU(), "x")])
def test_wrong_arguments(model: Any, inputs: Any) -> None:
    with pytest.raises(InvalidInput):
        trace(model, inputs)


def test_import_is_light() -> None:
    code = "import sys, graphopt.frontends; assert not {'torch', 'onnx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_of_outputs_are_made_unique() -> None:
    graph = trace(Lambda(lambda x: {"a": {"b": x * 2, "b_1": x * 4}, "a_b": x * 3}), torch.ones(2, 3))
    assert graph.output_names == ("a_b", "a_b_1", "a_b_2")
    assert [y[0, 0] for y in graph(np.ones((2, 3), np.float32))] == [2, 4, 3]


def test_sparse_weights_are_refused() -> None:
    model = Lambda(lambda x: x)
    model.register_buffer("weight", torch.eye(3).to_sparse())
    model.function = lambda x: x + model.weight
    with pytest.raises(Unsupported, match=r"weight \(parameter\): it is no dense tensor"):
        trace(model, torch.ones(3, 3))
