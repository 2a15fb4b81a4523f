"""Targets: machines as data, and the lowering of graphs to code for them. Only this room knows TVM."""

from graphopt.targets.board_cost import cost
from graphopt.targets.driver import compile
from graphopt.targets.port import Port
from graphopt.targets.target import Target, builtin_targets, get_target, known_targets

__all__ = ["Port", "Target", "builtin_targets", "compile", "cost", "get_target", "known_targets"]
