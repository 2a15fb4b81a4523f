"""Gradient importances of pruning: what the loss tells of weights. They are ``graphopt.passes.prune.Importance``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from graphopt.errors import InvalidInput
from graphopt.exporters import to_torch
from graphopt.ir import Array, Graph, Value
from graphopt.passes.data import Data
from graphopt.passes.prune import Scores
from graphopt.training.data import Loss, loss_of, tensors

Term = Callable[[Tensor, list[Tensor]], list[Tensor]]
"""What one batch says: from its loss and the weights, an array for each weight, of its shape."""


@dataclass(frozen=True, eq=False)
class Taylor:
    """First order: what the loss would change by without a weight, |w * dloss/dw| (Molchanov et al., CVPR 2019).

    The mean over batches of the magnitude of each element; or, if ``signed``, of the term itself, so that terms cancel
    over a group and over batches, and a group scores the first-order change of the mean loss. ``loss`` gets the
    outputs and the batch, as tensors; a batch may hold more than the inputs of the graph (labels). The net computes
    as in inference: batch norms use the statistics that they have.
    """

    loss: Loss
    data: Data
    signed: bool = False
    comparable: ClassVar[bool] = True

    def scores(self, graph: Graph) -> Scores:
        """For every parameter of ``graphopt.to_torch(graph)`` an array of its shape. Raises ``InvalidInput``."""

        def term(loss: Tensor, weights: list[Tensor]) -> list[Tensor]:
            signed = [w * g for w, g in zip(weights, gradients(loss, weights), strict=True)]
            return signed if self.signed else [t.abs() for t in signed]

        return mean_over_batches(graph, self.loss, self.data, term, "Taylor")


@dataclass(frozen=True, eq=False)
class Hessian:
    """Second order: w^2 * h / 2, with h the diagonal of the Hessian of the loss (OBD, LeCun et al., 1989).

    ``estimate`` is ``fisher``, where h is the mean over batches of the squared gradient of a batch's loss (for a log
    likelihood and batches of one sample, the empirical Fisher information), or ``hutchinson``, where h is the mean of
    v * Hv over ``draws`` vectors v of random signs a batch: unbiased for any loss, signed, and noisy (the variance of a
    draw is the sum of the squares of the rest of the row of H).
    """

    loss: Loss
    data: Data
    estimate: str = "fisher"
    draws: int = 8
    seed: int = 0
    comparable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.estimate not in ("fisher", "hutchinson"):
            raise InvalidInput(f"no estimate is called {self.estimate!r}", where="Hessian", advice="fisher, hutchinson")
        if self.draws < 1:
            raise InvalidInput(f"{self.draws} draws, 1 is the least", where="Hessian")

    def scores(self, graph: Graph) -> Scores:
        """For every parameter of ``graphopt.to_torch(graph)`` an array of its shape. Raises ``InvalidInput``."""
        generator = torch.Generator().manual_seed(self.seed)

        def term(loss: Tensor, weights: list[Tensor]) -> list[Tensor]:
            if self.estimate == "fisher":
                diagonal = [g.square() for g in gradients(loss, weights)]
            else:
                diagonal = hutchinson(loss, weights, self.draws, generator)
            return [w.square() * h / 2 for w, h in zip(weights, diagonal, strict=True)]

        return mean_over_batches(graph, self.loss, self.data, term, "Hessian")


def mean_over_batches(graph: Graph, loss: Loss, data: Data, term: Term, where: str) -> dict[Value, Array]:
    """The mean of what the batches say, summed in float64."""
    module = to_torch(graph)
    weights = module.weights
    totals = [torch.zeros(w.shape, dtype=torch.float64) for w in weights.values()]
    count = 0
    for batch in tensors(data, module):
        said = term(loss_of(module, loss, batch, where), list(weights.values()))
        totals = [total + t.detach() for total, t in zip(totals, said, strict=True)]
        count += 1
    return {value: (total / count).numpy() for value, total in zip(weights, totals, strict=True)}


def gradients(loss: Tensor, weights: list[Tensor], differentiable: bool = False) -> tuple[Tensor, ...]:
    """The gradient of each weight; zeros where the loss does not depend on it."""
    return torch.autograd.grad(loss, weights, create_graph=differentiable, materialize_grads=True)


def hutchinson(loss: Tensor, weights: list[Tensor], draws: int, generator: torch.Generator) -> list[Tensor]:
    """The diagonal of the Hessian, estimated (Hutchinson, 1990)."""
    # a gradient that does not depend on any weight has no graph to go back through
    first = [g if g.requires_grad else g + 0 * w for g, w in zip(gradients(loss, weights, True), weights, strict=True)]
    diagonal = [torch.zeros_like(w) for w in weights]
    for _ in range(draws):
        signs = [torch.randint(0, 2, w.shape, generator=generator).to(w.dtype) * 2 - 1 for w in weights]
        products = torch.autograd.grad(first, weights, signs, retain_graph=True, materialize_grads=True)
        diagonal = [d + v * p / draws for d, v, p in zip(diagonal, signs, products, strict=True)]
    return diagonal
