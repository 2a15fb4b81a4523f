"""What people look at: what a graph costs, and how two graphs differ."""

from graphopt.report.cost import Cost, cost_of
from graphopt.report.diff import graph_diff

__all__ = ["Cost", "cost_of", "graph_diff"]
