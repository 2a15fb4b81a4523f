"""The parameters of a quantized graph: float masters of its integer weights, and scales.

Parameters are relative, so that a step of an optimizer means the same in every layer: weights are in units of their own
size, and the parameter of a scale is the logarithm of the factor by which it has grown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from graphopt.exporters.torch.plan import StraightThrough
from graphopt.ir import Array, Value, integer_limits


def unit_of(data: Array) -> float:
    """The power of two closest to the root mean square of an array; 1 if that is zero."""
    magnitude = float(np.sqrt(np.square(data, dtype=np.float64).mean()))
    return 2.0 ** round(math.log2(magnitude)) if magnitude else 1.0


@dataclass(frozen=True, eq=False)
class Relative:
    """An array in units of its size. The unit is a power of two, so nothing is rounded."""

    unit: float

    @classmethod
    def of(cls, data: Array) -> Relative:
        return cls(unit_of(data))

    def parameter(self, data: Array) -> Array:
        return np.asarray(data / self.unit, data.dtype)

    def real(self, parameter: Tensor) -> Tensor:
        return parameter * self.unit


@dataclass(frozen=True, eq=False)
class LearnedScale:
    """A scale: ``initial``, of shape [] or [c], times the exponential of its parameter.

    Gradients are those of LSQ (Esser et al., 2020), multiplied by 1 / sqrt(elements * highest integer) as proposed
    there. The logarithm keeps the scale positive (TQT, Jain et al., 2020). ``elements`` is the number of elements that
    share one scale.
    """

    initial: Array
    elements: int
    highest: int

    def real(self, parameter: Tensor) -> Tensor:
        factor = 1 / math.sqrt(max(self.elements, 1) * self.highest)
        passed = parameter * factor
        grown = StraightThrough.apply(passed, parameter)  # type: ignore[no-untyped-call]
        return torch.tensor(self.initial, device=parameter.device) * torch.exp(grown)


@dataclass(frozen=True, eq=False)
class Master:
    """Float weights for integers of 8, 4 or 1 bits. ``scale`` is of shape [] or [c], c channels along ``axis``.

    Rounding passes gradients straight through, saturation stops them. ``kept`` is 0 for pruned weights, which stay
    zero, and 1 for all others. Binary weights are signs; the sign of zero is 1.
    """

    form: Relative
    scale: Value
    bits: int
    axis: int
    kept: Array

    def integers(self, parameter: Tensor, scale: Tensor) -> Tensor:
        """The integers, as floats, for the present parameter and scale."""
        weight = self.form.real(parameter) * torch.tensor(self.kept, device=parameter.device)
        column = scale.reshape(*(-1 if a == self.axis else 1 for a in range(weight.ndim))) if scale.ndim else scale
        if self.bits == 1:
            steps, signs = weight / column.detach(), torch.where(weight < 0, -1.0, 1.0)
            binary: Tensor = StraightThrough.apply(steps, signs)  # type: ignore[no-untyped-call]
            return binary
        steps, (low, high) = weight / column, integer_limits(self.bits, narrow=True)
        rounded: Tensor = StraightThrough.apply(steps, torch.round(steps))  # type: ignore[no-untyped-call]
        return rounded.clamp(low, high)
