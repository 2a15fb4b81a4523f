"""Progress of long computations, reported to a listener."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
Listener = Callable[[str, int, int | None], None]
"""Called with what is counted, the number done, and the total or None if it is unknown."""

LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """A context in which the steps of this thread are reported to a listener."""
    token = LISTENER.set(listener)
    try:
        yield
    finally:
        LISTENER.reset(token)


def counted(items: Iterable[T], what: str | Callable[[], str], total: int | None = None) -> Iterator[T]:
    """The items one by one; the listener gets the number done, and the ``total`` if it is known.

    ``what`` may be a function whose text changes from step to step.
    """
    total = len(items) if isinstance(items, Sized) else total
    for done, item in enumerate(items):
        tell(what, done, total)
        yield item


def tell(what: str | Callable[[], str], done: int, total: int | None) -> None:
    """Tell whoever listens how many are done, for steps of several at once."""
    listener = LISTENER.get()
    if listener:
        listener(what() if callable(what) else what, done, total)
