"""Index maps: for each operator, which indices of its axes are removed together, and how the operator shrinks."""

from graphopt.ir.registry import import_all
from graphopt.passes.prune.maps.table import MAPS, Kept, channel_map, relate, shrink, shrinks

import_all(__path__, __name__)

__all__ = [
    "MAPS",
    "Kept",
    "channel_map",
    "relate",
    "shrink",
    "shrinks",
]
