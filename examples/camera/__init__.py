"""A smart camera: a detector of blood cells, trained, pruned to half its work, quantized, and compiled for AArch64."""
