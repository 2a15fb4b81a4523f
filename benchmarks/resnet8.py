"""ResNet8 of MLPerf Tiny as a module with the weights of its file and batch norms, for tools that take nothing else."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from graphopt.ir import Graph
from graphopt.ops import BatchNorm, Conv, Linear

PADDING = {1: (1, 1, 1, 1), 2: (0, 1, 0, 1)}
"""Left, right, top, bottom, by the stride: as TensorFlow pads."""


def normed(layer: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels))


class Block(nn.Module):
    """Two convolutions and what goes around them, by a third where the shape changes."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.padding = PADDING[stride]
        self.first = normed(nn.Conv2d(channels_in, channels, 3, stride))
        self.second = normed(nn.Conv2d(channels, channels, 3, padding=1))
        self.around = normed(nn.Conv2d(channels_in, channels, 1, stride)) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        inside = self.first(functional.pad(x, self.padding)).relu()
        return (self.second(inside) + self.around(x)).relu()


class ResNet8(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = normed(nn.Conv2d(3, 16, 3, padding=1))
        self.blocks = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2))
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x).relu()).mean((2, 3)))


def resnet8(graph: Graph) -> ResNet8:
    """The module that computes what the graph of the file does, whose layers got batch norms (``InsertBatchNorm``).

    Raises ``ValueError`` for a graph of other layers, ``KeyError`` for one without norms.
    """
    module = ResNet8()
    norms = {node.inputs[0].node: node for node in graph.nodes if isinstance(node.op, BatchNorm)}
    layers = [node for node in graph.nodes if isinstance(node.op, Conv | Linear)]
    nodes = [part for layer in layers for part in (layer, *([norms[layer]] if isinstance(layer.op, Conv) else ()))]
    own = [part for part in module.modules() if isinstance(part, nn.Conv2d | nn.BatchNorm2d | nn.Linear)]
    for node, part in zip(nodes, own, strict=True):
        tensors = [part.weight, part.bias]
        tensors += [part.running_mean, part.running_var] if isinstance(part, nn.BatchNorm2d) else []
        for tensor, value in zip(tensors, node.inputs[1:], strict=True):
            tensor.data.copy_(torch.tensor(value.constant))
    return module.eval()
