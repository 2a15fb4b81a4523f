"""What a pruning criterion says: the saliency of weights, of channels, of activations, in one form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from graphopt.ir import Array, Graph, Value

Scores = Mapping[Value, Array]
"""For some values of a graph (constants, or results of nodes) an array of the value's rank, each axis the value's or 1.

An array of the value's own shape speaks of every element: ``|w|^p``, ``w * dloss/dw``. One with ones speaks of the
indices of the other axes only: [o, 1, 1, 1] has one number an output filter of a weight [o, c, h, w], and says nothing
of c; [1, c, 1, 1] has one number a channel of an activation [N, c, h, w]. Higher is more important.

The score of what is removed together is the magnitude of the sum of all entries of the elements that go, so that
signed first-order terms cancel as they do in the loss (Molchanov et al., 2019); float64 is summed.
"""


@runtime_checkable
class Importance(Protocol):
    """A pruning criterion. Those that hold data, losses or models are for Python only, not for the command line.

    One that measures in one unit everywhere, as the loss is, may have a true attribute ``comparable``: then scores of
    different layers are compared as they are, not as parts of the mean of their group.
    """

    def scores(self, graph: Graph) -> Scores:
        """The scores by values of this very graph; values left out count nothing."""


ScoreFunction = Callable[[Graph], Scores]
"""A criterion as a plain function."""
