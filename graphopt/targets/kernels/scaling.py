"""The scaling that ends a region, where a routine can do it: clip((upper(acc * multiplier) + addend) >> shift)."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array, Op, Value
from graphopt.targets.kernels.base import Task
from graphopt.targets.requantize import MOST_ADDEND, RequantizeUpper, bounds_of, constants_of


def scaling_of(task: Task[Op], channels: int) -> Array | None:
    """Multiplier, addend and shift of each channel, int64 [channels, 3]; None where the region ends otherwise."""
    region = task.region
    op = region.epilogue[0].op if len(region.epilogue) == 1 and region.tail is None else None
    if not isinstance(op, RequantizeUpper) or (op.low, op.high, op.to) != (-128, 127, "int8"):
        return None
    acc, *parts = region.epilogue[0].inputs
    if acc is not task.result or any(part.constant is None for part in parts):
        return None
    numbers = [np.broadcast_to(np.ravel(np.asarray(part.constant)), (channels,)) for part in parts]
    return np.stack(numbers, axis=1).astype(np.int64)


def parameters_of(task: Task[Op]) -> tuple[Value, ...]:
    """The constants that ``scaling_of`` takes."""
    return task.region.epilogue[0].inputs[1:]


def bounds_by_channel(task: Task[Op], channels: int) -> Array:
    """The least and the greatest sum of each channel, int64 [channels, 2]."""
    return np.stack([np.broadcast_to(np.ravel(ends), (channels,)) for ends in bounds_of(task.result)], axis=1)


def shifted_up(scaling: Array, bounds: Array, bits: int) -> Array:
    """The scaling of sums that are shifted up by so many bits, int32.

    It is scaled by as much more: the upper half of the product with the multiplier, plus the addend that is shifted up
    too, is the same before the last shift, which rounds down. A channel that gives one number for all of its sums (a
    dead one, whose bias may be of any size) is that number, times 0. Raises ``Decline`` where no constants fit.
    """
    rows = np.hstack([scaling, bounds]).tolist()
    return np.array([one_shifted_up(m, a, s, least, most, bits) for m, a, s, least, most in rows], np.int32)


def one_shifted_up(
    multiplier: int, addend: int, shift: int, least: int, greatest: int, bits: int
) -> tuple[int, int, int]:
    ends = {min(max(((acc * multiplier >> 32) + addend) >> shift, -128), 127) for acc in (least, greatest)}
    if len(ends) == 1:
        return 0, ends.pop(), 0
    most = MOST_ADDEND >> bits
    found = constants_of(addend >> shift, multiplier, shift + 32, least, greatest, most)
    return found[0], found[1] << bits, found[2] + bits
