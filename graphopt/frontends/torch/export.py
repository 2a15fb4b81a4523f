"""PyTorch modules and exported programs to graphs.

A module goes through ``torch.export`` with dimension 0 of its inputs dynamic, and the program is translated
node by node before any decomposition, so that batch norm, linear and convolutions are whole. A node is named
after the module that made it (``features.0.conv``); where one call of a module made several nodes, the
operator is appended (``block.add``). Nodes that only the root made have the name of the operator.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.export import Dim as ExportDim
from torch.export import ExportedProgram, ShapesCollection

from graphopt.errors import InvalidGraph, InvalidInput, Unsupported
from graphopt.frontends.build import warn_fixed_batch
from graphopt.frontends.torch import rules as rules  # they register when they are imported
from graphopt.frontends.torch.check import Example, checked, warn_not_compared
from graphopt.frontends.torch.example import (
    batched_tensors,
    evaluating,
    example_batch,
    first_line,
    split_arguments,
    widen,
)
from graphopt.frontends.torch.program import ProgramImporter
from graphopt.frontends.torch.whole import Whole
from graphopt.ir import Graph


def trace(
    model: Any, example_inputs: Any = None, *, dynamic_batch: bool = True, name: str | None = None, check: bool = True
) -> Graph:
    """The graph of an ``nn.Module`` or an ``ExportedProgram``; see ``graphopt.frontends.trace``.

    If the program cannot be exported with a dynamic batch, or N leaves the form k*N, or the graph of a dynamic batch
    does something else than the model with the example, the graph gets the batch of the example and a warning says
    so. Inputs that the model changes in place are left alone.
    """
    if isinstance(model, ExportedProgram):
        return trace_program(model, dynamic_batch, name or "program", check)
    if not isinstance(model, torch.nn.Module):
        raise InvalidInput(
            f"a {type(model).__name__} cannot be traced",
            advice="give an nn.Module, a GraphModule or an ExportedProgram",
        )
    name = name or type(model).__name__
    args, kwargs = split_arguments(example_inputs, name)
    graph = trace_module(model, args, kwargs, dynamic_batch, name)
    if not check:
        return graph
    example = Example(model, args, kwargs)
    return checked(graph, example, lambda: trace_module(model, args, kwargs, False, name))


def trace_module(
    model: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic_batch: bool, name: str
) -> Graph:
    """The graph of a module, with N free if that can be and is wanted, else with the batch of the example."""
    batch = example_batch((args, kwargs))
    if dynamic_batch and batch is not None:
        try:
            program = export(model, *widen(args, kwargs, batch), dynamic=True)
        except Exception as error:  # torch.export raises errors of many kinds
            reason = first_line(error)
        else:
            return import_program(program, batch, True, name)
    try:
        program = export(model, args, kwargs, dynamic=False)
    except Exception as error:
        raise Unsupported(
            "torch.export cannot trace the model",
            where=name,
            why=first_line(error),
            advice="rewrite what depends on the values of tensors, or export the model to ONNX",
        ) from error
    graph = ProgramImporter(program, name, None).graph()
    if dynamic_batch and batch is not None:
        warn_fixed_batch(name, batch, f"torch.export needs it: {reason}")
    return graph


def trace_program(program: ExportedProgram, dynamic_batch: bool, name: str, check: bool) -> Graph:
    """The graph of a program, compared with it if it holds the inputs that it was exported with."""
    batch = example_batch(program.example_inputs)
    graph = import_program(program, batch, dynamic_batch, name)
    if not check or program.example_inputs is None:
        return graph
    args, kwargs = program.example_inputs
    try:
        module = program.module()
    except Exception as error:  # torch makes no module of some programs, as of those that it cannot guard
        warn_not_compared(name, first_line(error))
        return graph
    example = Example(module, args, kwargs, exported=True)
    return checked(graph, example, lambda: import_program(program, batch, False, name))


def import_program(program: ExportedProgram, batch: int | None, dynamic: bool, name: str) -> Graph:
    """The graph of a program, with N free if that can be, else with the batch given."""
    if not dynamic:
        return ProgramImporter(program, name, batch).graph()
    try:
        return ProgramImporter(program, name, None).graph()
    except (InvalidGraph, Unsupported) as error:
        if batch is None:
            raise
        reason = error
    graph = ProgramImporter(program, name, batch).graph()
    warn_fixed_batch(name, batch, reason)
    return graph


def export(model: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic: bool) -> ExportedProgram:
    """``torch.export`` in evaluation mode, dimension 0 of every batched input dynamic if asked."""
    shapes: Any = None
    if dynamic:
        shapes, dim = ShapesCollection(), ExportDim("batch")  # type: ignore[no-untyped-call]
        for tensor in batched_tensors((args, kwargs), example_batch((args, kwargs))):
            shapes[tensor] = {0: dim}
    # without gradients a model that turns them off itself leaves no trace of that in the program
    with evaluating(model), torch.no_grad(), Whole():
        return torch.export.export(model, args, kwargs, dynamic_shapes=shapes)
