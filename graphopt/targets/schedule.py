"""Schedules: the register tile that a kernel computes at once, sized by the registers and lanes of the target."""

from __future__ import annotations

from dataclasses import dataclass

from graphopt.targets.target import Target

MAX_PIXELS = 14
MAX_VECTORS = {1: 4, 4: 2, 8: 2, 16: 2}
"""The most channel vectors side by side in a tile, by lanes: wide machines reuse a broadcast pixel less."""


@dataclass(frozen=True)
class Segment:
    """A run of ``blocks`` equal blocks of channels from ``start``, each of ``vectors`` vectors of ``lanes``."""

    start: int
    blocks: int
    vectors: int
    lanes: int

    @property
    def width(self) -> int:
        """The channels of one block."""
        return self.vectors * self.lanes


@dataclass(frozen=True)
class RegisterTile:
    """A tile in registers: ``pixels`` positions of a row by ``vectors`` vectors of channels."""

    pixels: int
    vectors: int


INTEGER_ACCUMULATORS = 8
"""Accumulators in the 13 integer registers of a scalar machine; pointers, operands and loop variables need the rest."""


def choose_tile(target: Target, row: int, channels: int, integers: bool = False) -> RegisterTile:
    """A tile for rows of ``row`` pixels and ``channels`` channels.

    Accumulators take all registers except those for the operands: one vector of weights per column of the tile, and on
    scalar machines also one value per pixel. With ``integers``, scalar machines use their integer registers.
    """
    if integers and target.lanes == 1:
        wide = min(channels, INTEGER_ACCUMULATORS if row == 1 else INTEGER_ACCUMULATORS // 2)
        return RegisterTile(balanced(row, min(row, INTEGER_ACCUMULATORS // wide)), wide)
    vectors = max(1, channels // target.lanes)
    most = MAX_VECTORS[target.lanes]
    wide = min(vectors, 4 * most if row == 1 else most)
    spare = target.registers - wide - 2 if target.lanes > 1 else (target.registers - wide) * 3 // 4
    pixels = max(1, min(MAX_PIXELS, spare // wide, row))
    return RegisterTile(balanced(row, pixels), wide)


MOST_COLUMN_VECTORS = 8
"""Side by side in a tile of a few rows: enough sums at once, so that none waits for the one before."""


def choose_product_tile(target: Target, rows: int, columns: int) -> RegisterTile:
    """A tile of a matrix product: few rows get many vectors of columns, many rows two, or one if there is only one."""
    vectors = -(-columns // target.lanes)
    spare = target.registers - 2  # beside sums and columns: an element of the rows, and a product
    tall = balanced(rows, min(rows, spare // 2 - 1 if vectors > 1 else spare - 1))
    return RegisterTile(tall, max(1, min(vectors, MOST_COLUMN_VECTORS, spare // (tall + 1))))


def balanced(total: int, most: int) -> int:
    """The size, at most ``most``, that cuts ``total`` into the fewest parts, as equal as possible."""
    return -(-total // -(-total // most))


def even(total: int, most: int) -> int:
    """The greatest size of more than half of ``most`` that cuts ``total`` into equal parts, else a balanced one."""
    dividing = [size for size in range(most, most // 2, -1) if total % size == 0]
    return dividing[0] if dividing else balanced(total, min(total, most))


def channel_segments(channels: int, lanes: int, vectors: int) -> list[Segment]:
    """Cut channels into blocks of ``vectors`` vectors, then one of fewer vectors, then ever narrower vectors."""
    segments, start = [], 0
    while lanes:
        left = (channels - start) // lanes
        for size in (vectors, left % vectors):
            if size and (blocks := (channels - start) // (size * lanes)):
                segments.append(Segment(start, blocks, size, lanes))
                start += blocks * size * lanes
        lanes //= 2
    return segments


LEAST_LANES = 4
"""Of the narrowest vector."""


def padded_segments(channels: int, lanes: int, vectors: int) -> list[Segment]:
    """Channels in blocks of vectors; the last block may have lanes that count nothing, and has as few as it needs."""
    full, left = divmod(channels, vectors * lanes)
    blocks = [Segment(0, full, vectors, lanes)] * bool(full)
    if left:
        narrow = min(lanes, max(LEAST_LANES, 1 << (left - 1).bit_length()))
        blocks.append(Segment(channels - left, 1, -(-left // narrow), narrow))
    return blocks


def runs(total: int, size: int) -> list[tuple[int, int, int]]:
    """Cut ``total`` into runs (start, count, size): full parts, then one smaller part for the rest."""
    full, left = divmod(total, size)
    return [(0, full, size)] * bool(full) + [(full * size, 1, left)] * bool(left)


def powers_of_two(count: int) -> list[tuple[int, int]]:
    """Cut a count into powers of two, (start, size), the largest first."""
    parts, start = [], 0
    for bit in reversed(range(count.bit_length())):
        if count >> bit & 1:
            parts.append((start, 1 << bit))
            start += 1 << bit
    return parts
