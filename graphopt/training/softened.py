"""How far a student is from its teacher, by what their outputs are; and which kind of output it is, unless said."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from graphopt import ops
from graphopt.errors import InvalidInput
from graphopt.ir import Graph, Op

Kind = str | tuple[str, int]
"""What an output is, a key of ``DISTANCES``; or that and the axis of the classes."""

TINY = 1e-7


def by_logits(student: Tensor, teacher: Tensor, temperature: float, axis: int) -> Tensor:
    """T^2 KL(teacher || student) of the classes at temperature T, the mean over all else (Hinton et al., 2015)."""
    own = (student / temperature).log_softmax(axis)
    wanted = (teacher / temperature).log_softmax(axis)
    return temperature**2 * (wanted.exp() * (wanted - own)).sum(axis).mean()


def by_probabilities(student: Tensor, teacher: Tensor, temperature: float, axis: int) -> Tensor:
    """The same of what softmax gave: logarithms of probabilities are logits."""
    return by_logits(student.clamp_min(TINY).log(), teacher.clamp_min(TINY).log(), temperature, axis)


def by_binary_logits(student: Tensor, teacher: Tensor, temperature: float, axis: int) -> Tensor:
    """T^2 KL of independent yes or no, of one logit each."""
    own, wanted = student / temperature, teacher / temperature
    certain = torch.sigmoid(wanted)
    cross = functional.binary_cross_entropy_with_logits(own, certain)
    return temperature**2 * (cross - functional.binary_cross_entropy_with_logits(wanted, certain))


def by_binary_probabilities(student: Tensor, teacher: Tensor, temperature: float, axis: int) -> Tensor:
    """The same of what sigmoid gave."""
    return by_binary_logits(student.logit(TINY), teacher.logit(TINY), temperature, axis)


def by_values(student: Tensor, teacher: Tensor, temperature: float, axis: int) -> Tensor:
    """The squared error as a part of the teacher's mean square, so that units do not matter."""
    return (student - teacher).square().mean() / teacher.square().mean().clamp_min(TINY)


DISTANCES: dict[str, Callable[[Tensor, Tensor, float, int], Tensor]] = {
    "logits": by_logits,
    "probabilities": by_probabilities,
    "binary-logits": by_binary_logits,
    "binary-probabilities": by_binary_probabilities,
    "values": by_values,
}
"""By what an output is, how far the student's is from the teacher's: zero where they agree, and never below."""


def kinds_of(graph: Graph | None, outputs: Sequence[Tensor]) -> list[Kind]:
    """What outputs are, by what a graph makes them of; without one, and where that does not tell, by their shapes.

    A lone output of rank 2 has logits of classes, any other has values.
    """
    made: list[Op | None] = [value.op for value in graph.outputs] if graph is not None else []
    if len(made) != len(outputs):
        made = [None] * len(outputs)
    kinds: list[Kind] = []
    for op, output in zip(made, outputs, strict=True):
        if isinstance(op, ops.Softmax):
            kinds.append(("probabilities", op.axis))
        elif isinstance(op, ops.Sigmoid):
            kinds.append("binary-probabilities")
        else:
            kinds.append("logits" if len(outputs) == 1 and output.ndim == 2 and output.shape[1] > 1 else "values")
    return kinds


def check_kinds(kinds: Sequence[Kind], student: Sequence[Tensor], teacher: Sequence[Tensor]) -> list[tuple[str, int]]:
    """The kinds, each with its axis: that of the classes is the last of sequences, else the second.

    Raises ``InvalidInput`` for unknown ones, and for outputs that do not go together.
    """
    if not len(kinds) == len(student) == len(teacher):
        what = f"{len(kinds)} kinds, {len(student)} outputs of the student, {len(teacher)} of the teacher"
        raise InvalidInput(what, where="outputs", advice="one kind for each, and as many of both")
    found = []
    for i, (kind, own, wanted) in enumerate(zip(kinds, student, teacher, strict=True)):
        name, axis = (kind, -1 if own.ndim == 3 else min(1, own.ndim - 1)) if isinstance(kind, str) else kind
        if name not in DISTANCES or not -own.ndim <= axis < own.ndim:
            advice = f"one of {', '.join(DISTANCES)}, or that and the axis of the classes"
            raise InvalidInput(f"{kind!r} is no kind of output", where=f"output {i}", advice=advice)
        if own.shape != wanted.shape:
            what = f"the student gives {[*own.shape]}, the teacher {[*wanted.shape]}"
            raise InvalidInput(what, where=f"output {i}", advice="both must give the same outputs")
        found.append((name, axis))
    return found
