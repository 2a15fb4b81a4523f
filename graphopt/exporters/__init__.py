"""From graphs to ONNX models, PyTorch modules and files: ``to_onnx``, ``to_torch``, ``save``.

onnx and torch are imported when they are needed, not before.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from graphopt.errors import InvalidInput
from graphopt.extras import optional_packages
from graphopt.files import write_atomically
from graphopt.ir import Graph
from graphopt.storage import SUFFIX, to_bytes

if TYPE_CHECKING:
    from onnx import ModelProto

    from graphopt.exporters.torch.module import TorchGraph

__all__ = ["save", "to_onnx", "to_torch", "with_parameters"]


def to_onnx(graph: Graph) -> ModelProto:
    """The graph as an ONNX model: the same function, with the same names of inputs, outputs, nodes and weights.

    The batch N is a dynamic dimension ``N``, and k*N is ``N_times_k``; ``graphopt.load`` reads both back. A fused
    node becomes its parts. Raises ``Unsupported`` with every node for which ONNX has no operator.
    """
    from graphopt.exporters.onnx.export import to_onnx as export

    return export(graph)


def to_torch(graph: Graph) -> TorchGraph:
    """The graph as an ``nn.Module``: the same function of tensors, differentiable, for every batch.

    ``module(x)`` takes tensors of the types of the graph's inputs, by position or by name, and gives the only output,
    or all as a tuple. Float constants are parameters with the names of their nodes; several readers share a parameter.
    Buffers are integers, the mean and variance of batch_norm, scales and zero points, constants with infinities
    (masks), and numbers of rank 0, which are part of a formula (an epsilon).

    The module starts in ``eval`` mode, in which it computes the same as ``graph(x)``. After ``train()`` a batch_norm
    with constant mean and variance uses the statistics of the batch, and updates its buffers as
    ``torch.nn.BatchNorm2d`` does.

    Gradients are those of PyTorch. They pass straight through the rounding of ``quantize``, and stop at its saturation.
    Equal extremes of a reduction share the gradient; in a max_pool the first one has it.

    Raises ``Unsupported`` with every node that has neither a ``torch_rule`` nor a decomposition, or is of uint64;
    ``MissingPackage`` if PyTorch is not installed.
    """
    with optional_packages():
        from graphopt.exporters.torch.module import to_torch as export

    return export(graph)


def with_parameters(graph: Graph, module: TorchGraph) -> Graph:
    """The graph with the parameters and buffers of a module as its constants, such as after training.

    ``graph`` is the graph from which the module was made, or another whose constants have the same names and types.
    Names and origins are kept; a constant whose value did not change is kept too. Raises ``InvalidInput`` for a
    constant that the module does not have, or has with another type.
    """
    with optional_packages():
        from graphopt.exporters.torch.module import with_parameters as update

    return update(graph, module)


def save(graph: Graph, path: str | Path) -> None:
    """Write a graph to a file, completely or not at all: ``.gopt`` is graphopt's own format, ``.onnx`` is ONNX.

    Raises ``InvalidInput`` for another suffix, ``Unsupported`` if the format cannot hold the graph.
    """
    path = Path(path)
    if path.suffix == SUFFIX:
        write_atomically(path, to_bytes(graph))
    elif path.suffix == ".onnx":
        from graphopt.exporters.onnx.export import serialized

        write_atomically(path, serialized(graph))
    else:
        raise InvalidInput(
            f"the suffix {path.suffix!r} is of no known form", where=str(path), advice=f"use {SUFFIX} or .onnx"
        )
