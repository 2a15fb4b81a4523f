"""Layers as matrix products: the second moments of their inputs and of their wanted results, over the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphopt.ir import Array
from graphopt.ops import Conv, Linear
from graphopt.ops.windows import Window

MAX_ROWS = 1 << 14
"""The most rows of one layer for its moments; if the data has more, they are drawn at random."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Centred moments of a layer's input columns z and wanted results t, in float64, for each of g groups.

    ``inputs`` [g, k, k] is cov(z, z), ``cross`` [g, o, k] cov(t, z), ``wanted`` [g, o] var(t), and the means are
    ``input_mean`` [g, k] and ``wanted_mean`` [g, o].
    """

    inputs: Array
    cross: Array
    wanted: Array
    input_mean: Array
    wanted_mean: Array

    def error(self, weights: Array) -> Array:
        """The mean squared error [g, o] of weights [g, o, k] with the best bias."""
        explained = ((weights @ self.inputs - 2 * self.cross) * weights).sum(-1)
        return np.asarray(np.maximum(self.wanted + explained, 0.0))

    def bias(self, weights: Array) -> Array:
        """The best bias [g, o]: with it the mean error of every channel is 0."""
        return np.asarray(self.wanted_mean - (weights @ self.input_mean[..., None])[..., 0])


def moments(op: Conv | Linear, inputs: Sequence[Array], wanted: Sequence[Array], weight: Array) -> Moments:
    """The moments of a layer over batches, from its present inputs and its wanted results."""
    rows = [y.size // len(weight) for y in wanted]
    part = min(1.0, MAX_ROWS / sum(rows))
    draw = np.random.default_rng(0)
    chosen = [np.sort(draw.permutation(n)[: math.ceil(n * part)]) for n in rows]
    pairs = [drawn_rows(op, x, y, weight, at) for x, y, at in zip(inputs, wanted, chosen, strict=True)]
    z, t = (np.concatenate(part, axis=1, dtype=np.float64) for part in zip(*pairs, strict=True))
    z_mean, t_mean = z.mean(1), t.mean(1)
    z -= z_mean[:, None]
    t -= t_mean[:, None]
    n = z.shape[1]
    return Moments(z.swapaxes(1, 2) @ z / n, t.swapaxes(1, 2) @ z / n, (t**2).mean(1), z_mean, t_mean)


def drawn_rows(op: Conv | Linear, x: Array, y: Array, weight: Array, at: Array) -> tuple[Array, Array]:
    """Input columns [g, n, k] and results [g, n, o] of a layer at the positions ``at``, n of them."""
    if isinstance(op, Linear):
        return x.reshape(-1, x.shape[-1])[None, at], y.reshape(-1, y.shape[-1])[None, at]
    view = Window.of(weight.shape[2:], op.strides, op.pads, op.dilations).view(x, 0)
    place = np.unravel_index(at, (len(x), *y.shape[2:]))
    index: tuple[Any, ...] = (place[0], slice(None), *place[1:])
    columns, results = view[index], y[index]
    n, g = len(at), op.group
    return columns.reshape(n, g, -1).swapaxes(0, 1), results.reshape(n, g, -1).swapaxes(0, 1)
