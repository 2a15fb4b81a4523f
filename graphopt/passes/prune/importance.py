"""Scores of pruning criteria: the saliency of weights, channels and activations, in one form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from graphopt.ir import Array, Graph, Value

Scores = Mapping[Value, Array]
"""For some values of a graph (constants, or results of nodes) an array of the value's rank; each axis may be 1 instead.

An array of the value's own shape scores every element: ``|w|^p``, ``w * dloss/dw``. An array with axes of 1 scores only
the indices of its other axes: [o, 1, 1, 1] has one number per output filter of a weight [o, c, h, w], and no score for
c; [1, c, 1, 1] has one number per channel of an activation [N, c, h, w]. Higher is more important.

The score of a unit is the magnitude of the sum of all entries of its elements, so that signed first-order terms cancel
as they do in the loss (Molchanov et al., 2019). Sums are in float64.
"""


@runtime_checkable
class Importance(Protocol):
    """A pruning criterion. Criteria that hold data, losses or models are for Python only, not for the command line.

    If a criterion measures all layers in one unit, such as the loss, it may set the attribute ``comparable`` to true.
    Then scores of different layers are compared directly, without division by the mean of their group.
    """

    def scores(self, graph: Graph) -> Scores:
        """The scores, by values of this graph; values that are left out do not count."""


ScoreFunction = Callable[[Graph], Scores]
"""A criterion as a plain function."""
