"""The scaling of sums that a routine can do: clip((upper(acc * multiplier) + addend) >> shift) to int8."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from graphopt.ir import Array, Node, Op, Value
from graphopt.rewrite import Decline
from graphopt.targets.instructions.portable import CLIP_BYTES
from graphopt.targets.kernels.base import Frame, Kernel, Task
from graphopt.targets.requantize import MOST_ADDEND, RequantizeUpper, bounds_of, constants_of
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

    def emit(frame: Frame) -> None:
        kernel.emit(frame)
        CLIP_BYTES.run(Tensor(frame.out.buffer, "int8", (task.out.size,), (1,)).at(0), *limits, task.out.size)

    return replace(kernel, emit=emit)


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
