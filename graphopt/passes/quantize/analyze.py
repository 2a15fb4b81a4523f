"""Analysis: what quantizing each layer costs, alone and with all others, and which overrides help."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from graphopt.ir import Array, Graph
from graphopt.passes.base import Context
from graphopt.passes.contract import signal_to_noise
from graphopt.passes.data import Data
from graphopt.passes.float_pipeline import float_pipeline
from graphopt.passes.quantize.calibrate import joined, runs, worst_sqnr
from graphopt.passes.quantize.masks import ENDLESS
from graphopt.passes.quantize.quantize import Quantize
from graphopt.passes.quantize.recover.replay import Reference, Replay
from graphopt.passes.quantize.regions import QuantizedRegion, in_float, override_names, regions
from graphopt.passes.quantize.unfuse import unfused
from graphopt.progress import counted
from graphopt.records import to_json

SUGGESTED = 3
"""The worst layers for which overrides are tried."""
OVERRIDES = ("float32", "int16")


@dataclass(frozen=True)
class LayerLoss:
    """The loss of one layer: in the graph's outputs, in its own results, and how it uses its integers.

    With only this layer quantized, ``output_sqnr`` is the signal-to-noise ratio of the graph's outputs in decibels,
    ``sqnr`` that of the layer's own results, and ``max_error`` their largest error. ``cumulative_sqnr`` and
    ``cumulative_error`` are the last two with all layers quantized. ``saturation`` is the fraction of its results
    beyond the range of the integers, and ``range_used`` the fraction of this range that they span.
    """

    name: str
    operator: str
    output_sqnr: float
    sqnr: float
    max_error: float
    cumulative_sqnr: float
    cumulative_error: float
    saturation: float
    range_used: float


@dataclass(frozen=True)
class Suggestion:
    """Overrides, and the signal-to-noise ratio of the outputs with them and everything else quantized."""

    overrides: Mapping[str, str]
    sqnr: float
    gain: float


@dataclass(frozen=True)
class QuantizationReport:
    """The signal-to-noise ratio of the quantized graph's outputs, its layers with the worst first, and suggestions."""

    sqnr: float
    layers: tuple[LayerLoss, ...]
    suggestions: tuple[Suggestion, ...]

    def to_json(self) -> str:
        """The report as JSON; infinite ratios (no error at all) are null."""
        return to_json(self)


def analyze_quantization(graph: Graph, data: Data, quantize: Quantize | None = None) -> QuantizationReport:
    """The loss of each layer when a pass quantizes a float graph. The data also calibrates the pass by default.

    It evaluates the graph once for every layer, with only that layer quantized. It quantizes the graph again with each
    override that it tries for the worst layers.
    """
    graph = unfused(graph, Context(), "analyze")
    for pass_ in float_pipeline():
        graph = pass_.run(graph, Context())
    return Analysis(graph, quantize or Quantize(), data).report()


