"""Distillation: a student learns what a teacher says, and what it computes on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, Unpack, overload

import torch
from torch import Tensor, nn

from graphopt.errors import InvalidInput
from graphopt.exporters import with_parameters
from graphopt.frontends.torch.check import random_numbers_kept, state_kept
from graphopt.ir import Graph
from graphopt.training.data import Loss
from graphopt.training.features import projections
from graphopt.training.history import TrainedGraph
from graphopt.training.loop import Batch, train_module
from graphopt.training.masks import check_zeros, held_zeros
from graphopt.training.samples import Samples, fixed_batch
from graphopt.training.settings import Options, Settings
from graphopt.training.softened import DISTANCES, Kind, by_values, check_kinds, kinds_of
from graphopt.training.taps import Network, Tapped, TappedGraph, tapped
from graphopt.training.tune import Evaluate, on_graph

M = TypeVar("M", bound=nn.Module)


class Pupil(nn.Module):
    """A student and the projections that it is compared through, trained together."""

    def __init__(self, student: Tapped, projections: nn.ModuleList) -> None:
        super().__init__()
        self.student, self.projections = student, projections

    def forward(self, inputs: list[Tensor], wanted: tuple[Tensor, ...]) -> Any:
        """The outputs, and for each feature the student's and the teacher's in one shape."""
        outputs, values = self.student(*inputs)
        return outputs, [p(own, t) for p, own, t in zip(self.projections, values, wanted, strict=True)]


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a student is taught: the terms of its loss."""

    teacher: Tapped
    names: tuple[str, ...]
    kinds: list[tuple[str, int]]
    loss: Loss | None
    temperature: float
    alpha: float

    def __call__(self, pupil: nn.Module, batch: Batch) -> Tensor:
        with torch.no_grad():
            wanted, values = taught(self.teacher, batch, self.names)
        outputs, pairs = pupil([batch[name] for name in self.names], values)
        soft = [
            DISTANCES[kind](own.float(), t.float(), self.temperature, axis)
            for (kind, axis), own, t in zip(self.kinds, outputs, wanted, strict=True)
            if own.is_floating_point()
        ]
        total = sum(soft, start=torch.zeros((), device=outputs[0].device))
        if self.loss is not None:
            hard = self.loss(outputs[0] if len(outputs) == 1 else outputs, batch)
            total = self.alpha * total + (1 - self.alpha) * hard
        return total + sum(by_values(own.float(), t.float(), 1.0, 1) for own, t in pairs)


@overload
def distill(
    teacher: Network,
    student: Graph,
    data: Any,
    loss: Loss | None = None,
    *,
    temperature: float = 4.0,
    alpha: float = 0.7,
    features: Mapping[str, str] | None = None,
    outputs: Sequence[Kind] | None = None,
    evaluate: Evaluate | None = None,
    **options: Unpack[Options],
) -> TrainedGraph: ...


@overload
def distill(
    teacher: Network,
    student: M,
    data: Any,
    loss: Loss | None = None,
    *,
    temperature: float = 4.0,
    alpha: float = 0.7,
    features: Mapping[str, str] | None = None,
    outputs: Sequence[Kind] | None = None,
    evaluate: Any = None,
    **options: Unpack[Options],
) -> M: ...


