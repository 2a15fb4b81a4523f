"""What is traced, and how: networks, FX and exported programs, inputs and outputs, names, the batch."""

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

from frontends.torch_models import Lambda, Two, check, example, told
from graphopt import ops
from graphopt.frontends import trace
from graphopt.ir import Constant, bind_batch


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


def test_import_is_light() -> None:
    code = "import sys, graphopt.frontends; assert not {'torch', 'onnx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_of_outputs_are_made_unique() -> None:
    graph = trace(Lambda(lambda x: {"a": {"b": x * 2, "b_1": x * 4}, "a_b": x * 3}), torch.ones(2, 3))
    assert graph.output_names == ("a_b", "a_b_1", "a_b_2")
    assert [y[0, 0] for y in graph(np.ones((2, 3), np.float32))] == [2, 4, 3]
