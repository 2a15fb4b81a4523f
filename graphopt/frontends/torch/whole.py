"""Recurrent layers and cells, whole while torch exports a model.

torch finds the shapes of what ``torch.gru`` and its like give by going through all their steps, with symbolic sizes,
for seconds. So during an export they are operators of our own, whose shapes are known; afterwards torch's again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.overrides import TorchFunctionMode

LIBRARY: Any = torch.library.Library("graphopt", "FRAGMENT")  # type: ignore[no-untyped-call]


def layer(x: torch.Tensor, initial: Any, params: Any, biased: bool, count: int, *rest: Any) -> tuple[Any, ...]:
    """Results like those of a layer of these arguments: of each step, and the last states."""
    states = initial if isinstance(initial, list | tuple) else [initial]
    bidirectional = rest[2]
    features = states[0].shape[-1] * (2 if bidirectional else 1)
    return (x.new_empty((*x.shape[:-1], features)), *map(torch.empty_like, states))


def cell(x: torch.Tensor, state: Any, *params: Any) -> Any:
    """Results like those of a step: the next state, or states."""
    return tuple(map(torch.empty_like, state)) if isinstance(state, list | tuple) else torch.empty_like(state)


@dataclass(frozen=True)
class Own:
    """An operator of our own, and torch's of the same arguments and, on data, the same results."""

    operator: Any
    original: Any
    lists: tuple[bool, ...]
    """Which arguments are lists; torch's function has other operators for others, as for packed sequences."""

    def takes(self, args: Sequence[Any]) -> bool:
        return tuple(isinstance(a, list | tuple) for a in args[: len(self.lists)]) == self.lists


def own(name: str, original: Any, like: Callable[..., Any]) -> Own:
    """Define an operator; ``like`` gives results of the right shapes."""
    schema = original._schema
    LIBRARY.define(f"{name}({str(schema).partition('(')[2]}")
    LIBRARY.impl(name, original, "CompositeExplicitAutograd")
    torch.library.register_fake(f"graphopt::{name}", like, lib=LIBRARY)
    lists = tuple(str(a.type) == "List[Tensor]" for a in schema.arguments[:3])
    return Own(getattr(torch.ops.graphopt, name).default, original, lists)


OWN: dict[Callable[..., Any], Own] = {}
"""By the function of torch that modules call."""
for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
    OWN[getattr(torch, kind)] = own(kind, getattr(torch.ops.aten, kind).input, layer)
    OWN[getattr(torch, f"{kind}_cell")] = own(f"{kind}_cell", getattr(torch.ops.aten, f"{kind}_cell").default, cell)
ORIGINALS = {found.operator: found.original for found in OWN.values()}


class Whole(TorchFunctionMode):
    """The context of an export in which these operators take the places of torch's."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        found = OWN.get(function)
        call = function if found is None or not found.takes(args) else found.operator
        return call(*args, **(kwargs or {}))


def restored(program: ExportedProgram) -> ExportedProgram:
    """The program with torch's operators in it."""
    for node in program.graph.nodes:
        node.target = ORIGINALS.get(node.target, node.target)
    return program
