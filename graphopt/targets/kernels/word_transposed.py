"""Transposed convolution of 8 bits by words: one dense convolution for each phase of its strides.

Phases whose windows are alike read the same strips, and are loops around the blocks of channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from graphopt.ir import Array
from graphopt.ops import ConvTransposeInteger
from graphopt.rewrite import Decline
from graphopt.targets.kernels.base import Frame, Kernel, Task
from graphopt.targets.kernels.conv_transpose import MOST_KINDS, Phases, phases_of
from graphopt.targets.kernels.geometry import as_plane, plane_window
from graphopt.targets.kernels.quantized import folded_bias, prove_no_overflow
from graphopt.targets.kernels.strips import PaddedStrips
from graphopt.targets.kernels.tail import Tail
from graphopt.targets.kernels.word_products import STRIP_BYTES, Block, Tile, WordProducts
from graphopt.targets.kernels.word_weights import WHOLE
from graphopt.targets.kernels.words import Words, constants_of
from graphopt.targets.schedule import choose_tile, padded_segments
from graphopt.targets.tir import Expr, loop
from graphopt.targets.weights import expect_whole


def conv_transpose_by_words(task: Task[ConvTransposeInteger], words: Words) -> Kernel:
    """Transposed convolution over one or two axes, in one group."""
    x, w, b = task.inputs
    weight, bias = constants_of(task)
    expect_whole(w)
    if x.type.rank > 4 or task.op.group > 1:
        raise Decline("it takes one or two axes, and one group")
    window = plane_window(task.op.window(w.type))
    size, out = ((1, *v.type.static_shape[2:])[-window.rank :] for v in (x, task.result))
    kinds = phases_of(window, size, out)
    if len(kinds) > MOST_KINDS:
        raise Decline(f"its windows are of {len(kinds)} kinds, more than {MOST_KINDS}")
    if any(0 in phases.plane.window.kernel for phases in kinds):
        raise Decline("some of its phases have no taps")
    dense = weight.swapaxes(0, 1).reshape(weight.shape[1], weight.shape[0], *window.kernel)
    parts = [phases_kernel(task, words, phases, len(dense), str(i)) for i, phases in enumerate(kinds)]
    packed: dict[str, Array] = {}
    for part in parts:
        packed |= part.constants(task, dense, bias)
    held = [item for part in parts for item in part.scratch.items()]
    scratch = {name: max((one for key, one in held if key == name), key=lambda one: one.size) for name, _ in held}

    def emit(frame: Frame) -> None:
        tail = Tail(frame, as_plane)
        tail.prefill()
        for part in parts:
            part.emit(frame, tail, x.type.static_shape[0])

    tile = choose_tile(task.target, kinds[0].plane.out[1], len(dense))
    return Kernel("conv_transpose", emit, packed, (w, b), tile, scratch=scratch)


def phases_kernel(
    task: Task[ConvTransposeInteger], words: Words, phases: Phases, outputs: int, part: str
) -> PhaseProducts:
    """The loops of phases whose windows are alike."""
    x, target = task.inputs[0].type, task.target
    tile, offset = choose_tile(target, phases.plane.out[1], outputs), words.offset(x.dtype)
    lanes, zero_point = words.size * target.lanes, task.op.zero_point + offset
    strips = PaddedStrips(
        phases.plane, x.static_shape[1], zero_point, words.dtype, lanes, tile.pixels, STRIP_BYTES, offset=offset
    )
    segments = padded_segments(outputs, target.lanes, tile.vectors)
    return PhaseProducts(words, strips, 1, outputs, segments, as_plane, tile.pixels, WHOLE, part, phases)


@dataclass(frozen=True)
class PhaseProducts(WordProducts):
    """The loops: batch, strip, phase by row and column, block of channels, row, tile of pixels, taps."""

    phases: Phases

    def constants(self, task: Task[ConvTransposeInteger], weight: Array, bias: Array) -> dict[str, Array]:
        """Weights [o, i, *k] and bias, of one phase after the other; raises ``Unsupported`` if sums may overflow."""
        dtype, zero_point = task.inputs[0].type.dtype, self.strips.fill_value
        weights, biases = [], []
        for taps in self.phases.each_weight(weight):
            prove_no_overflow(task.op, taps, bias, dtype, task.region.node.name)
            weights.append(self.packed(self.in_words(taps)))
            biases.append(self.packed(folded_bias(taps, bias, zero_point, self.words.range(dtype))))
        return {f"weight{self.part}": np.concatenate(weights), f"bias{self.part}": np.concatenate(biases)}

    def emit_strip(self, tile: Tile, n: Expr, origin: tuple[Expr, Expr], size: int) -> None:
        rows, columns = (len(axis.taps) for axis in self.phases.axes)
        with loop("phase_row", 0, rows) as row, loop("phase", 0, columns) as column:
            place = partial(self.phases.place, (row, column))
            first = Block(self.segments[0], n, 0, 0, (row * columns + column) * self.padded, place)
            self.emit_blocks(tile, first, origin, size)
