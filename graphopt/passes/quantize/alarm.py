"""The alarm: finds outputs, and channels of outputs, that quantization ruins, even if the whole looks fine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from graphopt.ir import Array, Graph, Op, Value, bind_batch, topological
from graphopt.ops import Concat, HardSigmoid, Sigmoid, Softmax, Tanh
from graphopt.passes.base import Note
from graphopt.passes.data import Data, batches
from graphopt.passes.quantize.form import rule_of

LEAST_WHOLE = 10.0
"""Decibels that a whole output should keep: a tenth of its variance is then noise."""

LEAST_CHANNEL = 3.0
"""Decibels that a channel should keep: half of its variance is then noise. At 0 dB its mean would do as well."""

ENOUGH = 32
"""Samples after which no further batch is compared."""

NEGLIGIBLE = 1e-6
"""A channel that varies by less than this part of the output's largest magnitude is constant up to float32 rounding."""

STEPS = {Softmax: 1 / 256, Sigmoid: 1 / 256, HardSigmoid: 1 / 256, Tanh: 2 / 256}
"""The int8 step over the whole range of a bounded function. An error below this step is no loss, so a class that is
never likely on the data does not alarm, although it varies little."""

SHOWN = 6
"""The runs of channels that a text names."""


def kept_ratios(got: Array, want: Array, borne: Array) -> Array:
    """The variance of each channel over its squared errors, in decibels [channels]; infinite if it cannot lose any.

    ``got`` (quantized) and ``want`` (float) are [channels, elements]; ``borne`` [channels] are errors that are no loss.
    The signal is the variance, since the mean of a channel says nothing about its input: errors of 0.1 ruin a score
    of 100 that varies by 0.1. Elements that are infinite in float, as after a mask, are left out.
    """
    finite = np.isfinite(want)
    want = np.where(finite, want, 0.0).astype(np.float64)
    count = np.maximum(finite.sum(axis=1), 1)
    mean = want.sum(axis=1) / count
    variance = (np.square(want - mean[:, None]) * finite).sum(axis=1) / count
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        noise = np.square(np.where(finite, got - want, 0.0)).sum(axis=1) / count
        noise = np.where(np.isnan(noise), np.inf, noise)
        ratios = 10 * np.log10(np.maximum(variance, 1e-300) / noise)
    least = NEGLIGIBLE * np.abs(want).max(initial=0.0)
    judged = (np.sqrt(variance) > least) & (np.sqrt(noise) > borne)
    return np.where(judged, ratios, np.inf)


def alarms(before: Graph, after: Graph, data: Data, name: str) -> list[Note]:
    """Alarms for float outputs of a quantized graph, on the first samples of data: for whole outputs, else channels.

    Channels are the elements of axis 1, and for outputs of rank 3 and more also those of the last axis, which some
    nets use. Integer outputs, such as positions, are not compared.
    """
    runs = compared_runs(before, after, data)
    found: list[Note] = []
    for position, (value, output) in enumerate(zip(before.outputs, before.output_names, strict=True)):
        if not value.type.is_float:
            continue
        got, want = ([run[side][position] for run in runs] for side in (0, 1))
        borne = borne_errors(before, value)
        (whole,) = kept_ratios(flat(got), flat(want), np.atleast_1d(borne.min(initial=np.inf)))
        if whole < LEAST_WHOLE:
            found.append(Note(name, output, f"this output keeps {whole:.1f} dB of signal to noise", alarm=True))
            continue
        for axis in channel_axes(value):
            least = along([borne], axis).min(axis=1, initial=np.inf)
            ratios = kept_ratios(along(got, axis), along(want, axis), least)
            lost = np.flatnonzero(ratios < LEAST_CHANNEL)
            if len(lost):
                found.append(Note(name, output, alarm_text(lost, ratios[lost], axis, whole), alarm=True))
    return found


def compared_runs(before: Graph, after: Graph, data: Data) -> list[tuple[tuple[Array, ...], tuple[Array, ...]]]:
    """The outputs of both graphs, batch by batch, until there are enough samples."""
    runs, samples = [], 0
    for batch in batches(data, before):
        runs.append((after(**batch), before(**batch)))
        samples += max((len(a) for a in batch.values() if np.ndim(a)), default=1)
        if samples >= ENOUGH:
            break
    return runs


def flat(arrays: Sequence[Array]) -> Array:
    return np.concatenate([a.ravel() for a in arrays])[None]


def along(arrays: Sequence[Array], axis: int) -> Array:
    """Arrays as [channels, elements], with the channels along ``axis``."""
    return np.concatenate([np.moveaxis(a, axis, 0).reshape(a.shape[axis], -1) for a in arrays], axis=1)


def channel_axes(value: Value) -> Iterator[int]:
    rank = value.type.rank
    for axis in dict.fromkeys([1, rank - 1]):
        if 0 < axis < rank and isinstance(value.type.shape[axis], int) and value.type.shape[axis]:
            yield axis


def borne_errors(graph: Graph, output: Value) -> Array:
    """For each element of an output, at a batch of one, the step of the bounded function that gives it; else 0."""
    bound = bind_batch(graph, 1)
    value = bound.outputs[graph.outputs.index(output)]
    arrays: dict[Value, Array] = {}

    def steps(v: Value) -> Array:
        if v in arrays:
            return arrays[v]
        if v.constant is not None and not v.type.is_float:
            return v.constant
        return np.full(v.type.static_shape, STEPS.get(type(v.op), 0.0) if v.type.is_float else 0, v.type.dtype)

    computing = {n for n in bound.nodes if not moves(n.op)}
    for node in topological((value,), after=computing):
        result = node.op.evaluate(*map(steps, node.inputs))
        assert not isinstance(result, tuple)
        arrays[node.results[0]] = result
    return steps(value)


def moves(op: Op) -> bool:
    rule = rule_of(op)
    return isinstance(op, Concat) or (rule is not None and rule.move)


def alarm_text(lost: Array, ratios: Array, axis: int, whole: float) -> str:
    """Which channels were lost, and what to do."""
    runs = np.split(lost, np.flatnonzero(np.diff(lost) > 1) + 1)
    names = [f"{r[0]}" if len(r) == 1 else f"{r[0]} to {r[-1]}" for r in runs]
    more = f" and {len(runs) - SHOWN} more" if len(runs) > SHOWN else ""
    return (
        f"channels {', '.join(names[:SHOWN])}{more} of axis {axis} keep {ratios.min():.1f} dB of signal to noise, "
        f"the whole output {whole:.1f}; overrides of int16 or float32 for what computes them keep more"
    )
