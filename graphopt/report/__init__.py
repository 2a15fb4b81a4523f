"""Reports as data: the cost and memory of a graph, the sizes and runs of a program, the difference of two graphs."""

from graphopt.report.catalog import PassRow, TargetRow, ToolRow, list_passes, list_targets, list_tools
from graphopt.report.cost import Cost, cost_of
from graphopt.report.diff import ModelDifference, compare_models, graph_diff
from graphopt.report.memory import Layer, layers_of, peak_layer
from graphopt.report.model import ModelReport, describe_model
from graphopt.report.profile import KernelTime, ProfileReport, profile_program
from graphopt.report.program import BenchRow, CallRow, KernelCost, ProgramReport, describe_program, kernel_costs

__all__ = [
    "BenchRow",
    "CallRow",
    "Cost",
    "KernelCost",
    "KernelTime",
    "Layer",
    "ModelDifference",
    "ModelReport",
    "PassRow",
    "ProfileReport",
    "ProgramReport",
    "TargetRow",
    "ToolRow",
    "compare_models",
    "cost_of",
    "describe_model",
    "describe_program",
    "graph_diff",
    "kernel_costs",
    "layers_of",
    "list_passes",
    "list_targets",
    "list_tools",
    "peak_layer",
    "profile_program",
]
