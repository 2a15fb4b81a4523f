"""Traces, optimises and compiles an architecture, and compares what it computes with PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

import graphopt
from graphopt.ir import Array, Batch, Graph
from graphopt.passes.contract import worst_difference
from graphopt.runtime import Program
from zoo.catalogue import Entry


@dataclass(frozen=True)
class Result:
    """At one batch: the program, and the worst differences of evaluator and program from PyTorch, of max|y|."""

    program: Program
    evaluated: float
    compiled: float


@dataclass(frozen=True)
class Comparison:
    """The optimised graph, of symbolic batch, and its results at batch 1 and 4."""

    graph: Graph
    results: tuple[Result, ...]


def compare(entry: Entry, batches: tuple[int, ...] = (1, 4)) -> Comparison:
    model = entry.model()
    graph = graphopt.optimize(graphopt.trace(model, entry.inputs(2)))
    assert all(v.type.shape[0] == Batch() for v in (*graph.inputs, *graph.outputs))
    return Comparison(graph, tuple(compared(model, graph, entry.inputs(batch), batch) for batch in batches))


def compared(model: torch.nn.Module, graph: Graph, inputs: tuple[torch.Tensor, ...], batch: int) -> Result:
    with torch.no_grad():
        expected = tensors(model(*inputs))
    arrays = [x.numpy() for x in inputs]
    program = graphopt.compile(graph, batch=batch)
    result = program.run(*arrays)
    compiled = result if isinstance(result, tuple) else (result,)
    return Result(program, worst(graph(*arrays), expected), worst(compiled, expected))


def worst(got: tuple[Array, ...], expected: list[Array]) -> float:
    return max(worst_difference(a, b) for a, b in zip(got, expected, strict=True))


def tensors(result: Any) -> list[Array]:
    """The outputs of a module in a row."""
    if isinstance(result, torch.Tensor):
        return [result.numpy()]
    parts = result.values() if isinstance(result, dict) else result
    return [tensor for part in parts for tensor in tensors(part)]
