"""What tracing must not do: take a program apart for a size, or run through the steps of a recurrent layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._decomp import decompositions
from torch.export import ExportedProgram

from graphopt import trace
from graphopt.ops import Recurrent


class Reader(nn.Module):
    """Reads the batch from its input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(x.shape[0], -1)


class Cells(nn.Module):
    """A loop over the steps of a cell, with states of its own."""

    def __init__(self, cell: nn.RNNCellBase) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = torch.zeros(x.shape[0], 5)
        two = isinstance(self.cell, nn.LSTMCell)
        states = (state, state) if two else state
        for step in x.unbind(1):
            states = self.cell(step, states)
        return states[0] if two else states


def sizes() -> torch.Tensor:
    return torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0))


def test_no_program_is_taken_apart_for_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object, **options: object) -> None:
        raise AssertionError("it was taken apart")

    monkeypatch.setattr(ExportedProgram, "run_decompositions", refused)
    assert trace(Reader(), (sizes(),)).is_symbolic


LAYERS = {
    "LSTM": nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True),
    "LSTM, steps first": nn.LSTM(6, 5),
    "GRU": nn.GRU(6, 5, batch_first=True),
    "GRU, no bias": nn.GRU(6, 5, 2, bias=False, bidirectional=True),
    "RNN": nn.RNN(6, 5, batch_first=True),
    "RNN of ReLU": nn.RNN(6, 5, nonlinearity="relu"),
    "LSTM cell": Cells(nn.LSTMCell(6, 5)),
    "GRU cell": Cells(nn.GRUCell(6, 5, bias=False)),
    "RNN cell": Cells(nn.RNNCell(6, 5, nonlinearity="relu")),
}


@pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "free"])
@pytest.mark.parametrize("name", LAYERS)
def test_no_recurrent_layer_is_run_through(name: str, dynamic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check against the model holds the results."""

    def refused(*arguments: object, **options: object) -> None:
        raise AssertionError("torch runs through the steps")

    for function in ("_rnn_helper", "gru_cell", "lstm_cell", "one_layer_rnn"):
        if hasattr(decompositions, function):
            monkeypatch.setattr(decompositions, function, refused)
    graph = trace(LAYERS[name], (sizes(),), dynamic_batch=dynamic)
    assert any(isinstance(node.op, Recurrent) for node in graph.nodes)


def test_a_projection_has_results_of_its_size() -> None:
    """Its shape is found before it is refused."""
    from graphopt.errors import Unsupported

    with pytest.raises(Unsupported, match=r"aten\.lstm\.input.*projection"):
        trace(nn.LSTM(6, 5, proj_size=2), (sizes(),))
