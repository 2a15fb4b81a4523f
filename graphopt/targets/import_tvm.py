"""Import TVM without PyTorch: this takes 1.5 s and 241 MB, instead of 2.7 s and 399 MB (the CPU build of PyTorch).

If torch is installed, TVM imports it to exchange tensors with it; graphopt does not need that. If a program has
imported torch before, TVM is imported as usual. A program that passes torch tensors to TVM must import torch first.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def import_tvm() -> None:
    """Import TVM unless it is imported already. Call it before any module that imports TVM in the usual way."""
    with hidden("torch"):
        importlib.import_module("tvm")


@contextmanager
def hidden(name: str) -> Iterator[None]:
    """A context in which a module that is not imported yet seems not to be installed."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # Python's mark of a missing module
    try:
        yield
    finally:
        del sys.modules[name]
