"""Words of elements of 8 bits, side by side, 32 bits together, which one instruction multiplies in each lane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from tvm import tirx

from graphopt.ir import Array
from graphopt.ops import ConvInteger, ConvTransposeInteger, LinearInteger
from graphopt.rewrite import Decline
from graphopt.targets.kernels.base import Task
from graphopt.targets.kernels.geometry import Plane, plane_of
from graphopt.targets.kernels.quantized import prove_no_overflow
from graphopt.targets.kernels.word_weights import WHOLE, WholeWords
from graphopt.targets.schedule import Segment
from graphopt.targets.target import Target
from graphopt.targets.tir import Expr, cast


@dataclass(frozen=True)
class ShortSums:
    """Sums of 16 bits, two in each lane: so many words fit before ``widen`` adds them to those of 32 bits."""

    words: int
    widen: Callable[[Target, int, Expr, Expr], Expr]


@dataclass(frozen=True)
class Words:
    """How elements of 8 bits are multiplied: as so many of a dtype, in scratch, that are one word.

    ``add`` gives the sums in so many lanes of what was there before, and of the products of a word in each lane with
    its weights: those of 16 bits, where there are such. If elements have 8 bits there too, but another sign, they are
    128 more or less than they were.
    """

    size: int
    dtype: str
    weights: str
    add: Callable[[Target, int, Expr, Expr, Expr], Expr]
    short: ShortSums | None = None
    of_four_bits: Words | None = None
    """Those for weights of four bits, if these are others."""

    @property
    def widened(self) -> bool:
        """Whether weights have more bits in products than in memory."""
        return self.weights != "int8"

    def stored(self, elements: Expr) -> Expr:
        """Elements as they are multiplied."""
        return cast(elements, self.dtype) if self.widened else of_sign(elements, self.dtype)

    def offset(self, dtype: str) -> int:
        """What is added to elements of a dtype."""
        return 0 if self.widened else sign_offset(dtype, self.dtype)

    def range(self, dtype: str) -> str:
        """A dtype of the same range as elements of a dtype have in products."""
        return dtype if self.widened else self.dtype


def sign_offset(dtype: str, to: str) -> int:
    """What elements of 8 bits are more in a dtype of the same or of another sign."""
    return np.iinfo(to).min - np.iinfo(dtype).min


def of_sign(elements: Expr, to: str) -> Expr:
    """Elements of 8 bits, more or less by ``sign_offset``."""
    offset, same = sign_offset(str(elements.ty.dtype.with_lanes(1)), to), cast(elements, to)
    return tirx.bitwise_xor(same, tirx.const(offset, str(same.ty))) if offset else same


def in_blocks(data: Array, segments: Sequence[Segment], form: WholeWords = WHOLE) -> Array:
    """Data of channels [o, ...]: by blocks, with the channels of a block behind the second axis, in a form."""
    parts = []
    for segment in segments:
        rows = data[segment.start : segment.start + segment.blocks * segment.width]
        rows = np.pad(rows, ((0, -len(rows) % segment.width), *((0, 0),) * (rows.ndim - 1)))
        blocks = rows.reshape(segment.blocks, segment.width, *rows.shape[1:])
        parts.append(form.encode(np.moveaxis(blocks, 1, min(2, blocks.ndim - 1))).ravel())
    return np.concatenate(parts)


def plane_of_task(task: Task[ConvInteger]) -> Plane:
    """The plane of a convolution over one or two axes."""
    x, w, _ = task.inputs
    if x.type.rank > 4:
        raise Decline("it has more than two axes")
    return plane_of(x.type.static_shape[2:], task.result.type.static_shape[2:], task.op.window(w.type))


def constants_of(task: Task[ConvInteger | LinearInteger | ConvTransposeInteger]) -> tuple[Array, Array]:
    """The weights and the bias of a product of 8 bits."""
    x, w, b = task.inputs
    weight, bias = w.constant, b.constant
    if weight is None or bias is None or weight.dtype != np.int8 or x.type.dtype not in ("int8", "uint8"):
        raise Decline("it takes elements of 8 bits, and constant weights")
    return weight, bias


def weights_of(task: Task[ConvInteger | LinearInteger]) -> tuple[Array, Array]:
    """The same of one which is proved not to overflow."""
    x, (weight, bias) = task.inputs[0], constants_of(task)
    prove_no_overflow(task.op, weight, bias, x.type.dtype, task.region.node.name)
    return weight, bias
