"""How far a long computation is: steps counted where they are taken, shown by whoever listens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
Listener = Callable[[str, int, int | None], None]
"""Is told what is counted, how many are done, and of how many, where that is known."""

LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """While this lasts the steps of this thread are told to a listener."""
    token = LISTENER.set(listener)
    try:
        yield
    finally:
        LISTENER.reset(token)


def counted(items: Iterable[T], what: str | Callable[[], str], total: int | None = None) -> Iterator[T]:
    """The items one by one; who listens hears how many are done, of ``total`` where that is known.

    ``what`` may be a function, whose text may be another at every step.
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
