"""What learns from data: gradient importances of pruning. Importing this imports torch."""

from graphopt.training.data import Batches, Loss
from graphopt.training.importance import Hessian, Taylor

__all__ = ["Batches", "Hessian", "Loss", "Taylor"]
