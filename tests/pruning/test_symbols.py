"""Input symbols are no channels: pruning keeps what enumerates values of the data, and the rows that data looks up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

import graphopt
from graphopt.ir import Graph
from graphopt.passes import Context, Pipeline, PruneChannels
from pruning.nets import weight

SYMBOLS, HIDDEN = 13, 8

Encode = Callable[[Tensor], Tensor]


class Symbolic(nn.Module):
    """Bytes, encoded somehow, read by a hidden layer whose units may go."""

    def __init__(self, encode: Encode, width: int) -> None:
        super().__init__()
        self.encode = encode
        self.hidden, self.head = nn.Linear(width, HIDDEN), nn.Linear(HIDDEN, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.hidden(self.encode(x))))


def scattered(x: Tensor) -> Tensor:
    return torch.zeros(*x.shape, SYMBOLS).scatter(-1, x[..., None], 1.0)


def around(x: Tensor) -> Tensor:
    """The hat functions around whole numbers."""
    return torch.relu(1 - (x[..., None].float() - torch.arange(float(SYMBOLS))).abs())


ENCODINGS: dict[str, tuple[Encode, int]] = {
    "one_hot": (lambda x: functional.one_hot(x, SYMBOLS).float(), SYMBOLS),
    "equal to a range": (lambda x: (x[..., None] == torch.arange(SYMBOLS)).float(), SYMBOLS),
    "equal in float": (lambda x: (x[..., None].float() == torch.arange(float(SYMBOLS))).float(), SYMBOLS),
    "expanded first": (lambda x: (x[..., None].expand(-1, -1, SYMBOLS) == torch.arange(SYMBOLS)).float(), SYMBOLS),
    "no difference": (lambda x: ((x[..., None].float() - torch.arange(float(SYMBOLS))) == 0).float(), SYMBOLS),
    "scatter": (scattered, SYMBOLS),
    "rows of an identity": (lambda x: torch.eye(SYMBOLS)[x], SYMBOLS),
    "thermometer": (lambda x: (x[..., None] > torch.tensor([1, 2, 4, 9, 11])).float(), 5),
    "limits, by difference": (
        lambda x: ((x[..., None].float() - torch.tensor([1.0, 2, 4, 9, 11])) > 0).float(),
        5,
    ),
    "rounded parts": (lambda x: torch.floor(x[..., None].float() / torch.tensor([1.0, 2, 4, 9])), 4),
    "bits": (lambda x: ((x[..., None] >> torch.arange(4)) & 1).float(), 4),
    "hats": (around, SYMBOLS),
    "one_hot, flattened": (lambda x: functional.one_hot(x, SYMBOLS).float().flatten(1), 5 * SYMBOLS),
    "one_hot of the best": (lambda x: functional.one_hot(x.float().argmax(1, True), SYMBOLS).float(), SYMBOLS),
    "one_hot and more": (
        lambda x: functional.one_hot(x, SYMBOLS).float() * torch.linspace(0.5, 2, SYMBOLS),
        SYMBOLS,
    ),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_no_symbol_goes(name: str) -> None:
    encode, width = ENCODINGS[name]
    torch.manual_seed(0)
    graph = graphopt.trace(Symbolic(encode, width).eval(), (torch.randint(0, SYMBOLS, (2, 5)),))
    small = Pipeline([PruneChannels(ratio=0.5)], check=True)(graph)
    assert weight(small, "hidden.weight").shape == (HIDDEN // 2, width)


def test_symbols_stay_in_a_residual_stream_of_their_width() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.head = nn.Linear(SYMBOLS, SYMBOLS), nn.Linear(SYMBOLS, 3)

        def forward(self, x: Tensor) -> Tensor:
            hot = functional.one_hot(x, SYMBOLS).float()
            return self.head(hot + self.inner(hot))

    graph = graphopt.trace(Residual().eval(), (torch.randint(0, SYMBOLS, (2, 5)),))
    assert PruneChannels(ratio=0.5)(graph) is graph


def test_rows_of_a_table_stay_and_its_columns_may_go() -> None:
    """An embedding whose weights are those of the last layer too."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.last = nn.Embedding(SYMBOLS, HIDDEN), nn.Linear(SYMBOLS, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.relu(functional.linear(self.table(x), self.table.weight)))

    context = Context()
    graph = graphopt.trace(Tied().eval(), (torch.randint(0, SYMBOLS, (2, 5)),))
    small = Pipeline([PruneChannels(ratio=0.5)], check=True)(graph, context)
    assert weight(small, "table.weight").shape == (SYMBOLS, HIDDEN // 2)
    assert weight(small, "last.weight").shape == (3, SYMBOLS)
    assert any("axis 0 kept: its rows are looked up by the data" in n.text for n in context.notes)


@pytest.mark.parametrize("pick", [lambda y: y.argmax(-1), lambda y: y.topk(2).indices], ids=["argmax", "topk"])
def test_channels_whose_numbers_are_looked_up_stay(pick: Encode) -> None:
    class Picked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classes, self.table, self.last = nn.Linear(4, SYMBOLS), nn.Embedding(SYMBOLS, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.table(pick(self.classes(x))))

    graph = graphopt.trace(Picked().eval(), (torch.randn(2, 4),))
    small = Pipeline([PruneChannels(ratio=0.5)], check=True)(graph)
    assert weight(small, "classes.weight").shape == (SYMBOLS, 4)
    assert weight(small, "table.weight").shape == (SYMBOLS, 4)


def test_the_reason_can_be_read() -> None:
    context = Context()
    encode, width = ENCODINGS["one_hot"]
    graph = graphopt.trace(Symbolic(encode, width).eval(), (torch.randint(0, SYMBOLS, (2, 5)),))
    Pipeline([PruneChannels(ratio=0.5)])(graph, context)
    assert any("axis 2 kept: it enumerates values of the data" in n.text for n in context.notes if n.declined)


class Channels(nn.Module):
    """What looks alike and is made of channels: scales of one input, thresholds of a layer's outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.3, 2, 6) ** 2)
        self.first, self.limits = nn.Linear(6, 10), nn.Parameter(torch.randn(10))
        self.last = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(torch.sin(x * self.scale))
        return self.last(y * (y > self.limits))


def test_channels_that_look_alike_may_go() -> None:
    graph = graphopt.trace(Channels().eval(), (torch.randn(2, 1),))
    small = Pipeline([PruneChannels(ratio=0.5, scope="local")], check=True)(graph)
    assert weight(small, "first.weight").shape == (5, 3)


def onnx_net(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray]) -> Graph:
    """int64 [2, 5] -> the nodes, to "hot" -> MatMul with "w" -> Relu -> MatMul with "v" (both read as linear)."""
    tail = [
        helper.make_node("MatMul", ["hot", "w"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["positive"]),
        helper.make_node("MatMul", ["positive", "v"], ["y"]),
    ]
    return graphopt.load(
        helper.make_model(
            helper.make_graph(
                [*nodes, *tail],
                "symbols",
                [helper.make_tensor_value_info("x", TensorProto.INT64, [2, 5])],
                [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 5, 3])],
                [numpy_helper.from_array(a, name) for name, a in weights.items()],
            ),
            opset_imports=[helper.make_opsetid("", 17)],
            ir_version=8,
        )
    )


def onnx_encodings() -> dict[str, tuple[list[onnx.NodeProto], dict[str, np.ndarray]]]:
    node = helper.make_node
    one_hot = [node("OneHot", ["x", "depth", "values"], ["hot"])]
    ranged = [
        node("Range", ["zero", "depth", "one"], ["range"]),
        node("Unsqueeze", ["x", "last"], ["column"]),
        node("Equal", ["column", "range"], ["same"]),
        node("Cast", ["same"], ["hot"], to=TensorProto.FLOAT),
    ]
    first = [
        node("OneHot", ["x", "depth", "values"], ["first"], axis=1),
        node("Transpose", ["first"], ["hot"], perm=[0, 2, 1]),
    ]
    identity = [node("Gather", ["eye", "x"], ["hot"])]
    scatter = [
        node("Unsqueeze", ["x", "last"], ["column"]),
        node("ScatterElements", ["zeros", "column", "ones"], ["hot"], axis=2),
    ]
    numbers = {"zero": np.int64(0), "one": np.int64(1), "depth": np.int64(SYMBOLS), "last": np.array([-1])}
    floats = {
        "values": np.array([0, 1], "f4"),
        "eye": np.eye(SYMBOLS, dtype="f4"),
        "zeros": np.zeros((2, 5, SYMBOLS), "f4"),
        "ones": np.ones((2, 5, 1), "f4"),
    }
    given = {k: np.asarray(v) for k, v in {**numbers, **floats}.items()}
    return {
        name: (nodes, {k: v for k, v in given.items() if any(k in n.input for n in nodes)})
        for name, nodes in {
            "OneHot": one_hot,
            "Equal to a Range": ranged,
            "OneHot along axis 1": first,
            "Gather of rows of an identity": identity,
            "ScatterElements": scatter,
        }.items()
    }


@pytest.mark.parametrize("name", onnx_encodings())
def test_no_symbol_of_an_onnx_model_goes(name: str) -> None:
    nodes, weights = onnx_encodings()[name]
    rng = np.random.default_rng(0)
    w = {"w": rng.standard_normal((SYMBOLS, HIDDEN), "f4"), "v": rng.standard_normal((HIDDEN, 3), "f4")}
    small = Pipeline([PruneChannels(ratio=0.5)], check=True)(onnx_net(nodes, weights | w))
    assert weight(small, "w").shape == (HIDDEN // 2, SYMBOLS)
