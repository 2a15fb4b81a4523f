"""What learns from data: fine-tuning, and gradient importances of pruning. Importing this imports torch."""

from graphopt.extras import optional_packages

with optional_packages():
    from graphopt.training.data import Loss
    from graphopt.training.fine_tune import fine_tune
    from graphopt.training.history import Epoch, History, TrainedGraph
    from graphopt.training.importance import Hessian, Taylor
    from graphopt.training.objective import Objective, labelled, own_outputs

__all__ = [
    "Epoch",
    "Hessian",
    "History",
    "Loss",
    "Objective",
    "Taylor",
    "TrainedGraph",
    "fine_tune",
    "labelled",
    "own_outputs",
]
