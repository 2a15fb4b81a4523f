"""The command line of the search."""

from graphopt.testing.onnx_files.search import main

main()
