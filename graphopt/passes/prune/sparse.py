"""Sparse weights stored compactly, and exactly: a bit for each block that is there, then the values of those.

What this saves is flash: no target has a kernel that skips zeros, so no speed follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphopt.ir import Array


@dataclass(frozen=True)
class Compressed:
    """An array as a bitmap of blocks of ``block`` rows of the first axis, and the values of those not all zero.

    Blocks are numbered along the rows first: block (i, j) holds elements [i * block : (i + 1) * block, j] of the
    array as a matrix [first axis, rest]; the last row of blocks may be lower. ``bits`` has the bit of block (i, j)
    at i * columns + j, lowest bit of each byte first; ``values`` has the elements block by block.
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
        """The array, bit by bit the one that was compressed (but -0.0, which is 0.0)."""
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
    """An array in blocks of so many rows; any array can be, whether it gets smaller or not."""
    rows, columns = matrix_shape(array.shape)
    matrix = array.reshape(rows, columns)
    starts = range(0, rows, block)
    there = np.stack([(matrix[s : s + block] != 0).any(0) for s in starts])
    values = [matrix[i * block : (i + 1) * block, j] for i, j in np.argwhere(there)]
    packed = np.packbits(there.ravel(), bitorder="little").tobytes()
    return Compressed(str(array.dtype), array.shape, block, packed, b"".join(v.tobytes() for v in values))


def smallest(array: Array) -> Compressed | None:
    """The smallest form by blocks of one or four rows; None where none is smaller than the array itself."""
    best = min((compress(array, block) for block in (1, 4)), key=lambda c: c.nbytes)
    return best if best.nbytes < array.nbytes else None
