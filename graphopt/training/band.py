"""The band that a loss should stay in: a run whose loss leaves it has gone wrong."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, pstdev

WIDTH = 10
"""How many times its size, or its spread over batches, the loss may rise above where it began."""

WINDOW = 8
"""The steps whose mean is compared."""


@dataclass
class Band:
    """What the loss was before the first step, batch by batch, and what it was in the last steps."""

    start: Sequence[float]
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))

    @property
    def limit(self) -> float:
        mean = fmean(self.start)
        return mean + WIDTH * max(abs(mean), pstdev(self.start))

    def left_by(self, loss: float) -> str | None:
        """What to tell of a loss with which the mean of the last steps is out of the band; None if it is in."""
        self.recent.append(loss)
        mean = fmean(self.recent)
        if math.isfinite(loss) and mean <= self.limit:
            return None
        return f"the loss went from {fmean(self.start):.4g} to {loss:.4g} (the limit is {self.limit:.4g})"
