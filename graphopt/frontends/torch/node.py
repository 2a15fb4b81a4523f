"""What a rule for an aten operator sees, and the table of rules."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch

from graphopt.errors import InvalidGraph
from graphopt.frontends.build import Derived, Scope
from graphopt.ir import Batch, Shape, TensorType, Value
from graphopt.ir.registry import Table
from graphopt.ops import Cast

Rule = Callable[..., Any]
R = TypeVar("R", bound=Rule)

ATEN_RULES: Table[str, Rule] = Table("an importer rule")
"""The rules by the name of the aten operator. A rule gets the node and every argument of the schema, in order."""


UNFOLDED = "quantized_decomposed.dequantize"
"""The operators not computed though their operands are constant: quantized weights stay so."""


def aten_rule(*names: str, of: str = "aten") -> Callable[[R], R]:
    """Register the rule of the operators of these names, without their ``aten.``, or the other namespace."""

    def register(rule: R) -> R:
        ATEN_RULES.enter(rule, *(f"{of}.{name}" for name in names))
        return rule

    return register


class AtenNode(Scope):
    """One node of the program, as a rule sees it."""

    def __init__(self, name: str, derived: Derived, shape: Shape, dtype: str) -> None:
        super().__init__(name, derived)
        self.shape, self.dtype = shape, dtype
        """The type that torch gives the result; empty for a node of several results."""

    def operand(self, x: Any, part: str) -> Value:
        """A tensor or number as an operand in the dtype of the result, as torch promotes it."""
        if isinstance(x, Batch):
            raise InvalidGraph(f"the batch, {x}, is used as a number")
        if not isinstance(x, Value):
            return self.constant(np.array(x).astype(self.dtype), part)
        return self.cast(x, self.dtype, part)

    def cast(self, x: Value, dtype: str, part: str = "") -> Value:
        """x in another dtype; a constant at once."""
        if x.type.dtype == dtype:
            return x
        if x.constant is None:
            return self.emit(Cast(to=dtype), x, part=part)
        return self.derive(x, dtype, lambda a: a.astype(dtype))

    def promoted(self, *operands: Any) -> list[Value]:
        """Tensors and numbers as operands of the dtype to which torch promotes them together."""
        if any(isinstance(o, Batch) for o in operands):
            raise InvalidGraph("the batch is used as a number")
        likes = [stand_in(o.type) if isinstance(o, Value) else o for o in operands]
        dtype = str(functools.reduce(widest, likes).dtype).removeprefix("torch.")
        return [
            self.cast(o, dtype, "cast") if isinstance(o, Value) else self.constant(np.array(o).astype(dtype), "number")
            for o in operands
        ]


def stand_in(type_: TensorType) -> torch.Tensor:
    """An empty tensor that promotes as one of this type: those without axes give way to others."""
    return torch.empty((0,) if type_.rank else (), dtype=getattr(torch, type_.dtype))


def widest(a: torch.Tensor | float, b: torch.Tensor | float) -> torch.Tensor:
    """A stand-in of the dtype to which torch promotes two operands."""
    dims = max(x.dim() if isinstance(x, torch.Tensor) else 0 for x in (a, b))
    return torch.empty((0,) * dims, dtype=torch.result_type(a, b))
