"""Disturbances of inputs: what a sensor, a lens or the light may do, always the same for the same sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy.ndimage import gaussian_filter

from graphopt.evaluation.samples import Prepare
from graphopt.ir import Array

Disturb = Callable[[Array, int], Array]
"""From a sample in float64, of any shape, and its place in the data, to what it becomes."""
SMALLEST_IMAGE = 8
"""Rows and columns of an image, for blur."""


def noise(part: float) -> Disturb:
    """Gaussian noise, its standard deviation so much of the sample's."""
    return lambda x, place: x + part * x.std() * np.random.default_rng((0, place)).standard_normal(x.shape)


def blur(pixels: float) -> Disturb:
    """A Gaussian of so many pixels over the last two axes, rows and columns."""
    return lambda x, place: gaussian_filter(x, pixels, mode="nearest", axes=(-2, -1))


def bright(factor: float = 1.0, shift: float = 0.0) -> Disturb:
    """Times a factor, plus so much of the sample's range."""
    return lambda x, place: x * factor + shift * np.ptp(x)


def in_bits(bits: int) -> Disturb:
    """Rounded to equal steps over the sample's range."""

    def rounded(x: Array, place: int) -> Array:
        low, step = x.min(), np.ptp(x) / (2**bits - 1)
        return low + np.round((x - low) / step) * step if step else x

    return rounded


DISTURBANCES: dict[str, Disturb] = {
    "noise of 5 %": noise(0.05),
    "noise of 20 %": noise(0.2),
    "20 % darker": bright(0.8),
    "20 % brighter": bright(1.2),
    "shifted by 10 %": bright(shift=0.1),
    "8 bits": in_bits(8),
}
"""What any input can suffer."""
OF_IMAGES: dict[str, Disturb] = {"blur of 1 pixel": blur(1), "blur of 2 pixels": blur(2)}
"""What images can: inputs ``[N, channels, rows, columns]``."""


def fitting(inputs: Mapping[str, Array], prepare: Prepare | None) -> dict[str, Disturb]:
    """The disturbances that make sense for inputs: for images also blur."""
    first = {name: data[:1] for name, data in inputs.items()}
    shapes = [data.shape for data in (prepare(first) if prepare else first).values()]
    images = all(len(shape) == 4 and min(shape[2:]) >= SMALLEST_IMAGE for shape in shapes)
    return {**DISTURBANCES, **(OF_IMAGES if images else {})}


def changed(disturb: Disturb, data: Array, places: Array) -> Array:
    """An input of a batch, each sample disturbed; integers become floats. Several rows may be of one place."""
    samples = data.astype(np.float64).reshape(len(places), -1, *data.shape[1:])
    made = [disturb(sample, int(place)) for sample, place in zip(samples, places, strict=True)]
    return np.stack(made).reshape(data.shape).astype(data.dtype if data.dtype.kind == "f" else np.float32)
