"""ONNX models: files, shapes, and one rule an operator."""
