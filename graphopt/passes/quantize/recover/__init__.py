"""What wins back the accuracy that quantisation takes, without training: scales, rounding, biases, norms."""
