"""Quantization-aware training: a float graph goes in, one on integers comes out, trained as what it will compute."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Unpack

from torch import nn

from graphopt.errors import InvalidInput
from graphopt.ir import Array, Graph
from graphopt.passes import Context, Quantize
from graphopt.passes.data import Data
from graphopt.passes.quantize.layers import packed_weights
from graphopt.training.data import Loss
from graphopt.training.distill import distill
from graphopt.training.history import History, TrainedGraph
from graphopt.training.loop import Options, Settings, train_module
from graphopt.training.quantization.module import QuantizedModule
from graphopt.training.quantization.norms import FreezeNorms
from graphopt.training.quantization.prepare import quantized_module
from graphopt.training.samples import Samples, fixed_batch
from graphopt.training.taps import Network
from graphopt.training.tune import Evaluate, on_outputs

CALIBRATION = 256
"""The samples of the data that ranges are taken from, where no others are given."""


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
    evaluate: Evaluate | None = None,
    context: Context | None = None,
    **options: Unpack[Options],
) -> TrainedGraph:
    """A float graph as one on integers, as ``Quantize`` gives it, its weights and scales trained for that.

    What is trained computes what the result does: the loss is of the outputs of the program, to the bit, and so is
    what ``evaluate`` is given. Gradients are those of quantize and dequantize, straight through the rounding.

    Args:
        graph: float, trained. Zeros of the weights of its layers stay zeros.
        data: as of ``fine_tune``.
        loss: from the outputs and the batch as tensors, to a scalar; may be left out where there is a ``teacher``.
        weights: ``int8``, ``int4`` or ``binary``.
        activations: ``int8``, ``int16``, or ``binary``: layers of binary weights read the signs of their input.
        per_channel: weights have a scale for each channel.
        observer: what ranges begin with; see ``InsertQuantization``.
        overrides: patterns of node names to widths: ``{"stem": "int8"}`` keeps a layer apart.
        calibration: batches that ranges and batch norms are taken from; by default the first of the data.
        learn_scales: train scales too; those of inputs, and of 16 bits, stay.
        teacher: a graph, module or model file whose outputs are learned too, as ``distill`` does by default; the
            float graph itself, for one. Batch norms are frozen then.
        evaluate: how good a graph on integers is, higher being better. The best state is kept, that before training
            included; without it the last.
        context: gets the notes of the passes, such as what stays float, and why.
        options: epochs, optimizer, schedule, seed, checkpoint, fabric, frozen_norms, frozen, batch_size; see ``Settings``.
            A relative step is one of weights and of the logarithm of scales. Batch norms take the statistics of each
            batch for three quarters of the epochs, are then re-estimated, and frozen; with ``frozen_norms`` so from
            the start.

    Raises ``InvalidInput`` where no layer can be on integers, for weights with zeros that are to be binary, and as
    ``fine_tune`` does. Warns where training took a layer off the integers, its scales having gone too far apart.
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
    if settings.frozen_norms or teacher is not None:
        module.freeze_norms(seen)
    rate = rated(evaluate) if evaluate is not None else None
    if teacher is not None:
        history: History = distill(teacher, module, data, loss, evaluate=rate, **options).history  # type: ignore[assignment]
    else:
        assert loss is not None
        companions = [FreezeNorms(module, seen)]
        history = train_module(module, samples, on_outputs(names, loss), settings, rate, companions)
    ended = Context()
    program = module.program(ended)
    if lost := [str(note) for note in ended.notes if note.declined and note.node not in kept_float]:
        warnings.warn(f"training took layers off the integers: {'; '.join(lost)}", stacklevel=2)
    return TrainedGraph.of(program, history)


def first_samples(samples: Samples, seed: int) -> list[dict[str, Array]]:
    """The inputs of the first batches of the data."""
    found, count = list[dict[str, Array]](), 0
    for batch in samples.epoch(seed, 1):
        found.append({name: batch[name].numpy(force=True) for name in samples.inputs})
        count += len(batch[samples.inputs[0]])
        if count >= CALIBRATION:
            break
    return found


def declined(module: QuantizedModule, context: Context) -> set[str]:
    """The nodes that stay float. Raises ``InvalidInput`` where no layer with weights is on integers."""
    before = len(context.notes)
    program = module.program(context)
    notes = [note for note in context.notes[before:] if note.declined]
    if not packed_weights(program):
        why = "; ".join(f"{note.node}: {note.text}" for note in notes[:3]) or "it has no layer with constant weights"
        raise InvalidInput("no layer can be on integers", where=program.name, why=why)
    return {note.node for note in notes}


def rated(evaluate: Evaluate) -> Any:
    """An evaluation of graphs as one of the module."""

    def rate(module: nn.Module) -> float:
        assert isinstance(module, QuantizedModule)
        return evaluate(module.program())

    return rate