def distill(
    teacher: Network,
    student: Graph | nn.Module,
    data: Any,
    loss: Loss | None = None,
    *,
    temperature: float = 4.0,
    alpha: float = 0.7,
    features: Mapping[str, str] | None = None,
    outputs: Sequence[Kind] | None = None,
    evaluate: Any = None,
    **options: Unpack[Options],
) -> Graph | nn.Module:
    """A student trained to do as a teacher, which is left as it was.

    Args:
        teacher: a graph, a module, or a model file.
        student: a graph, which comes back trained; or a module, which is trained in place, comes back, and has the
            curve as its attribute ``history``. The two may be of any architectures whose outputs are alike.
        data: as of ``fine_tune``. A teacher whose inputs have other names gets the student's in their order.
        loss: of the outputs and the batch, where there are labels.
        temperature: what softens the classes of both (Hinton et al., 2015).
        alpha: the loss is ``alpha`` times what the outputs differ by, plus ``1 - alpha`` times ``loss``, where there
            is one; plus what the features differ by.
        features: pairs of a teacher's and a student's node (of a module: submodule) whose values are to agree, as
            a part of the teacher's mean square. Where their channels differ the student's go through a linear map
            that is trained too and dropped afterwards (FitNets, Romero et al., 2015).
        outputs: what each output is, ``logits``, ``probabilities``, ``binary-logits``, ``binary-probabilities`` or
            ``values``, or a pair of that and the axis of the classes. By default what a softmax or a sigmoid gave is
            probabilities, a lone output of rank 2 is logits, and all else is values, compared by squares.
        evaluate: how good the student is, higher being better; it gets the graph, or the module.
        options: see ``Settings``.

    Raises ``InvalidInput`` for what cannot be used, and where teacher and student do not go together.
    """
    if not 0 <= alpha <= 1 or not temperature > 0:
        what = f"alpha {alpha} or temperature {temperature} is out of range"
        raise InvalidInput(what, where="distill", advice="alpha is in [0, 1], temperature positive")
    if teacher is student and isinstance(student, nn.Module):
        advice = "give a copy as the teacher, copy.deepcopy(student)"
        raise InvalidInput("teacher and student are one module", where="distill", advice=advice)
    settings, pairs = Settings(**options), dict(features or {})
    master, pupil = tapped(teacher, [*pairs]), tapped(student, [*pairs.values()])
    names = (pupil if isinstance(pupil, TappedGraph) or not isinstance(master, TappedGraph) else master).inputs
    if not names:
        raise InvalidInput("neither module names its inputs", where="distill", advice="give one of them as a graph")
    fixed = [size for net in (pupil, master) if isinstance(net, TappedGraph) and (size := fixed_batch(net.graph))]
    samples = Samples(data, names, fixed[0] if fixed else settings.batch_size)
    with frozen(master):
        whole, kinds = prepared(master, pupil, samples, [*pairs.values()], outputs, settings.seed)
        lesson = Lesson(master, names, kinds, loss, temperature, alpha)
        if not isinstance(pupil, TappedGraph):
            rate = (lambda _: evaluate(student)) if evaluate else None
            assert isinstance(student, nn.Module)
            student.history = train_module(whole, samples, lesson, settings, rate)  # type: ignore[assignment]
            return student
        module, graph = pupil.module, pupil.graph
        rate = on_graph(graph, module, evaluate)
        history = train_module(whole, samples, lesson, settings, rate, [held_zeros(module)])
    trained = TrainedGraph.of(with_parameters(graph, module), history)
    check_zeros(graph, trained)
    return trained


@contextmanager
def frozen(teacher: nn.Module) -> Iterator[None]:
    """A teacher in evaluation mode; afterwards it is as it was, and where it was."""
    device = next((tensor.device for tensor in teacher.state_dict().values()), None)
    with state_kept(teacher):
        teacher.eval()
        try:
            yield
        finally:
            teacher.to(device)


def prepared(
    teacher: Tapped, student: Tapped, samples: Samples, names: list[str], outputs: Sequence[Kind] | None, seed: int
) -> tuple[Pupil, list[tuple[str, int]]]:
    """The student with its projections, and the kinds of its outputs, by a batch that both are run on."""
    batch = next(samples.epoch(seed, 0))
    with random_numbers_kept(), state_kept(student), torch.no_grad():
        student.eval()
        own, values = student(*[batch[name] for name in samples.inputs])
        wanted, aims = taught(teacher, batch, samples.inputs)
        maps = projections(values, aims, names, seed)
    graph = next((net.graph for net in (student, teacher) if isinstance(net, TappedGraph)), None)
    return Pupil(student, maps), check_kinds(kinds_of(graph, own) if outputs is None else outputs, own, wanted)


def taught(teacher: Tapped, batch: Batch, names: Sequence[str]) -> Any:
    """What a teacher says of a batch, on the device where that is."""
    inputs = teacher.given(batch, names)
    if inputs:
        teacher.to(inputs[0].device)
    return teacher(*inputs)
