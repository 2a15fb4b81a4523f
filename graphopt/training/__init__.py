"""What learns from data: fine-tuning, distillation, and gradient importances of pruning. It imports torch."""

from graphopt.extras import optional_packages

with optional_packages():
    from graphopt.training.data import Loss
    from graphopt.training.distill import distill
    from graphopt.training.fine_tune import fine_tune
    from graphopt.training.history import Epoch, History, TrainedGraph
    from graphopt.training.importance import Hessian, Taylor
    from graphopt.training.objective import Objective, labelled, loss_of_labels, own_outputs
    from graphopt.training.prune import prune_iteratively
    from graphopt.training.quantization import QuantizedModule, quantization_aware, quantized_module
    from graphopt.training.sparsify import Gradual, Regrow, Soft, prune_while_training

__all__ = [
    "Epoch",
    "Gradual",
    "Hessian",
    "History",
    "Loss",
    "Objective",
    "QuantizedModule",
    "Regrow",
    "Soft",
    "Taylor",
    "TrainedGraph",
    "distill",
    "fine_tune",
    "labelled",
    "loss_of_labels",
    "own_outputs",
    "prune_iteratively",
    "prune_while_training",
    "quantization_aware",
    "quantized_module",
]
