"""What the loss is where nobody wrote one: labels, or what the net itself says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from graphopt.errors import InvalidInput
from graphopt.ir import Array, Graph
from graphopt.ops import Softmax
from graphopt.passes.data import Data, batches, inputs_of
from graphopt.training.data import Loss, Outputs

TINY = 1e-30
"""The least probability that a logarithm is taken of."""


class Objective(NamedTuple):
    """A loss, and the batches that it reads, as ``Taylor`` and ``Hessian`` take them."""

    loss: Loss
    data: list[dict[str, Array]]


def all_of(outputs: Outputs) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def own_outputs(graph: Graph, data: Data, seed: int = 0) -> Objective:
    """The net's own outputs are what is wanted.

    The gradient of a distance to them is zero, its curvature is not: the loss is the sum of the outputs with random
    signs, whose squared gradients are the diagonal of the Gauss-Newton matrix of the squared distance, on average
    (Hutchinson, 1990).
    """
    rng = np.random.default_rng(seed)
    floats = [i for i, v in enumerate(graph.outputs) if v.type.is_float]
    if not floats:
        raise InvalidInput("no output is a float", where="importance", advice="prune before the last argmax")
    signed = []
    for batch in batches(data, graph):
        given = inputs_of(graph, batch)
        outputs = graph(**given)
        signs = {sign_name(i): rng.choice([-1.0, 1.0], outputs[i].shape).astype(outputs[i].dtype) for i in floats}
        signed.append(given | signs)

    def loss(outputs: Outputs, batch: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([(all_of(outputs)[i] * batch[sign_name(i)]).sum() for i in floats]).sum()

    return Objective(loss, signed)


def sign_name(output: int) -> str:
    """No input is called so."""
    return f"\0 signs of output {output}"


def labelled(graph: Graph, data: Data, labels: str) -> Objective:
    """Labels are wanted, which ``labels`` names among the arrays of each batch.

    The loss is the cross entropy where they are classes (axis 1 of the first output counts them), the squared error
    where they are floats of its shape. It raises ``InvalidInput`` for any others.
    """
    given = list(batches(data, graph))
    for batch in given:
        if labels not in batch or batch[labels].dtype.kind not in "iuf":
            raise InvalidInput(f"the data has no numbers called {labels!r}", where="labels", why=f"it has {[*batch]}")

    return Objective(loss_of_labels(labels, graph), given)


def loss_of_labels(labels: str, graph: Graph | None = None) -> Loss:
    """The loss by what the labels of that name are; see ``labelled``.

    Of a graph that ends in a softmax the cross entropy is that of its probabilities; of any other, of logits.
    """
    normalized = graph is not None and isinstance(graph.outputs[0].op, Softmax)

    def loss(outputs: Outputs, batch: Mapping[str, Tensor]) -> Tensor:
        if labels not in batch:
            raise InvalidInput(f"a batch of {', '.join(batch)} has none", where=f"labels {labels!r}")
        output, wanted = all_of(outputs)[0], batch[labels]
        classes = normalized and not wanted.is_floating_point()
        return distance(output.clamp_min(TINY).log() if classes else output, wanted)

    return loss


def distance(output: Tensor, wanted: Tensor) -> Tensor:
    """The loss of an output by what the labels are."""
    if wanted.is_floating_point() and wanted.shape == output.shape:
        return functional.mse_loss(output, wanted.to(output.dtype))
    if not wanted.is_floating_point() and output.ndim > 1 and wanted.shape == output[:, 0].shape:
        classes = wanted.long()
        if int(classes.min()) >= 0 and int(classes.max()) < output.shape[1]:
            return functional.cross_entropy(output, classes)
    what = f"labels {wanted.dtype} {[*wanted.shape]} for an output of {[*output.shape]}"
    advice = "give a class below the size of axis 1 for each of the others, or floats of the output's shape"
    raise InvalidInput(what, where="labels", advice=advice)
