"""The command line: parses, calls the API, prints. Heavy modules are imported inside the commands."""

from graphopt.cli import bench, evaluate, pruning, quantize
from graphopt.cli.main import main

__all__ = ["bench", "evaluate", "main", "pruning", "quantize"]
