"""Remove channels that are constant or that nobody reads, which costs no accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphopt.ir import Array, Graph, Node, Value, constant, rebuild
from graphopt.ops import Conv, Linear
from graphopt.passes.base import Context, Note, Pass
from graphopt.passes.contract import Close
from graphopt.passes.prune.coupling import Coupling, couple, separate_vectors
from graphopt.passes.prune.criteria import elements, is_fixed
from graphopt.passes.prune.intervals import Interval, intervals
from graphopt.passes.prune.relations import ChannelAxis, Contraction
from graphopt.passes.prune.remove import Removal


@dataclass(frozen=True)
class Reading:
    """What each index of the axis of a sum adds: nothing that depends on the input, if ``harmless``.

    ``shift`` [outputs, indices] is the constant that an index adds, which goes into the bias.
    """

    harmless: Array
    shift: Array | None = None


class RemoveDeadChannels(Pass, name="remove-dead-channels", contract=Close(rtol=1e-4, atol=1e-4)):
    """Remove channels that are constant (their weights are almost zero), and channels that nobody reads.

    A channel is removed if, in all its products of weight and activation, the part that depends on the input stays
    under ``bound``. The constant part, also through activations and other layers, goes into the bias of its readers.
    ``limit`` is the largest magnitude of any input or activation. It is an assumption wherever interval arithmetic
    finds wider bounds or none. A constant channel that reaches a padded layer stays, since it is not constant at the
    border. At least one channel of every axis stays.
    """

    bound: float = 1e-6
    limit: float = 1e4

    def run(self, graph: Graph, context: Context) -> Graph:
        while (smaller := self.once(graph, context)) is not graph:
            graph = smaller
        return graph

    def once(self, graph: Graph, context: Context) -> Graph:
        """The graph without its dead units; the same graph if there are none."""
        own = separate_vectors(with_plain_biases(graph))
        coupling = couple(own)
        known = intervals(own, self.limit)
        readings = {c: read(c, known, self.bound) for c in coupling.relations.contractions}
        units = dead_units(coupling, readings)
        if not units:
            return graph
        removal = Removal.of(coupling, units)
        shifted = with_biases(own, {node: shift for node, shift in lost(removal, readings).items() if shift.any()})
        for place, kept in removal.axes().items():
            if any(place in places for places in coupling.relations.producers.values()):
                node, text = own.names[place.value.node], f"{place.size - len(kept)} of {place.size} channels are dead"
                context.notes.append(Note(self.name, node, text))
        return Removal.of(couple(shifted), units).apply()


def read(c: Contraction, known: dict[Value, Interval], bound: float) -> Reading:
    """The effect of each index on a sum: layers may lose a constant, other sums must read zero."""
    x = known[c.node.inputs[c.position]]
    low = np.moveaxis(x.low, c.axis, 0).reshape(x.low.shape[c.axis], -1).min(1)
    high = np.moveaxis(x.high, c.axis, 0).reshape(x.high.shape[c.axis], -1).max(1)
    op, (_, *parameters) = c.node.op, c.node.inputs
    if not isinstance(op, Conv | Linear) or not all(is_fixed(p) for p in parameters):
        return Reading(np.maximum(np.abs(low), np.abs(high)) <= bound)
    matrix = dense(elements(parameters[0]), op.group if isinstance(op, Conv) else 1)
    gain = np.abs(matrix).sum(2).max(0)
    centre, radius = (low + high) / 2, (high - low) / 2
    harmless = gain * radius <= bound
    if isinstance(op, Conv) and any(op.pads):
        return Reading(harmless & (gain * np.abs(centre) <= bound))
    return Reading(harmless, matrix.sum(2) * centre)


def dense(weight: Array, group: int) -> Array:
    """A layer's weights as [outputs, inputs, taps], zeros between groups."""
    outputs, of_one = weight.shape[:2]
    full = np.zeros((group, outputs // group, group, of_one, int(np.prod(weight.shape[2:]))))
    for g in range(group):
        full[g, :, g] = weight.reshape(group, outputs // group, of_one, -1)[g]
    return full.reshape(outputs, group * of_one, -1)


def dead_units(coupling: Coupling, readings: dict[Contraction, Reading]) -> list[Array]:
    """The units that are harmless to every sum, except the last one of each axis."""
    relations = coupling.relations
    needed = np.zeros(relations.count, bool)
    for c, reading in readings.items():
        elements = relations.ids(c.node.inputs[c.position], c.axis)
        if len(elements):
            needed[elements] |= ~reading.harmless
    left = np.array([a.size for a in relations.axes])
    chosen = []
    for group in coupling.groups:
        axes, counts = coupling.axis_of[group.units[0]], np.array(group.counts)
        touched = np.unique(axes)
        for unit in group.units:
            if not needed[unit].any() and (left[touched] > counts).all():
                left[touched] -= counts
                chosen.append(unit)
    return chosen


def lost(removal: Removal, readings: dict[Contraction, Reading]) -> dict[Node, Array]:
    """For each layer, the constant that the removed channels added to its outputs."""
    return {
        c.node: shift[:, removal.marks(ChannelAxis(c.node.inputs[c.position], c.axis))].sum(1)
        for c, reading in readings.items()
        if (shift := reading.shift) is not None
    }


def with_biases(graph: Graph, shifts: dict[Node, Array]) -> Graph:
    """The graph with shifts added to the biases of layers."""

    def transform(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node not in shifts or (bias := inputs[2].constant) is None:
            return None
        new = constant((bias + shifts[node]).astype(bias.dtype), like=inputs[2])
        return node.with_inputs((*inputs[:2], new)).results

    return rebuild(graph, transform)


def with_plain_biases(graph: Graph) -> Graph:
    """The graph with constants of floats in place of dequantized biases, so that something can be added to them."""

    def transform(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if not isinstance(node.op, Conv | Linear) or inputs[2].constant is not None or not is_fixed(inputs[2]):
            return None
        bias = constant(elements(inputs[2]).astype(inputs[2].type.dtype), like=inputs[2])
        return node.with_inputs((*inputs[:2], bias)).results

    return rebuild(graph, transform)
