"""Targets: machines as data, and the lowering of graphs to code for them. Only this room knows TVM."""

from graphopt.targets.cost import TargetCost
from graphopt.targets.driver import compile
from graphopt.targets.port import Port
from graphopt.targets.target import Target, builtin_targets, get_target, known_targets

__all__ = ["Port", "Target", "TargetCost", "builtin_targets", "compile", "get_target", "known_targets"]
