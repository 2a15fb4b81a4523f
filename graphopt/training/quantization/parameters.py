"""What is trained of a quantized graph: float masters of its integer weights, and its scales.

Parameters are relative to what they stand for, so that a step of an optimizer means the same in every layer:
weights are in units of their own magnitude, scales are powers of e times what they were.
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
    """The power of two that is next to the root mean square of an array; 1 where that is zero."""
    magnitude = float(np.sqrt(np.square(data, dtype=np.float64).mean()))
    return 2.0 ** round(math.log2(magnitude)) if magnitude else 1.0


@dataclass(frozen=True, eq=False)
class Relative:
    """An array in units of its magnitude, by which it is the same to the bit."""

    unit: float

    @classmethod
    def of(cls, data: Array) -> Relative:
        return cls(unit_of(data))

    def parameter(self, data: Array) -> Array:
        return np.asarray(data / self.unit, data.dtype)

    def real(self, parameter: Tensor) -> Tensor:
        return parameter * self.unit


@dataclass(frozen=True, eq=False)
class Step:
    """A scale, the step between integers, whose parameter is the logarithm of what it has grown by.

    Gradients are those of LSQ (Esser et al., 2020), divided as there by sqrt(elements * highest integer), and of the
    logarithm (TQT, Jain et al., 2020), so that a scale stays positive. ``initial`` is [] or [c], and ``elements`` the
    numbers that it is the scale of.
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
    """The float weights behind integers of 8, 4 or 1 bits, whose scale, [] or [c] along ``axis``, is ``scale``.

    Rounding passes gradients straight through, saturation none. ``kept`` is 0 where weights were pruned, and stay
    zero, and else 1. Binary weights are the sign, that of zero being 1.
    """

    form: Relative
    scale: Value
    bits: int
    axis: int
    kept: Array

    def integers(self, parameter: Tensor, scale: Tensor) -> Tensor:
        """As floats that hold the integers."""
        weight = self.form.real(parameter) * torch.tensor(self.kept, device=parameter.device)
        column = scale.reshape(*(-1 if a == self.axis else 1 for a in range(weight.ndim))) if scale.ndim else scale
        if self.bits == 1:
            steps, signs = weight / column.detach(), torch.where(weight < 0, -1.0, 1.0)
            binary: Tensor = StraightThrough.apply(steps, signs)  # type: ignore[no-untyped-call]
            return binary
        steps, (low, high) = weight / column, integer_limits(self.bits, narrow=True)
        rounded: Tensor = StraightThrough.apply(steps, torch.round(steps))  # type: ignore[no-untyped-call]
        return rounded.clamp(low, high)