class Analysis:
    """A pass, a clean float graph, and the data for the comparisons."""

    def __init__(self, graph: Graph, quantize: Quantize, data: Data) -> None:
        self.graph, self.quantize, self.data = graph, quantize, data
        context = Context(calibration=data)
        self.whole = quantize.insert(graph, context)
        self.reference = context.reference or graph
        self.regions = regions(self.whole)
        self.wanted = joined(runs(graph, graph.outputs, data))

    def report(self) -> QuantizationReport:
        seen = self.cumulative()
        rows = {region: self.loss(region, seen[region]) for region in counted(seen, "layer")}
        worst = sorted(rows, key=lambda region: rows[region].output_sqnr)
        total = self.output_sqnr(self.whole)
        named = [r for r in worst if override_names(self.whole, r)][:SUGGESTED]
        trials = list(itertools.product(named, OVERRIDES))
        tried = [self.suggestion(region, how, total) for region, how in counted(trials, "override")]
        best = sorted(tried, key=lambda s: s.gain, reverse=True)
        return QuantizationReport(total, tuple(rows[r] for r in worst), tuple(best))

    def output_sqnr(self, graph: Graph) -> float:
        """The signal-to-noise ratio of the worst output."""
        return worst_sqnr(joined(runs(graph, graph.outputs, self.data)), self.wanted)

    def suggestion(self, region: QuantizedRegion, how: str, total: float) -> Suggestion:
        """The effect of overrides for a region."""
        overrides = dict.fromkeys(override_names(self.whole, region), how)
        changed = replace(self.quantize, overrides={**self.quantize.overrides, **overrides})
        sqnr = self.output_sqnr(changed.insert(self.graph, Context(calibration=self.data)))
        return Suggestion(overrides, sqnr, sqnr - total)

    def loss(self, region: QuantizedRegion, seen: SeenRegion) -> LayerLoss:
        others = [r for r in self.regions if r is not region]
        shown = replace(self.whole, outputs=(*self.whole.outputs, *region.dequantize.results), output_names=())
        graph = in_float(shown, self.reference, others, region.nodes)
        *outputs, own = joined(runs(graph, graph.outputs, self.data))
        return LayerLoss(
            name=self.whole.names[region.head],
            operator=region.head.op.name,
            output_sqnr=worst_sqnr(outputs, self.wanted),
            sqnr=signal_to_noise(*unmasked(own, seen.wanted)),
            max_error=largest_error(*unmasked(own, seen.wanted)),
            cumulative_sqnr=signal_to_noise(*unmasked(seen.got, seen.wanted)),
            cumulative_error=largest_error(*unmasked(seen.got, seen.wanted)),
            saturation=seen.saturation,
            range_used=seen.range_used,
        )

    def cumulative(self) -> dict[QuantizedRegion, SeenRegion]:
        """The results of each region with everything quantized, and in float."""
        names, seen = self.whole.names, dict[QuantizedRegion, SeenRegion]()
        by_quantize = {region.quantize: region for region in self.regions}
        wanted = Reference(self.reference, self.data, {names[r.value.node] for r in self.regions})
        replay, floats = Replay(self.whole, self.data), dict[str, list[Array]]()
        for node in self.whole.nodes:
            region = by_quantize.get(node)
            if region is None:
                replay.run(node)
                continue
            real = np.concatenate([a.ravel() for a in replay.arrays[region.value]])
            integers = np.concatenate([a.ravel() for a in replay.run(node)])
            name = names[region.value.node]
            floats[name] = floats.get(name) or wanted.of(name) or []
            if floats[name]:
                seen[region] = SeenRegion.of(real, integers, region, np.concatenate([a.ravel() for a in floats[name]]))
        return seen


def unmasked(*arrays: Array) -> list[Array]:
    """The elements of arrays at the places where the last array is not infinite; it is after a mask."""
    counted = np.abs(arrays[-1]) < ENDLESS
    return [array[counted] for array in arrays]


@dataclass(frozen=True, eq=False)
class SeenRegion:
    """The results of a region, flat over all batches, quantized and in float; and its use of the integers."""

    got: Array
    wanted: Array
    saturation: float
    range_used: float

    @classmethod
    def of(cls, real: Array, integers: Array, region: QuantizedRegion, wanted: Array) -> SeenRegion:
        parameters, limits = region.parameters, np.iinfo(integers.dtype)
        (counted,) = unmasked(real)
        steps = np.rint(counted / parameters.scale) + parameters.zero_point
        beyond = float(((steps < limits.min) | (steps > limits.max)).sum() / max(steps.size, 1))
        used = (int(integers.max()) - int(integers.min())) / (limits.max - limits.min)
        return cls(parameters.dequantize(integers), wanted, beyond, used)


def largest_error(got: Array, wanted: Array) -> float:
    return float(np.abs(got.astype(np.float64) - wanted).max(initial=0.0))
