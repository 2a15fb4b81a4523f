"""Quantization-aware training: a float graph goes in, one on integers comes out, trained as what it will compute."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from graphopt.errors import InvalidInput
from graphopt.ir import Array, Graph
from graphopt.passes import Context, Quantize
from graphopt.passes.quantize.layers import packed_weights
from graphopt.training.data import Loss
from graphopt.training.fine_tune import on_outputs
from graphopt.training.history import TrainedGraph
from graphopt.training.loop import Settings, train_module
from graphopt.training.quantization.module import QuantizedModule
from graphopt.training.quantization.norms import FreezeNorms
from graphopt.training.quantization.prepare import quantized_module
from graphopt.training.samples import BATCH_SIZE, Samples, fixed_batch
from graphopt.training.schedules import ScheduleChoice
from graphopt.training.steps import OptimizerChoice

CALIBRATION = 256
"""The samples of the data that ranges are taken from, where no others are given."""


def quantization_aware(
    graph: Graph,
    data: Any,
    loss: Loss,
    *,
    weights: str = "int8",
    activations: str = "int8",
    per_channel: bool = True,
    observer: str = "minmax",
    overrides: Mapping[str, str] | None = None,
    calibration: Any = None,
    learn_scales: bool = True,
    epochs: int = 10,
    optimizer: OptimizerChoice = "adam",
    schedule: ScheduleChoice = "cosine",
    evaluate: Callable[[Graph], float] | None = None,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    fabric: Any = None,
    batch_size: int = BATCH_SIZE,
    frozen_norms: bool = False,
    context: Context | None = None,
) -> TrainedGraph:
    """A float graph as one on integers, as ``Quantize`` gives it, its weights and scales trained for that.

    What is trained computes what the result does: the loss is of the outputs of the program, to the bit, and so is
    what ``evaluate`` is given. Gradients are those of quantize and dequantize, straight through the rounding.

    Args:
        graph: float, trained. Zeros of its weights stay zeros, and its shapes what they are.
        data, loss, epochs, optimizer, schedule, seed, checkpoint, fabric, batch_size: as of ``fine_tune``. A relative
            step is one of the weights' size, and so much of a scale.
        weights: ``int8``, ``int4`` or ``binary``.
        activations: ``int8``, ``int16``, or ``binary``: layers of binary weights read the signs of their input.
        per_channel: weights have a scale for each channel.
        observer: what ranges begin with; see ``Quantize``.
        overrides: patterns of node names to widths; ``{"stem": "int8"}`` keeps a layer apart. See ``Quantize``.
        calibration: batches that ranges and batch norms are taken from; by default the first of the data.
        learn_scales: train scales too (LSQ); those of inputs and of 16 bits stay.
        evaluate: how good a graph on integers is, higher being better. The best state is kept, that before training
            included; without it the last.
        frozen_norms: batch norms keep the statistics that they come with. Else they take those of each batch for three
            quarters of the epochs, are then re-estimated, and stay so.
        context: is given the notes of the passes: what stays float, and why.

    Raises ``InvalidInput`` where nothing of the graph can be on integers, for weights with zeros that are to be
    binary, and as ``fine_tune`` does. Warns where a layer that was on integers is not any more, its scales having
    gone too far apart.
    """
    context = Context() if context is None else context
    samples = Samples(data, tuple(graph.names[v.node] for v in graph.inputs), fixed_batch(graph) or batch_size)
    seen = first_samples(samples, seed) if calibration is None else calibration
    options = Quantize(
        weights=weights,
        activations=activations,
        per_channel=per_channel,
        observer=observer,
        overrides=overrides or {},
        calibration=seen,
    )
    settings = Settings(
        epochs=epochs,
        optimizer=optimizer,
        schedule=schedule,
        seed=seed,
        checkpoint=checkpoint,
        fabric=fabric,
        frozen_norms=frozen_norms,
    )
    module = quantized_module(graph, options, learn_scales, context)
    module.norms_frozen |= frozen_norms
    kept_float = declined(module, context)

    def rate(_: nn.Module) -> float:
        assert evaluate is not None
        return evaluate(module.program())

    companions = [FreezeNorms(seen, epochs)]
    history = train_module(module, samples, on_outputs(graph, loss), settings, rate if evaluate else None, companions)
    context = Context()
    program = module.program(context)
    if lost := [str(note) for note in context.notes if note.declined and note.node not in kept_float]:
        warnings.warn(f"training took layers off the integers: {'; '.join(lost)}", stacklevel=2)
    return TrainedGraph.of(program, history)


def declined(module: QuantizedModule, context: Context) -> set[str]:
    """The nodes that stay float. Raises ``InvalidInput`` where no layer with weights is on integers."""
    before = len(context.notes)
    program = module.program(context)
    notes = [note for note in context.notes[before:] if note.declined]
    if not packed_weights(program):
        why = "; ".join(f"{note.node}: {note.text}" for note in notes[:3]) or "it has no layer with constant weights"
        raise InvalidInput("no layer can be on integers", where=program.name, why=why)
    return {note.node for note in notes}


def first_samples(samples: Samples, seed: int) -> list[dict[str, Array]]:
    """The inputs of the first batches of the data."""
    found, count = list[dict[str, Array]](), 0
    for batch in samples.epoch(seed, 1):
        found.append({name: batch[name].numpy(force=True) for name in samples.inputs})
        count += len(next(iter(found[-1].values())))
        if count >= CALIBRATION:
            break
    return found
