"""Recurrent layers: a hidden unit is a row of every gate, a column of the recurrent weights, and its states."""

from __future__ import annotations

from graphopt.ir import Array, Node, Value
from graphopt.ops import Recurrent, RecurrentSequence
from graphopt.passes.prune.maps.table import channel_map
from graphopt.passes.prune.relations import Relations

STEPS = "the layer steps along it"


def by_unit(relations: Relations, value: Value, axis: int, hidden: Array) -> None:
    """Link an axis of consecutive gates with the hidden units."""
    relations.link(relations.ids(value, axis).reshape(-1, len(hidden)), hidden[None])


@channel_map(Recurrent)
def recurrent(node: Node, relations: Relations) -> None:
    """Both directions have their weights in the same arrays, so a unit is removed from both."""
    x, w, r, bias, *states = node.inputs
    y, *finals = node.results
    hidden = relations.ids(r, 2)
    for value, axis in ((w, 1), (r, 1), (bias, 1)):
        by_unit(relations, value, axis, hidden)
    for value in (y, *finals, *states):
        relations.join(value, -1, r, 2)
    for value, axis in ((w, 0), (r, 0), (bias, 0), (y, 1), *((v, 0) for v in (*finals, *states))):
        relations.keep_axis(value, axis, "it counts the directions")
    for value in (*finals, *states):
        relations.join(value, 1, y, 2)
    relations.join(x, 1, y, 2)
    relations.join(x, 2, w, 2)
    for value in (x, y):
        relations.keep_axis(value, 0, STEPS)
    relations.contract(node, 0, 2)
    relations.contract(node, 2, 2)
    relations.produce(node, 3)


@channel_map(RecurrentSequence)
def sequence(node: Node, relations: Relations) -> None:
    """Like a layer, but another node computes the product of x and w."""
    gates, r, *rest = node.inputs
    (y,) = node.results
    hidden = relations.ids(r, 1)
    by_unit(relations, gates, 2, hidden)
    by_unit(relations, r, 0, hidden)
    relations.join(gates, 1, y, 1)
    for value in (y, *rest):
        relations.join(value, -1, r, 1)
        if value.type.rank == 2:
            relations.join(value, 0, y, 1)
    for value in (gates, y):
        relations.keep_axis(value, 0, STEPS)
    relations.contract(node, 1, 1)
