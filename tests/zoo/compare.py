"""Traces, optimises and compiles an architecture, and compares what it computes with PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import torch
from onnxruntime import InferenceSession
from oracle import session

import graphopt
from graphopt.ir import Array, Batch, Graph, worst_difference
from graphopt.runtime import Program
from zoo.catalogue import Entry


@dataclass(frozen=True)
class Result:
    """At one batch: the program, and how far evaluator, program and ONNX Runtime are from PyTorch, of max|y|."""

    program: Program
    evaluated: float
    compiled: float
    exported: float


@dataclass(frozen=True)
class Comparison:
    """The optimised graph, of symbolic batch, and its results at batch 1 and 4."""

    graph: Graph
    results: tuple[Result, ...]


def compare(entry: Entry, batches: tuple[int, ...] = (1, 4)) -> Comparison:
    """All from one graph of symbolic batch, which must outlast a file of its own form, and ONNX's checker."""
    model = entry.model()
    graph = graphopt.optimize(graphopt.trace(model, entry.inputs(2)))
    assert all(v.type.shape[0] == Batch() for v in (*graph.inputs, *graph.outputs))
    with TemporaryDirectory() as folder:
        graphopt.save(graph, Path(folder) / "model.gopt")
        assert str(graphopt.load(Path(folder) / "model.gopt")) == str(graph)
    reference = exported(graph)
    results = tuple(compared(model, graph, reference, entry.inputs(batch), batch) for batch in batches)
    return Comparison(graph, results)


def exported(graph: Graph) -> InferenceSession:
    """The graph in ONNX Runtime, by way of ONNX's checker."""
    made = graphopt.to_onnx(graph)
    onnx.checker.check_model(made, full_check=True)
    return session(made)


def compared(
    model: torch.nn.Module, graph: Graph, reference: InferenceSession, inputs: tuple[torch.Tensor, ...], batch: int
) -> Result:
    with torch.no_grad():
        expected = tensors(model(*inputs))
    arrays = [x.numpy() for x in inputs]
    program = graphopt.compile(graph, batch=batch)
    result = program.run(*arrays)
    compiled = result if isinstance(result, tuple) else (result,)
    outside = reference.run(None, dict(zip((v.node.name for v in graph.inputs), arrays, strict=True)))
    return Result(program, *(worst(got, expected) for got in (graph(*arrays), compiled, outside)))


def worst(got: Sequence[Array], expected: list[Array]) -> float:
    return max(worst_difference(a, b) for a, b in zip(got, expected, strict=True))


def tensors(result: Any) -> list[Array]:
    """The outputs of a module in a row."""
    if isinstance(result, torch.Tensor):
        return [result.numpy()]
    parts = result.values() if isinstance(result, dict) else result
    return [tensor for part in parts for tensor in tensors(part)]
