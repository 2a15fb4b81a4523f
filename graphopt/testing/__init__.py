"""Tools to test passes and operators with: random graphs, equivalence, golden files.

Importing this needs no more than graphopt does. ``graphopt.testing.strategies`` needs hypothesis, and
``graphopt.testing.pytest_plugin`` pytest: install ``graphopt[testing]``.
"""

from graphopt.ir import signature
from graphopt.testing.canvas import Drawing
from graphopt.testing.drawing import draw_graph, random_graph
from graphopt.testing.equivalence import assert_equivalent, check_pass
from graphopt.testing.motifs import MOTIFS, motif

__all__ = [
    "MOTIFS",
    "Drawing",
    "assert_equivalent",
    "check_pass",
    "draw_graph",
    "motif",
    "random_graph",
    "signature",
]
