"""Index maps: for each operator, how the indices of its axes belong together, and how it shrinks with them."""

from graphopt.passes.prune.maps import layers, moves, picks, pointwise, recurrent
from graphopt.passes.prune.maps.table import MAPS, Kept, channel_map, relate, shrink, shrinks, unsupported

__all__ = [
    "MAPS",
    "Kept",
    "channel_map",
    "layers",
    "moves",
    "picks",
    "pointwise",
    "recurrent",
    "relate",
    "shrink",
    "shrinks",
    "unsupported",
]
