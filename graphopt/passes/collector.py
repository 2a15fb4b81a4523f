"""Python's cyclic collector while passes run."""

from __future__ import annotations

import gc
import threading
from types import TracebackType

OBJECTS = 20_000
"""New objects between two collections; Python's own number, 700, suits programs whose objects die early."""


class RareCollections:
    """While passes run, in any thread, the collector runs less often; behind the last one it is as before.

    A node and its values refer to each other, so graphs that were replaced are freed by the collector alone. But most
    objects that a pass makes stay, and to go through them again and again takes a third of the time at 10,000 nodes.
    This often it takes a tenth, and the peak of memory is the same. If it is turned off, it stays off.
    """

    def __init__(self) -> None:
        self.lock, self.inside, self.before = threading.Lock(), 0, gc.get_threshold()

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.before = gc.get_threshold()
                young, *others = self.before
                gc.set_threshold(max(young, OBJECTS) if young else 0, *others)
            self.inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                gc.set_threshold(*self.before)


RARE_COLLECTIONS = RareCollections()
