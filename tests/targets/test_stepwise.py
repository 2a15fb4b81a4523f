"""Recurrent layers step by step, in C: the same bytes as with all gates at once, in the memory of one step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compiling import in_long_runs
from torch import Tensor, nn

import graphopt
from graphopt.ir import Graph, bind_batch
from graphopt.passes import Fuse, Quantize
from graphopt.targets import get_target
from graphopt.targets.lowering import lower

LAYERS = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}
READS = {
    "the last state": lambda y: y[:, -1],
    "the first state": lambda y: y[:, 0],
    "all states": lambda y: y.flatten(1),
    "the last two states": lambda y: y[:, -2:].flatten(1),
    "the last state twice": lambda y: y[:, -1] + y.mean(1),
}


class Reader(nn.Module):
    """A recurrent layer, and a linear layer on what is read of its states."""

    def __init__(self, layer: str, read: str, inputs: int, hidden: int, steps: int, both: bool) -> None:
        super().__init__()
        self.layer = LAYERS[layer](inputs, hidden, batch_first=True, bidirectional=both)
        self.read = READS[read]
        width = self.read(torch.zeros(1, steps, hidden * (2 if both else 1))).shape[1]
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.read(self.layer(x)[0]))


def quantized(
    layer: str, read: str = "the last state", inputs: int = 5, hidden: int = 6, steps: int = 7, both: bool = False
) -> Graph:
    torch.manual_seed(0)
    model = Reader(layer, read, inputs, hidden, steps, both).eval()
    graph = graphopt.trace(model, (torch.zeros(2, steps, inputs),))
    samples = np.random.default_rng(0).standard_normal((16, steps, inputs)).astype(np.float32)
    return Fuse()(Quantize(calibration=samples)(graph))


def hold(graph: Graph, target: str, batch: int = 1) -> None:
    """The program of a microcontroller gives the bytes of the host's, which goes the other way."""
    board, host = (graphopt.compile(graph, t, batch=batch) for t in (target, "host"))
    shape = host.manifest["inputs"][0]["shape"]
    samples = [[x] for x in np.random.default_rng(1).integers(-128, 128, (2, *shape)).astype(np.int8)]
    for got, want in zip(board.measure_batches(samples).outputs, host.measure_batches(samples).outputs, strict=True):
        np.testing.assert_array_equal(got[0], want[0])


def kernels(graph: Graph, target: str = "cortex-m4") -> list[str]:
    return [call.how.rule for call in lower(bind_batch(graph, 1), get_target(target)).calls]


@pytest.mark.parametrize("target", ["cortex-m4", *in_long_runs("cortex-m0", "cortex-m3", "cortex-m55")])
@pytest.mark.parametrize("layer", LAYERS)
def test_each_layer(layer: str, target: str) -> None:
    graph = quantized(layer)
    assert any("stepwise" in rule for rule in kernels(graph, target))
    hold(graph, target)


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("both", [False, True], ids=["forward", "both ways"])
def test_whatever_is_read(read: str, both: bool) -> None:
    hold(quantized("gru", read, both=both), "cortex-m4")


@pytest.mark.parametrize(("inputs", "hidden", "batch"), [(1, 32, 1), (8, 4, 3), (13, 9, 2)])
def test_sizes(inputs: int, hidden: int, batch: int) -> None:
    hold(quantized("lstm", inputs=inputs, hidden=hidden), "cortex-m4", batch)


def test_the_memory_does_not_grow_with_the_steps() -> None:
    few, many = (
        graphopt.compile(quantized("gru", inputs=1, hidden=32, steps=steps), "cortex-m4").sizes.workspace
        for steps in (30, 300)
    )
    assert many - few <= 2 * 270  # of the inputs, beside each other in another order
    assert many <= 1_200
