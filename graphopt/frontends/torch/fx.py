"""``fx.GraphModule`` to graph.

The module is re-traced by ``torch.export``, so there is one table of rules for both. So that the names of the
fx graph survive, its calls of functions and methods are turned into small modules named after their fx nodes
first: every node of the result is named after the fx node or, for a called module, after the path of that
module. What the fx graph fixed when it was traced (sizes, branches) stays fixed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from graphopt.frontends.torch import export as torch_export
from graphopt.ir import Graph


class FunctionCall(torch.nn.Module):
    """The call of a function, or of the method of that name of the first argument."""

    def __init__(self, target: Callable[..., Any] | str) -> None:
        super().__init__()
        self.target = target

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self.target, str):
            return getattr(args[0], self.target)(*args[1:], **kwargs)
        return self.target(*args, **kwargs)


def trace(
    model: fx.GraphModule,
    example_inputs: Any = None,
    *,
    dynamic_batch: bool = True,
    name: str | None = None,
    check: bool = True,
) -> Graph:
    """The graph of an ``fx.GraphModule``; see ``graphopt.frontends.trace``."""
    name = name or type(model).__name__
    named = calls_as_modules(model)
    return torch_export.trace(named, example_inputs, dynamic_batch=dynamic_batch, name=name, check=check)


def calls_as_modules(model: fx.GraphModule) -> fx.GraphModule:
    """The same computation on the same parameters, every call of a function or method inside a module of its own."""
    named = fx.GraphModule(model, copy.deepcopy(model.graph))
    for node in named.graph.nodes:
        if node.op in ("call_function", "call_method") and not hasattr(named, node.name):
            named.add_submodule(node.name, FunctionCall(node.target))
            node.op, node.target = "call_module", node.name
    named.recompile()
    return named
