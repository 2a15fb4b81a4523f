"""Passes that group operators into kernels."""

from graphopt.passes.fuse.fuse import Fuse

__all__ = ["Fuse"]
