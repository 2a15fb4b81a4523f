"""Recover the accuracy that quantization costs, without training: by scales, rounding, biases, norms."""
