"""The band that a loss should stay in: a run whose loss leaves it has gone wrong."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, pstdev

WIDTH = 10
"""How many times its size, or its spread over batches, the loss may rise above where it began."""

FLOOR = 0.01
"""The least size that counts, as a share of what the loss is without weights."""

WINDOW = 8
"""The steps whose mean is compared."""


@dataclass
class Band:
    """What the loss was before the first step, batch by batch, and what it was in the last steps.

    ``scale`` is the loss of the same module without weights, whose outputs know nothing of its inputs. A run that
    begins near zero, as one that repairs a nearly perfect model does, rises to many times that by noise alone: so the
    band is as wide as a run would have that began at a hundredth of the scale. It is asked for only once it matters.
    """

    start: Sequence[float]
    scale: float | None = None
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))

    @property
    def limit(self) -> float:
        mean = fmean(self.start)
        return mean + WIDTH * max(abs(mean), pstdev(self.start), FLOOR * abs(self.scale or 0.0))

    def left_by(self, loss: float, scale: Callable[[], float]) -> str | None:
        """What to tell of a loss with which the mean of the last steps is out of the band; None if it is in."""
        self.recent.append(loss)
        mean = fmean(self.recent)
        if math.isfinite(loss) and mean > self.limit and self.scale is None:
            found = scale()
            self.scale = found if math.isfinite(found) else 0.0
        if math.isfinite(loss) and mean <= self.limit:
            return None
        return f"the loss went from {fmean(self.start):.4g} to {loss:.4g} (the limit is {self.limit:.4g})"
