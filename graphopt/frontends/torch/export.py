"""PyTorch modules and exported programs to graphs.

A module goes through ``torch.export`` with dimension 0 of its inputs dynamic, and the program is translated
node by node before any decomposition, so that batch norm, linear and convolutions are whole. A node is named
after the module that made it (``features.0.conv``); where one call of a module made several nodes, the
operator is appended (``block.add``). Nodes that only the root made have the name of the operator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.export import Dim as ExportDim
from torch.export import ExportedProgram, ShapesCollection

from graphopt.errors import InvalidGraph, InvalidInput, Unsupported
from graphopt.frontends.build import warn_fixed_batch
from graphopt.frontends.torch import rules as rules  # they register when they are imported
from graphopt.frontends.torch.program import ProgramImporter
from graphopt.ir import Graph


def trace(model: Any, example_inputs: Any = None, *, dynamic_batch: bool = True, name: str | None = None) -> Graph:
    """The graph of an ``nn.Module`` or an ``ExportedProgram``; see ``graphopt.frontends.trace``.

    If the program cannot be exported with a dynamic batch, or N leaves the form k*N, the graph gets the batch
    of the example and a warning says so. Where a model branches on a batch of one, the graph does what the model
    does for more: so does ``torch.export``. Inputs that the model changes in place are left alone.
    """
    if isinstance(model, ExportedProgram):
        return import_program(model, example_batch(model.example_inputs), dynamic_batch, name or "program")
    if not isinstance(model, torch.nn.Module):
        raise InvalidInput(
            f"a {type(model).__name__} cannot be traced",
            advice="give an nn.Module, a GraphModule or an ExportedProgram",
        )
    name = name or type(model).__name__
    args, kwargs = split_arguments(example_inputs, name)
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


def split_arguments(example_inputs: Any, where: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments out of what the user gave."""
    if isinstance(example_inputs, torch.Tensor):
        return (example_inputs,), {}
    if isinstance(example_inputs, Mapping):
        return (), dict(example_inputs)
    if isinstance(example_inputs, Sequence) and not isinstance(example_inputs, str):
        return tuple(example_inputs), {}
    raise InvalidInput(
        f"example inputs are needed, got {type(example_inputs).__name__}",
        where=where,
        advice="give a tensor, a tuple of tensors, or a mapping from argument names to tensors",
    )


def batched_tensors(tree: Any, batch: int | None = None) -> Iterator[torch.Tensor]:
    """The tensors that have a dimension 0, of size ``batch`` if it is given."""
    for leaf in torch.utils._pytree.tree_leaves(tree):
        if isinstance(leaf, torch.Tensor) and leaf.dim() > 0 and batch in (None, leaf.shape[0]):
            yield leaf


def example_batch(tree: Any) -> int | None:
    """The batch size of the first tensor that has a dimension; None without one."""
    first = next(batched_tensors(tree), None)
    return None if first is None else int(first.shape[0])


def widen(args: tuple[Any, ...], kwargs: dict[str, Any], batch: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The example with a batch of at least two: torch takes a dimension of one for a constant."""
    if batch > 1:
        return args, kwargs
    ones = {id(t) for t in batched_tensors((args, kwargs), batch)}

    def repeat(leaf: Any) -> Any:
        return torch.cat([leaf, leaf]) if id(leaf) in ones else leaf

    args, kwargs = torch.utils._pytree.tree_map(repeat, (args, kwargs))
    return args, kwargs


def export(model: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic: bool) -> ExportedProgram:
    """``torch.export`` in evaluation mode, dimension 0 of every batched input dynamic if asked."""
    shapes: Any = None
    if dynamic:
        shapes, dim = ShapesCollection(), ExportDim("batch")  # type: ignore[no-untyped-call]
        for tensor in batched_tensors((args, kwargs), example_batch((args, kwargs))):
            shapes[tensor] = {0: dim}
    # without gradients a model that turns them off itself leaves no trace of that in the program
    with evaluating(model), torch.no_grad():
        return torch.export.export(model, args, kwargs, dynamic_shapes=shapes)


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """The model in evaluation mode, and afterwards every module as it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def first_line(error: Exception) -> str:
    """The kind of an error and the first line of its text that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
