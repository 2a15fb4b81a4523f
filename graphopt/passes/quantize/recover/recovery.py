"""The common part of passes that recover accuracy: the data, the float reference, the walk over the layers."""

from __future__ import annotations

from dataclasses import dataclass, field

from graphopt.errors import InvalidInput
from graphopt.ir import Array, Graph, Node
from graphopt.passes.base import Context, Note, Pass
from graphopt.passes.data import Data
from graphopt.passes.quantize.layers import NewWeights, QuantizedLayer, quantized_layers, with_weights
from graphopt.passes.quantize.recover.replay import Reference, Replay
from graphopt.passes.quantize.unfuse import unfused
from graphopt.rewrite import Decline


def data_of(given: Data | None, context: Context, where: str) -> Data:
    """The batches given to a pass, else those of the context. Raises ``InvalidInput`` if there are none."""
    data = given if given is not None else context.calibration
    if data is None:
        raise InvalidInput(
            "there is no calibration data", where=where, advice="give calibration=batches, or --calibration samples.npz"
        )
    return data


@dataclass(frozen=True, eq=False)
class SeenLayer:
    """A quantized layer, its float node, and batch by batch its inputs and its wanted results."""

    layer: QuantizedLayer
    original: Node
    inputs: list[Array]
    wanted: list[Array]
    replay: Replay

    @property
    def results(self) -> list[Array]:
        """The results of the layer without changes."""
        return self.replay.results(self.layer.node)


class Recovery(Pass):
    """A pass over a QDQ graph that brings the results of its layers closer to those of the float graph.

    ``calibration`` are batches. ``reference`` is the float graph, whose nodes have the same names. After
    ``InsertQuantization`` both are in the context. Layers are renewed in order, from the present results of those
    before.
    """

    tells_users = True
    calibration: Data | None = field(default=None, compare=False, repr=False)
    reference: Graph | None = field(default=None, compare=False, repr=False)

    def renewed(self, seen: SeenLayer) -> tuple[NewWeights, str]:
        """New weights and bias of a layer, and a text for the note. Raises ``Decline``."""
        raise NotImplementedError(f"{type(self).__name__}.renewed")

    def run(self, graph: Graph, context: Context) -> Graph:
        reference, data = self.sources(context)
        graph, reference = (unfused(g, context, self.name) for g in (graph, reference))
        names, layers = graph.names, quantized_layers(graph)
        originals = {reference.names[node]: node for node in reference.nodes}
        wanted, replay = Reference(reference, data, {names[n] for n in layers}), Replay(graph, data)
        new: dict[Node, NewWeights] = {}
        for node in graph.nodes:
            results = wanted.of(names[node]) if node in layers else None
            if results is not None:
                inputs = replay.arrays[node.inputs[0]]
                try:
                    new[node], text = self.renewed(
                        SeenLayer(layers[node], originals[names[node]], inputs, results, replay)
                    )
                    context.notes.append(Note(self.name, names[node], text))
                except Decline as why:
                    context.notes.append(Note(self.name, names[node], str(why), declined=True))
            replay.run(node, new[node].operands(layers[node]) if node in new else None)
        return with_weights(graph, layers, new)

    def sources(self, context: Context) -> tuple[Graph, Data]:
        """The reference and the data. Raises ``InvalidInput`` if one is missing."""
        reference = self.reference or context.reference
        if reference is None:
            advice = "give reference=, or run it behind insert-quantization in the same pipeline"
            raise InvalidInput("there is no float graph to recover", where=self.name, advice=advice)
        return reference, data_of(self.calibration, context, self.name)
