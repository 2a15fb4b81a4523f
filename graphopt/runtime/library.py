"""A program's shared library in this process."""

from __future__ import annotations

import _ctypes
import ctypes
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphopt.errors import InvalidInput, ToolFailed
from graphopt.runtime.manifest import ADVICE
from graphopt.runtime.sizes import check_sizes, library_sizes


class Library:
    """A loaded library, whose sizes are those of its manifest. It is unloaded when nothing refers to it any more.

    ``run_batch`` is its function of that name, which does not hold the GIL, and ``workspace_bytes`` what it works on.
    """

    def __init__(self, data: bytes, manifest: Mapping[str, Any]) -> None:
        """Load the bytes of a library from a private file, which is then removed.

        Raises ``ToolFailed`` if the system cannot load it, ``InvalidInput`` if it is not that of the manifest.
        """
        name = manifest["name"]
        file = f"lib{name}.so"
        with tempfile.TemporaryDirectory(prefix="graphopt-") as folder:  # the loader knows libraries by their path
            path = Path(folder) / file
            path.write_bytes(data)
            try:
                loaded = ctypes.CDLL(str(path))
            except OSError as error:
                raise ToolFailed("cannot be loaded", where=file, why=str(error), advice=ADVICE) from error
        # at the end of the process a thread may still be in it
        weakref.finalize(self, _ctypes.dlclose, loaded._handle).atexit = False
        check_sizes(library_sizes(loaded, name), manifest, file)
        try:
            self.run_batch = loaded[f"{name}_run_batch"]
            self.workspace_bytes = ctypes.c_uint64.in_dll(loaded, f"{name}_batch_workspace_size").value
        except (AttributeError, ValueError) as error:
            raise InvalidInput("is of an earlier graphopt", where=file, why=str(error), advice=ADVICE) from error
