"""ONNX files drawn at random: ``python -m graphopt.testing.onnx_files --files 2000 --seed 0``.

Each is computed by ONNX Runtime, and loaded and computed by the reference evaluator, after the usual passes, and (one
in ten) as a program of this machine. What disagrees is written to a folder: the file, cut down to the one node at
fault where one is, its numbers, and a text. It needs onnxruntime: ``pip install graphopt[dev]``.

A user's own way to draw an operator joins the table by ``@draws("Name")``.
"""

from graphopt.testing.onnx_files.drawing import FileDrawing
from graphopt.testing.onnx_files.search import Tally, draw_file, examine_files, report
from graphopt.testing.onnx_files.table import DRAWS, draws

__all__ = ["DRAWS", "FileDrawing", "Tally", "draw_file", "draws", "examine_files", "report"]
