"""Quantization after training, as one pass: clean up, calibrate, insert, lower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from graphopt.ir import Graph
from graphopt.passes.base import NO_OPTION, Context, Note, Pass
from graphopt.passes.contract import Bounded
from graphopt.passes.data import Data
from graphopt.passes.float_pipeline import float_pipeline
from graphopt.passes.quantize.alarm import alarms
from graphopt.passes.quantize.apart import taken_apart
from graphopt.passes.quantize.binary_activations import binary_activation_parameters, refuse_binary_activations
from graphopt.passes.quantize.dynamic import quantize_dynamically
from graphopt.passes.quantize.insert import insert
from graphopt.passes.quantize.joins import joins_in_float
from graphopt.passes.quantize.lower import LowerInteger
from graphopt.passes.quantize.observers import OBSERVERS
from graphopt.passes.quantize.parameters import activation_parameters, narrowed_operands
from graphopt.passes.quantize.recover.correct_bias import CorrectBias
from graphopt.passes.quantize.recover.equalize import EqualizeLayers
from graphopt.passes.quantize.recover.recovery import Recovery, data_of
from graphopt.passes.quantize.recover.round_weights import RoundWeights
from graphopt.passes.quantize.scheme import Scheme, check_choice, width_bits
from graphopt.passes.quantize.unfuse import unfused

LAYER_INPUTS = {"any": "layers with weights read activations as they are", "int8": "they read 8 bits of wider ones"}
MODES = {"static": "ranges from calibration data", "dynamic": "ranges at run time"}


class QuantizationOptions(Pass):
    """The options of every pass that inserts quantize and dequantize; ``InsertQuantization`` says what they mean."""

    tells_users = True
    weights: str = "int8"
    activations: str = "int8"
    per_channel: bool = True
    observer: str = "minmax"
    overrides: Mapping[str, str] = field(default_factory=dict)
    layer_inputs: str = "any"
    calibration: Data | None = field(default=None, compare=False, repr=False, metadata=NO_OPTION)

    @property
    def scheme(self) -> Scheme:
        return Scheme(self.weights, self.activations, self.per_channel, self.overrides)


def inserted(graph: Graph, options: QuantizationOptions, context: Context) -> Graph:
    """The graph with quantize and dequantize, calibrated; notes and errors have the name of the calling pass."""
    check_choice("observer", options.observer, OBSERVERS)
    check_choice("layer_inputs", options.layer_inputs, LAYER_INPUTS)
    name = options.name
    data = data_of(options.calibration, context, name)
    graph = unfused(graph, context, name)
    apart = taken_apart(graph, options.scheme, options.observer, data)
    floats = joins_in_float(apart.ranges)
    ranges = apart.ranges.without(floats)
    context.calibration, context.reference = data, apart.graph
    parameters = activation_parameters(ranges)
    signs = binary_activation_parameters(ranges.partition, ranges.histograms, ranges.scheme, context.notes)
    names = apart.graph.names
    context.notes += [Note(name, part, f"part of {old}, by a scale of its own") for part, old in apart.renamed.items()]
    context.notes += [Note(name, names[node], f"stays float: {why}", declined=True) for node, why in floats.items()]
    context.notes += [Note(name, names[v.node], str(p)) for v, p in parameters.items()]
    masked = {v for v in parameters if ranges.histograms[v].ends_unseen}
    narrowed = narrowed_operands(ranges, parameters) if options.layer_inputs == "int8" else {}
    return insert(ranges.partition, parameters, ranges.scheme, signs, masked, narrowed)


class InsertQuantization(QuantizationOptions, name="insert-quantization", contract=Bounded(10.0)):
    """Put quantize and dequantize around operators with an integer form; the graph still computes in float32.

    The options are ``weights``: int8, int4, int4-grouped or binary; ``activations``: int8, int16 or binary (layers with
    binary weights then read signs); ``per_channel`` scales of weights; the ``observer`` of ranges (minmax, percentile,
    mse, entropy); ``overrides``, from patterns of node names to widths, see ``Scheme``; and ``layer_inputs``: any, or
    int8, with which layers that have weights read 8 bits of activations of 16. ``calibration`` are batches of the
    graph's inputs: each is a mapping by input name, or a single array. On the command line, --calibration gives them.
    """

    def run(self, graph: Graph, context: Context) -> Graph:
        return inserted(graph, self, context)


class Quantize(QuantizationOptions, name="quantize", contract=Bounded(10.0)):
    """Quantize a trained network: clean it up as the default pipeline does, calibrate, and lower it to integers.

    ``recover`` names passes that recover accuracy: equalize-layers, round-weights, correct-bias. The default is
    round-weights if any weights have less than 8 bits, else none. With ``mode`` dynamic there is no calibration: the
    scales of activations are computed at run time (``quantize_dynamically``), which suits recurrent networks and
    transformers. Outputs, and channels of outputs, that lose most of their signal on the calibration data are noted as
    alarms. See ``InsertQuantization`` for the other options.
    """

    recover: Sequence[str] | None = None
    mode: str = "static"

    def run(self, graph: Graph, context: Context) -> Graph:
        check_choice("mode", self.mode, MODES)
        graph = unfused(graph, context, self.name)
        for pass_ in float_pipeline():
            graph = pass_.run(graph, context)
        if self.mode == "dynamic":
            refuse_binary_activations(self.scheme, self.name)
            small = quantize_dynamically(graph, self.scheme, context, self.name)
        else:
            small = LowerInteger().run(self.insert(graph, context), context)
        data = self.calibration if self.calibration is not None else context.calibration
        if data is not None:
            context.notes += alarms(graph, small, data, self.name)
        return small

    def insert(self, graph: Graph, context: Context) -> Graph:
        """The QDQ graph of a clean graph, after recovery."""
        steps = self.steps
        for name in steps:
            check_choice("recover", name, RECOVERIES)
        if EqualizeLayers.name in steps:
            graph = EqualizeLayers().run(graph, context)
        graph = inserted(graph, self, context)
        for name, recovery in BEHIND.items():
            if name in steps:
                graph = recovery().run(graph, context)
        return graph

    @property
    def steps(self) -> Sequence[str]:
        """The names of the passes that recover accuracy."""
        if self.recover is not None:
            return self.recover
        widths = {self.weights, *self.overrides.values()}
        return (RoundWeights.name,) if any(width_bits(w) < 8 for w in widths) else ()


BEHIND: dict[str, type[Recovery]] = {pass_.name: pass_ for pass_ in (RoundWeights, CorrectBias)}
"""The passes that recover accuracy after the insertion, in this order."""
RECOVERIES = (EqualizeLayers.name, *BEHIND)
