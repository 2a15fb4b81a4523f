"""The scaling of sums that a routine can do: clip((upper(acc * multiplier) + addend) >> shift) to int8."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from graphopt.ir import Array, Node, Op, Value
from graphopt.rewrite import Decline
from graphopt.targets.instructions.portable import CLIP_BYTES
from graphopt.targets.kernels.base import Frame, Kernel, Task
from graphopt.targets.requantize import MOST_ADDEND, RequantizeUpper, alike, bounds_of, constants_of
from graphopt.targets.requantize import addend as addend_of
from graphopt.targets.tir import Tensor


def scaling_of(task: Task[Op], channels: int) -> Array | None:
    """Multiplier, addend and shift of each channel, int64 [channels, 3]; None where the region ends otherwise."""
    region = task.region
    return narrowing_of(task, channels) if len(region.epilogue) == 1 and region.tail is None else None


def narrowing_of(task: Task[Op], channels: int) -> Array | None:
    """The same where an epilogue begins so, whatever follows."""
    first, *others = task.region.epilogue or (None,)
    numbers = None if first is None else numbers_of(first, limited=True)
    if first is None or numbers is None or first.inputs[0] is not task.result:
        return None
    if any(task.result in node.inputs for node in others):
        return None
    return np.stack([np.broadcast_to(n, (channels,)) for n in numbers], axis=1).astype(np.int64)


def numbers_of(node: Node, limited: bool = False) -> list[Array] | None:
    """Multiplier, addend and shift of a requantisation to int8 by constants, to all of it or ``limited``; else None."""
    op = node.op
    if not isinstance(op, RequantizeUpper) or op.to != "int8" or not (limited or is_whole(op)):
        return None
    data = [np.ravel(part.constant) for part in node.inputs[1:] if part.constant is not None]
    return data if len(data) == 3 else None


def is_whole(op: RequantizeUpper) -> bool:
    return op.low <= -128 and op.high >= 127


def limits_of(task: Task[Op]) -> tuple[int, int] | None:
    """The limits of the requantisation that ``narrowing_of`` takes, which routines leave out; None for all of int8."""
    op = task.region.epilogue[0].op
    return None if not isinstance(op, RequantizeUpper) or is_whole(op) else (op.low, op.high)


def limited(kernel: Kernel, task: Task[Op]) -> Kernel:
    """A kernel whose results are scaled by routines, and their limits, where these are the last that is done.

    Raises ``Decline`` where these are a part of a larger value.
    """
    limits = limits_of(task)
    if limits is None or len(task.region.epilogue) > 1 or task.region.tail is not None:
        return kernel
    if not task.out.dense:
        raise Decline("its results, a part of a larger value, are limited all at once")

    def behind(results: Callable[[Frame], None]) -> Callable[[Frame], None]:
        def emit(frame: Frame) -> None:
            results(frame)
            CLIP_BYTES.run(Tensor(frame.out.buffer, "int8", (task.out.size,), (1,)).at(0), *limits, task.out.size)

        return emit

    return replace(kernel, emit=behind(kernel.emit), loops=kernel.loops and behind(kernel.loops))


def parameters_of(task: Task[Op]) -> tuple[Value, ...]:
    """The constants that ``narrowing_of`` takes, and nothing behind it."""
    first, *others = task.region.epilogue
    elsewhere = {v for node in others for v in node.inputs}
    return tuple(v for v in first.inputs[1:] if v not in elsewhere)


def bounds_by_channel(task: Task[Op], channels: int) -> Array:
    """The least and the greatest sum of each channel, int64 [channels, 2]."""
    return np.stack([np.broadcast_to(np.ravel(ends), (channels,)) for ends in bounds_of(task.result)], axis=1)


def shifted_up(scaling: Array, bounds: Array, bits: int, to: str = "int8") -> Array:
    """The scaling to a dtype of sums that are shifted up by so many bits, int32.

    It is scaled by as much more: the upper half of the product with the multiplier, plus the addend that is shifted up
    too, is the same before the last shift, which rounds down. A channel that gives one number for all of its sums (a
    dead one, whose bias may be of any size) is that number, times 0. Raises ``Decline`` where no constants fit.
    """
    rows, limits = np.hstack([scaling, bounds]).tolist(), (int(np.iinfo(to).min), int(np.iinfo(to).max))
    return np.array([one_shifted_up(m, a, s, least, most, bits, limits) for m, a, s, least, most in rows], np.int32)


def one_shifted_up(
    multiplier: int,
    addend: int,
    shift: int,
    least: int,
    greatest: int,
    bits: int,
    limits: tuple[int, int] = (-128, 127),
) -> tuple[int, int, int]:
    low, high = limits
    ends = {min(max(((acc * multiplier >> 32) + addend) >> shift, low), high) for acc in (least, greatest)}
    if len(ends) == 1:
        return 0, ends.pop(), 0
    most = MOST_ADDEND >> bits
    found = constants_of(addend >> shift, multiplier, shift + 32, least, greatest, most)
    return found[0], found[1] << bits, found[2] + bits


SHIFTS = 8, 12, 16
"""To one of which those of all channels are brought, so that layers share routines."""
MOST_UP = 8
"""By so many bits weights of 8 bits may be shifted up, in 16 bits."""
MOST_SHIFTED = 1 << 29
"""Of a sum that is shifted up: on the way to it, sums with the zero point in them are up to three times as large."""


@dataclass(frozen=True)
class OneShift:
    """A scaling whose ``shift`` is the same for all channels: of sums that are shifted up first, each by its own bits.

    ``numbers`` are multiplier, addend and the bits by which weights and bias are shifted up, int64 [channels, 3].
    """

    shift: int
    numbers: Array

    @property
    def up(self) -> Array:
        return self.numbers[:, 2]

    @staticmethod
    def of(shared: OneShift | None) -> int | None:
        """The shift, if there is one."""
        return None if shared is None else shared.shift


def one_shift(task: Task[Op], scaling: Array | None) -> OneShift | None:
    """The scaling of the sums of a task with one shift, which layers share; None where there is none."""
    if scaling is None:
        return None
    bounds = bounds_by_channel(task, len(scaling))
    return next(filter(None, (with_shift(scaling, bounds, shift) for shift in SHIFTS)), None)


def with_shift(scaling: Array, bounds: Array, shift: int) -> OneShift | None:
    """The scaling with a shift of all channels, which a routine has written out; None where it is not exact.

    A sum that is shifted up is scaled down by as much more. A channel of a greater shift has a smaller multiplier, if
    that gives the same for all sums within its bounds, int64 [channels, 2].
    """
    found = [brought_to(shift, *row) for row in np.hstack([scaling, bounds]).tolist()]
    whole = [numbers for numbers in found if numbers is not None]
    return OneShift(shift, np.array(whole, np.int64)) if len(whole) == len(found) else None


def brought_to(
    shift: int, multiplier: int, addend: int, given: int, least: int, greatest: int
) -> tuple[int, int, int] | None:
    """The numbers of one channel, whose shift is ``given``; None where it has none."""
    up, down = max(0, shift - given), max(0, given - shift)
    smaller = (multiplier + (1 << down >> 1)) >> down
    if up > MOST_UP or max(-least, greatest) << up >= MOST_SHIFTED:
        return None
    if down and not alike((multiplier, given + 32), (smaller, shift + 32), least, greatest):
        return None
    return smaller, addend_of(addend >> given, shift + 32), up
