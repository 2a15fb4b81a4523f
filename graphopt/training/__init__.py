"""What learns from data: gradient importances of pruning. Importing this imports torch."""

from graphopt.training.data import Loss
from graphopt.training.importance import Hessian, Taylor

__all__ = ["Hessian", "Loss", "Taylor"]
