"""What people look at: what a graph costs, what it needs in memory, and how two graphs differ."""

from graphopt.report.cost import Cost, cost_of
from graphopt.report.diff import graph_diff
from graphopt.report.memory import Layer, layers_of, peak_layer

__all__ = ["Cost", "Layer", "cost_of", "graph_diff", "layers_of", "peak_layer"]
