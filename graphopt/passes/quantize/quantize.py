"""Quantisation after training, as one pass: clean up, calibrate, insert, lower."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from graphopt.errors import InvalidInput
from graphopt.ir import Graph
from graphopt.passes.base import Context, Note, Pass
from graphopt.passes.contract import Bounded
from graphopt.passes.data import Data
from graphopt.passes.quantize.calibrate import observe
from graphopt.passes.quantize.insert import activation_parameters, choose, insert
from graphopt.passes.quantize.lower import LowerInteger
from graphopt.passes.quantize.observers import OBSERVERS
from graphopt.passes.quantize.scheme import Scheme, check_choice
from graphopt.passes.quantize.splits import without_splits


class InsertQuantization(Pass, name="insert-quantization", contract=Bounded(10.0)):
    """Put quantize and dequantize around what has an integer form; the graph still computes in float32.

    ``weights``: int8, int4 or binary, ``activations``: int8 or int16, ``per_channel`` weights, the ``observer`` of
    ranges (minmax, percentile, mse, entropy), and ``overrides``: patterns of node names to widths, see ``Scheme``.
    ``calibration`` are batches as the graph takes them, a mapping by input name or a lone array each; on the command
    line they come with --calibration.
    """

    weights: str = "int8"
    activations: str = "int8"
    per_channel: bool = True
    observer: str = "minmax"
    overrides: Mapping[str, str] = field(default_factory=dict)
    calibration: Data | None = field(default=None, compare=False, repr=False)

    def run(self, graph: Graph, context: Context) -> Graph:
        check_choice("observer", self.observer, OBSERVERS)
        scheme = Scheme(self.weights, self.activations, self.per_channel, self.overrides)
        data = self.calibration if self.calibration is not None else context.calibration
        if data is None:
            raise InvalidInput("there is no calibration data", where=self.name, advice="give calibration=batches")
        graph = without_splits(graph)
        layout = choose(graph, scheme)
        histograms = observe(graph, layout.values, data)
        parameters = activation_parameters(layout, histograms, scheme, self.observer)
        names = graph.names
        context.notes += [Note(self.name, names[v.node], str(p)) for v, p in parameters.items()]
        return insert(layout, parameters, scheme)


class Quantize(InsertQuantization, name="quantize", contract=Bounded(10.0)):
    """Quantise a trained network: clean it up as the default pipeline does, calibrate, and lower it to integers.

    See ``InsertQuantization`` for the options.
    """

    def run(self, graph: Graph, context: Context) -> Graph:
        from graphopt.passes.default import float_pipeline

        for pass_ in float_pipeline():
            graph = pass_.run(graph, context)
        return LowerInteger().run(super().run(graph, context), context)
