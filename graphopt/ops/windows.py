"""The geometry that convolutions and poolings share: padded, strided, dilated windows over spatial axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphopt.errors import InvalidGraph
from graphopt.ir import Array, Dim, Sampler, TensorType, expect

__all__ = ["Window"]


@dataclass(frozen=True)
class Window:
    """A sliding window. Every field has one entry per spatial axis; ``pads`` has those before, then those after."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]

    @classmethod
    def of(
        cls, kernel: tuple[Dim, ...], strides: tuple[int, ...], pads: tuple[int, ...], dilations: tuple[int, ...] = ()
    ) -> Window:
        """A window with defaults: strides and dilations 1, pads 0. Raises ``InvalidGraph`` for invalid fields."""
        rank = len(kernel)
        static = tuple(k for k in kernel if isinstance(k, int))
        expect(len(static) == rank and min(static, default=1) > 0, f"kernel {kernel} must have positive sizes")
        window = cls(static, strides or (1,) * rank, pads or (0,) * 2 * rank, dilations or (1,) * rank)
        expect(len(window.strides) == rank, f"strides {strides} must have {rank} entries")
        expect(len(window.dilations) == rank, f"dilations {dilations} must have {rank} entries")
        expect(len(window.pads) == 2 * rank, f"pads {pads} must have {2 * rank} entries")
        expect(min(window.strides + window.dilations, default=1) > 0, "strides and dilations must be positive")
        expect(min(window.pads, default=0) >= 0, f"pads {pads} must not be negative")
        return window

    @property
    def rank(self) -> int:
        return len(self.kernel)

    @property
    def extent(self) -> tuple[int, ...]:
        """The input elements that one window spans."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    def axis_pads(self, axis: int) -> tuple[int, int]:
        return self.pads[axis], self.pads[axis + self.rank]

    def output_shape(self, spatial: tuple[Dim, ...]) -> tuple[int, ...]:
        """The number of window positions along each spatial axis; ``InvalidGraph`` if a window does not fit."""
        expect(len(spatial) == self.rank, f"{self.rank} spatial axes expected, the input has {len(spatial)}")
        shape = []
        for axis, size in enumerate(spatial):
            if not isinstance(size, int):
                raise InvalidGraph("a spatial axis must not depend on the batch")
            room = size + sum(self.axis_pads(axis)) - self.extent[axis]
            expect(room >= 0, f"the window spans {self.extent[axis]}, the padded input has {room + self.extent[axis]}")
            shape.append(room // self.strides[axis] + 1)
        return tuple(shape)

    def view(self, x: Array, fill: float) -> Array:
        """All windows of ``x`` [n, c, *spatial], padded with ``fill``: shape [n, c, *out, *kernel], read-only."""
        pads = [(0, 0), (0, 0), *(self.axis_pads(a) for a in range(self.rank))]
        padded = np.pad(x, pads, constant_values=fill)
        axes = tuple(range(2, 2 + self.rank))
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.extent, axis=axes)
        steps = (slice(None), slice(None), *(slice(None, None, s) for s in self.strides))
        return windows[(*steps, *(slice(None, None, d) for d in self.dilations))]


def sample_window(draw: Sampler, x: TensorType, max_kernel: int = 3) -> Window | None:
    """A random window that fits the spatial axes of ``x``; None if x has none."""
    spatial = [s for s in x.shape[2:] if isinstance(s, int) and s > 0]
    if x.rank not in (3, 4) or len(spatial) != x.rank - 2:
        return None
    kernel = tuple(draw.integer(1, min(max_kernel, s)) for s in spatial)
    dilations = tuple(draw.integer(1, 2) if (k - 1) * 2 + 1 <= s else 1 for k, s in zip(kernel, spatial, strict=True))
    strides = tuple(draw.integer(1, 2) for _ in spatial)
    pads = tuple(draw.integer(0, k - 1) for _ in range(2) for k in kernel)
    return Window(kernel, strides, pads, dilations)
