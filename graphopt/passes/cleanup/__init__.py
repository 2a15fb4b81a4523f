"""Passes that tidy a graph and change none of its arithmetic."""

from graphopt.passes.cleanup.cse import CommonSubexpressions
from graphopt.passes.cleanup.identities import RemoveIdentities
from graphopt.passes.cleanup.reshapes import SimplifyReshapes

__all__ = ["CommonSubexpressions", "RemoveIdentities", "SimplifyReshapes"]
