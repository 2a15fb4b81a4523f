"""What learns from data: gradient importances of pruning, and their objectives. Importing this imports torch."""

from graphopt.extras import optional_packages

with optional_packages():
    from graphopt.training.data import Loss
    from graphopt.training.importance import Hessian, Taylor
    from graphopt.training.objective import Objective, labelled, own_outputs

__all__ = ["Hessian", "Loss", "Objective", "Taylor", "labelled", "own_outputs"]
