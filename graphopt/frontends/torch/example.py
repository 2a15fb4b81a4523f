"""Example inputs of torch modules: what a user gave, its batch, and the model in the mode in which it is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from graphopt.errors import InvalidInput


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
