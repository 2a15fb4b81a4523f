"""The table of rules, operator class -> what it does to tensors.

A rule gets the operator, its dimensions bound, and the tensors of its operands; it gives the tensor or tensors of its
results, by functions that autograd knows. Integers of 16, 32 and 64 bits without a sign, of which PyTorch
computes little, come in a wider dtype, and what the rule gives is wrapped into theirs; see ``plan``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

from graphopt.ir import Op
from graphopt.ir.registry import Table

Result = Tensor | tuple[Tensor, ...]
Rule = Callable[..., Result]
O = TypeVar("O", bound=Op)  # noqa: E741
R = TypeVar("R", bound=Rule)

TORCH_RULES: Table[type[Op], Rule] = Table("a rule for PyTorch")
"""The rules by operator class."""

TRAINING_RULES: Table[type[Op], Rule] = Table("a rule for PyTorch while it trains")
"""Of operators that act differently while a module trains, what they do then."""


def torch_rule(*kinds: type[Op], training: bool = False) -> Callable[[R], R]:
    """Register the rule of these operators."""

    def register(rule: R) -> R:
        (TRAINING_RULES if training else TORCH_RULES).enter(rule, *kinds)
        return rule

    return register


def plain(table: dict[type[Op], Callable[..., Any]]) -> None:
    """Register functions of the operands alone, for operators without attributes."""
    for kind, function in table.items():
        TORCH_RULES[kind] = attribute_free(function)


def attribute_free(function: Callable[..., Any]) -> Rule:
    def rule(op: Op, *tensors: Tensor) -> Result:
        result: Result = function(*tensors)
        return result

    return rule
