"""What learns from data: fine-tuning, distillation, and gradient importances of pruning. It imports torch."""

from graphopt.extras import optional_packages

with optional_packages():
    from graphopt.training.data import Loss
    from graphopt.training.distill import distill
    from graphopt.training.fine_tune import fine_tune
    from graphopt.training.history import Epoch, History, TrainedGraph
    from graphopt.training.importance import Hessian, Taylor
    from graphopt.training.objective import Objective, labelled, own_outputs
    from graphopt.training.quantization import QuantizedModule, quantization_aware, quantized_module

__all__ = [
    "Epoch",
    "Hessian",
    "History",
    "Loss",
    "Objective",
    "QuantizedModule",
    "Taylor",
    "TrainedGraph",
    "distill",
    "fine_tune",
    "labelled",
    "own_outputs",
    "quantization_aware",
    "quantized_module",
]
