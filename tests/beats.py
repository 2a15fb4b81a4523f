"""Recurrent networks on heartbeats (MIT-BIH, five classes), for the tests and the benchmark of their quantisation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

import graphopt
from graphopt.ir import Array, Graph
from graphopt.passes import Quantize

STEPS, FRAME, CALIBRATION = 20, 15, 256


class Beats(nn.Module):
    """A beat of 300 samples as 20 frames of 15, a recurrent layer, and a classifier on its last step."""

    def __init__(self, layer: type[nn.GRU | nn.LSTM] = nn.GRU, hidden: int = 32) -> None:
        super().__init__()
        self.layer = layer(FRAME, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.layer(x)
        return self.head(y[:, -1])  # type: ignore[no-any-return]


def load(shared: Path) -> dict[str, Array]:
    """x_train, y_train, x_test, y_test; beats as frames [n, 20, 15], float32."""
    data = np.load(shared / "data" / "ecg_beats.npz")
    return {
        name: data[name].astype(np.float32).reshape(-1, STEPS, FRAME) if name.startswith("x") else data[name]
        for name in data.files
    }


def train(layer: type[nn.GRU | nn.LSTM], x: Array, y: Array, epochs: int, hidden: int = 32) -> Beats:
    """The network after so many epochs of Adam, in batches of 64; seeded, on one thread, which is fastest here."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = Beats(layer, hidden)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y.astype(np.int64))
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, total_steps=epochs * -(-len(x) // 64))
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(64):
            loss = nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return model.eval()


def quantized(model: Beats, x: Array, **options: str) -> tuple[Graph, Graph]:
    """The network traced, and quantized on the first beats of the training set."""
    graph = graphopt.trace(model, torch.from_numpy(x[:2]))
    return graph, Quantize(calibration=[x[:CALIBRATION]], **options)(graph)
