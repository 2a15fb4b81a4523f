"""Quantization-aware training: from a float graph to one on integers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

from torch import nn

from graphopt.errors import InvalidInput
from graphopt.frontends.torch.check import random_numbers_kept
from graphopt.ir import Array, Graph
from graphopt.passes import Context, Quantize
from graphopt.passes.data import Data
from graphopt.passes.quantize.layers import packed_weights
from graphopt.training.data import Loss
from graphopt.training.distill import distill
from graphopt.training.history import History, TrainedGraph
from graphopt.training.loop import seed_all, train_module
from graphopt.training.quantization.module import QuantizedModule
from graphopt.training.quantization.norms import FreezeNorms
from graphopt.training.quantization.prepare import quantized_module
from graphopt.training.samples import Samples, fixed_batch
from graphopt.training.settings import Options, Settings
from graphopt.training.softened import Kind
from graphopt.training.taps import Network
from graphopt.training.tune import Evaluate, on_outputs

CALIBRATION = 256
"""The number of samples for calibration if no calibration data is given."""


def quantization_aware(
    graph: Graph,
    data: Any,
    loss: Loss | None = None,
    *,
    weights: str = "int8",
    activations: str = "int8",
    per_channel: bool = True,
    observer: str = "minmax",
    overrides: Mapping[str, str] | None = None,
    calibration: Data | None = None,
    learn_scales: bool = True,
    teacher: Network | None = None,
    temperature: float = 4.0,
    alpha: float = 0.7,
    outputs: Sequence[Kind] | None = None,
    evaluate: Evaluate | None = None,
    context: Context | None = None,
    **options: Unpack[Options],
) -> TrainedGraph:
    """Quantize a float graph as ``Quantize`` does, with weights and scales that are trained for it.

    Training computes the integers of the result: the loss gets the outputs of the program, bit by bit. Gradients are
    those of quantize and dequantize; the rounding passes them straight through.

    Args:
        graph: a trained float graph. Zero weights of its layers stay zero.
        data: as for ``fine_tune``.
        loss: from the outputs and the batch as tensors, to a scalar; not needed with a ``teacher``.
        weights: ``int8``, ``int4`` or ``binary``.
        activations: ``int8``, ``int16``, or ``binary``: layers with binary weights read the signs of their input.
        per_channel: one scale for each channel of weights, or one for all.
        observer: how initial ranges are chosen; see ``InsertQuantization``.
        overrides: patterns of node names to widths; ``{"stem": "int8"}`` is for one layer.
        calibration: batches for initial ranges and for batch norms; by default the first ones of the data.
        learn_scales: whether to train scales too; those of inputs and of 16 bits stay.
        teacher: a graph, module or model file whose outputs are learned, as ``distill`` does; it may be the float graph
            itself. Batch norms are then measured and frozen at the start.
        temperature, alpha, outputs: how they are learned; see ``distill``.
        evaluate: how good a graph on integers is; higher is better. The best state is kept, which may be the initial
            one; without ``evaluate`` the last.
        context: gets the notes of the passes, such as which nodes stay float, and why.
        options: epochs, optimizer, schedule, seed, checkpoint, fabric, frozen_norms, frozen, batch_size; see
            ``Settings``. Batch norms use the statistics of each batch for three quarters of the epochs, and are then
            measured on the calibration data and frozen; with ``frozen_norms`` they keep the statistics of the graph.

    Raises ``InvalidInput`` if no layer can be on integers, for binary weights of which some are zero, and as
    ``fine_tune`` does. Warns if a layer that was on integers no longer is, since training drove its scales too far
    apart.
    """
    if loss is None and teacher is None:
        raise InvalidInput("there is neither a loss nor a teacher", where="quantization_aware")
    context, settings = context or Context(), Settings(**options)
    names = tuple(graph.names[v.node] for v in graph.inputs)
    samples = Samples(data, names, fixed_batch(graph) or settings.batch_size)
    seen = first_samples(samples, settings.seed) if calibration is None else calibration
    quantize = Quantize(
        weights=weights,
        activations=activations,
        per_channel=per_channel,
        observer=observer,
        overrides=overrides or {},
        calibration=seen,
    )
    module = quantized_module(graph, quantize, learn_scales, context)
    kept_float = declined(module, context)
    if settings.frozen_norms:
        module.freeze_norms()
    elif teacher is not None:
        module.freeze_norms(seen)
    rate = rated(evaluate) if evaluate is not None else None
    if teacher is not None:
        taught = distill(
            teacher,
            module,
            data,
            loss,
            temperature=temperature,
            alpha=alpha,
            outputs=outputs,
            evaluate=rate,
            **options,
        )
        history: History = taught.history  # type: ignore[assignment]
    else:
        assert loss is not None
        companions = [FreezeNorms(module, seen)]
        history = train_module(module, samples, on_outputs(names, loss), settings, rate, companions)
    ended = Context()
    program = module.program(ended)
    if lost := [replace(note, alarm=True) for note in ended.notes if note.declined and note.node not in kept_float]:
        context.notes += lost
        warnings.warn(f"training took layers off the integers: {'; '.join(map(str, lost))}", stacklevel=2)
    return TrainedGraph.of(program, history)


def first_samples(samples: Samples, seed: int) -> list[dict[str, Array]]:
    """The inputs of the first batches of the data, of ``CALIBRATION`` samples or more."""
    found, count = list[dict[str, Array]](), 0
    with random_numbers_kept():
        seed_all(seed, 1)
        for batch in samples.epoch(seed, 1):
            found.append({name: batch[name].numpy(force=True) for name in samples.inputs})
            count += len(batch[samples.inputs[0]])
            if count >= CALIBRATION:
                break
    return found


def declined(module: QuantizedModule, context: Context) -> set[str]:
    """The nodes that stay float. Raises ``InvalidInput`` if no layer with weights is on integers."""
    before = len(context.notes)
    program = module.program(context)
    notes = [note for note in context.notes[before:] if note.declined]
    if not packed_weights(program):
        why = "; ".join(f"{note.node}: {note.text}" for note in notes[:3]) or "it has no layer with constant weights"
        raise InvalidInput("no layer can be on integers", where=program.name, why=why)
    return {note.node for note in notes}


def rated(evaluate: Evaluate) -> Callable[[nn.Module], float]:
    """The evaluation of a graph, applied to the program of a module."""

    def rate(module: nn.Module) -> float:
        assert isinstance(module, QuantizedModule)
        return evaluate(module.program())

    return rate
