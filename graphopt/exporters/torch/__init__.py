"""Graphs as PyTorch modules: exact, differentiable, for any batch."""
