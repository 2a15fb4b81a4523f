"""A weight that holds a NaN or an infinity is refused by name, whatever it comes from; masks and limits are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx.reference import ReferenceEvaluator

import graphopt
from graphopt.ir import Graph, arg, constant
from graphopt.ops import Fused, Linear, Relu
from hostile.sources import floats, node, one
from hostile.weights import masks, spoiled, unbounded


@pytest.mark.parametrize("name", unbounded())
def test_weights_that_are_not_finite_are_refused(name: str) -> None:
    with pytest.raises(graphopt.GraphoptError, match=r"weight '.*' has .* NaN or infinite"):
        graphopt.load(unbounded()[name])


def test_a_constant_that_is_quantized_must_be_numbers() -> None:
    made = one("Add", spoiled(floats(4)))
    made.graph.initializer.extend(one("Add", np.float32(0.1), np.int8(0)).graph.initializer)
    names = ("w", "s", "z")
    for tensor, name in zip(made.graph.initializer, names, strict=True):
        tensor.name = name
    made.graph.node[0].input[1] = "d"
    made.graph.node.insert(0, node("QuantizeLinear", names, ["q"], "quantized"))
    made.graph.node.insert(1, node("DequantizeLinear", ["q", "s", "z"], ["d"]))
    with pytest.raises(graphopt.GraphoptError, match=r"quantized \(QuantizeLinear\): .* has elements NaN"):
        graphopt.load(made)


def test_a_weight_that_is_not_finite_is_named(tmp_path: Path) -> None:
    made = one("Conv", spoiled(floats(2, 2, 3, 3)), x=(1, 2, 6, 6))
    made.graph.initializer[0].name = made.graph.node[0].input[1] = "features.0.weight"
    with pytest.raises(graphopt.GraphoptError, match=r"bad \(conv\): weight 'features.0.weight' has 1 of 36 elements"):
        graphopt.load(made)


@pytest.mark.parametrize("fused", [False, True])
def test_a_stored_weight_that_is_not_finite_is_refused(fused: bool, tmp_path: Path) -> None:
    x, bias = arg("x", "float32", (1, 4)), constant(np.zeros(3, np.float32))
    graph = Graph((x,), (Relu()(Linear()(x, constant(spoiled(floats(3, 4)), "w"), bias)),))
    graph = graphopt.optimize(graph) if fused else graph
    assert any(isinstance(n.op, Fused) for n in graph.nodes) == fused
    graphopt.save(graph, tmp_path / "m.gopt")
    with pytest.raises(graphopt.GraphoptError, match=r"weight 'w' has 1 of 12 elements NaN"):
        graphopt.load(tmp_path / "m.gopt")


@pytest.mark.parametrize("kind", ["module", "fx"])
def test_a_traced_weight_that_is_not_finite_is_refused(kind: str) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
    with torch.no_grad():
        model[0].bias[1] = float("inf")
    traced = torch.fx.symbolic_trace(model) if kind == "fx" else model
    with pytest.raises(graphopt.GraphoptError, match=r"weight '0\.bias' has 1 of 3 elements"):
        graphopt.trace(traced, torch.zeros(2, 4))


@pytest.mark.parametrize("name", masks())
def test_data_that_are_not_finite_are_read_as_they_are(name: str) -> None:
    made = masks()[name]
    x = np.arange(16, dtype=np.float32).reshape(4, 4)[: 4 if name == "mask" else 1]
    (want,) = ReferenceEvaluator(made).run(None, {"x": x})
    (got,) = graphopt.optimize(graphopt.load(made))(x)
    np.testing.assert_allclose(got, want, rtol=1e-6)
