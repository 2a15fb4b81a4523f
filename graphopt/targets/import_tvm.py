"""TVM, imported without PyTorch: 1.2 s and 265 MB, where it is 4 s and 875 MB with it.

TVM imports torch where that is installed, to exchange tensors with it, which graphopt does not do. A program that
imported torch before has paid already, and gets TVM as it comes. One that hands torch tensors to TVM itself imports
torch first.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def import_tvm() -> None:
    """Import TVM, if nobody has: to be called before what imports it as it comes."""
    with hidden("torch"):
        importlib.import_module("tvm")


@contextmanager
def hidden(name: str) -> Iterator[None]:
    """While this lasts a module that was not imported yet seems not to be installed."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # which is how Python says that it is not there
    try:
        yield
    finally:
        del sys.modules[name]
