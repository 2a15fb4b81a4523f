"""From training to three machines: a small residual network on handwritten digits.

Trains on scikit-learn's digits (8x8 pixels, UCI), optimises the traced graph, compiles it for this
machine, for AArch64 and for a Cortex-M4, runs all three on the test images, and prints what it found.
"""

from __future__ import annotations

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import graphopt
from graphopt.ir import worst_difference
from graphopt.passes import Pipeline, default_pipeline

EPOCHS = 40


class Residual(nn.Module):
    """Two convolutions with batch norm, and the way around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(x + self.bn2(self.conv2(y)))


class DigitNet(nn.Module):
    """A stem, a residual block, pooling, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 20, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(20)
        self.block = Residual(20)
        self.head = nn.Linear(20 * 2 * 2, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.block(torch.relu(self.bn(self.stem(x))))
        return self.head(nn.functional.max_pool2d(x, 2).flatten(1))


def train(x: torch.Tensor, y: torch.Tensor) -> nn.Module:
    """The network, trained with Adam on batches of 64; seeded."""
    torch.manual_seed(0)
    model = DigitNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(64):
            loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


def main() -> None:
    console = Console(width=100)
    digits = load_digits()
    images = digits.images.astype(np.float32)[:, None] / 16
    x, x_test, y, y_test = train_test_split(images, digits.target, test_size=0.25, random_state=0)

    with console.status("training"):
        model = train(torch.from_numpy(x), torch.from_numpy(y))
    with torch.no_grad():
        reference = model(torch.from_numpy(x_test)).numpy()

    with console.status("tracing and optimising, every pass held to its contract"):
        graph = graphopt.trace(model, (torch.from_numpy(x_test[:1]),))
        small = Pipeline(default_pipeline(), check=True)(graph)
    console.print(f"{len(graph.nodes)} nodes traced, {len(small.nodes)} left; each pass kept its contract")

    table = Table(title=f"{len(x_test)} test images; PyTorch gets {np.mean(reference.argmax(1) == y_test):.2%}")
    for column in ("target", "accuracy", "difference", "code B", "weights B", "RAM B", "one image"):
        table.add_column(column, justify="left" if column == "target" else "right", no_wrap=True)
    for target in ("host", "aarch64", "cortex-m4"):
        with console.status(f"compiling and running for {target}"):
            program = graphopt.compile(small, target=target, name="digits")
            run = program.measure([x_test])
        logits = np.concatenate([outputs[0] for outputs in run.outputs])
        sizes = program.sizes
        table.add_row(
            target,
            f"{np.mean(logits.argmax(1) == y_test):.2%}",
            f"{worst_difference(logits, reference):.1e}",
            f"{sizes.code:,}",
            f"{sizes.weights:,}",
            f"{sizes.workspace:,}",
            f"{run.seconds * 1e6:.0f} us" if run.seconds else f"{run.instructions:,} ins.",
        )
    console.print(table)
    console.print("difference: worst over all images, of max|logit| in PyTorch; ins.: instructions, counted by QEMU")


if __name__ == "__main__":
    main()
