"""ONNX files drawn at random, each computed in several ways: ``python -m graphopt.testing.onnx_files --files 2000``."""

from graphopt.testing.onnx_files.drawing import Drawing
from graphopt.testing.onnx_files.search import draw_file, search
from graphopt.testing.onnx_files.table import DRAWS

__all__ = ["DRAWS", "Drawing", "draw_file", "search"]
