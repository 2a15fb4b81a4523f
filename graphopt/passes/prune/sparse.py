"""Sparse weights stored compactly and exactly: a bit for each block, and the values of the nonzero blocks.

This saves flash, but no time: no target has a kernel that skips zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphopt.ir import Array


@dataclass(frozen=True)
class Compressed:
    """An array as a bitmap of blocks of ``block`` rows of the first axis, and the values of the nonzero blocks.

    Blocks are numbered along the rows first: block (i, j) holds elements [i * block : (i + 1) * block, j] of the
    array as a matrix [first axis, rest]. The last row of blocks may have fewer rows. ``bits`` has the bit of block
    (i, j) at i * columns + j, lowest bit of each byte first; ``values`` has the elements block by block.
    """

    dtype: str
    shape: tuple[int, ...]
    block: int
    bits: bytes
    values: bytes

    @property
    def nbytes(self) -> int:
        return len(self.bits) + len(self.values)

    def decode(self) -> Array:
        """The compressed array, with the same bits (except -0.0, which becomes 0.0)."""
        rows, columns = matrix_shape(self.shape)
        blocks = -(-rows // self.block)
        there = np.unpackbits(np.frombuffer(self.bits, np.uint8), count=blocks * columns, bitorder="little")
        values = np.frombuffer(self.values, self.dtype)
        data, at = np.zeros((rows, columns), self.dtype), 0
        for i, j in np.argwhere(there.reshape(blocks, columns)):
            part = data[i * self.block : (i + 1) * self.block, j]
            part[:] = values[at : at + len(part)]
            at += len(part)
        return data.reshape(self.shape)


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    rows = shape[0] if shape else 1
    return rows, int(np.prod(shape[1:])) if shape else 1


def compress(array: Array, block: int = 1) -> Compressed:
    """An array compressed in blocks of ``block`` rows; the result may be larger than the array."""
    rows, columns = matrix_shape(array.shape)
    matrix = array.reshape(rows, columns)
    starts = range(0, rows, block)
    there = np.stack([(matrix[s : s + block] != 0).any(0) for s in starts])
    values = [matrix[i * block : (i + 1) * block, j] for i, j in np.argwhere(there)]
    packed = np.packbits(there.ravel(), bitorder="little").tobytes()
    return Compressed(str(array.dtype), array.shape, block, packed, b"".join(v.tobytes() for v in values))


def smallest(array: Array) -> Compressed | None:
    """The smallest form with blocks of one or four rows; None if none is smaller than the array itself."""
    best = min((compress(array, block) for block in (1, 4)), key=lambda c: c.nbytes)
    return best if best.nbytes < array.nbytes else None
