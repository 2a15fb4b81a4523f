"""Graphs as ONNX models: the same function, for any batch."""
