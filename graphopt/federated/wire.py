"""The bytes that go between server and clients.

    down   magic "gofd", version, round, the round whose update of this client was last accepted, digest of the layout,
           the weights in float32
    up     magic "gofu", version, bits, selection, own zeros, round, samples, digest of the layout,
           [a bit for each number: 0 where the client has pruned it] [selection] [a scale for each tensor] numbers

All is little-endian. Both sides know the layout, so names and shapes are not sent, and all sizes follow from the head:
they are checked before anything is allocated. Nothing is unpickled.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphopt.federated.compression import BITS, Compression
from graphopt.federated.layout import Layout
from graphopt.ir import Array

VERSION = 1
DOWN, UP = struct.Struct("<4sB3xII8s"), struct.Struct("<4sBBBBII8s")
LARGEST = 1e18
"""No weight changes by more; a sum of such numbers is finite."""
EVERY, BITMAP, POSITIONS = 0, 1, 2
"""How the numbers that are sent are told from the others."""


class Refused(ValueError):
    """A message that cannot be used; the text says why."""


@dataclass(frozen=True, eq=False)
class Update:
    """What a client sends: by how much its weights have changed.

    Attributes:
        round: of which it is.
        samples: how many the client has learned from.
        values: float32 ``[size]`` of the layout.
        known: which of them the client has an opinion on; None is all. It has none on weights that it has pruned.
    """

    round: int
    samples: int
    values: Array
    known: Array | None = None


@dataclass(frozen=True, eq=False)
class Order:
    """What the server sends: the weights ``[size]`` to learn from in a round, and the client's last accepted round."""

    round: int
    accepted: int
    weights: Array


def pack_order(order: Order, layout: Layout) -> bytes:
    head = DOWN.pack(b"gofd", VERSION, order.round, order.accepted, layout.digest)
    return head + order.weights.astype("<f4").tobytes()


def unpack_order(data: bytes, layout: Layout) -> Order:
    """Raises ``Refused`` for anything but an order of this layout."""
    magic, version, number, accepted, digest = head_of(DOWN, data)
    checked_head(magic == b"gofd", version, digest, layout)
    checked_length(data, DOWN.size + 4 * layout.size)
    weights = np.frombuffer(data, "<f4", layout.size, DOWN.size).astype(np.float32)
    if not np.isfinite(weights).all():
        raise Refused("a weight is not finite")
    return Order(number, accepted, weights)


def pack_update(update: Update, how: Compression, layout: Layout) -> bytes:
    """The bytes of an update, after its compression."""
    known = np.ones(layout.size, bool) if update.known is None else update.known
    places = np.flatnonzero(known)
    values, selection, told = update.values[places].astype(np.float32), EVERY, b""
    if how.fraction < 1:
        chosen = largest(values, how.fraction)
        selection, told = selected(chosen, len(places))
        places, values = places[chosen], values[chosen]
    mask = b"" if update.known is None else np.packbits(known).tobytes()
    head = UP.pack(
        b"gofu", VERSION, how.bits, selection, bool(mask), update.round, min(update.samples, 2**32 - 1), layout.digest
    )
    return head + mask + told + numbers(values, layout.blocks[places], how.bits, len(layout.names))


def largest(values: Array, fraction: float) -> Array:
    """The places of the largest magnitudes, in order; of equals the first."""
    count = min(max(round(fraction * len(values)), 1), len(values))
    return np.sort(np.argsort(-np.abs(values), kind="stable")[:count])


def selected(chosen: Array, total: int) -> tuple[int, bytes]:
    """Which places are chosen, in the fewest bytes: a bit for each, or a count and the positions."""
    as_positions = struct.pack("<I", len(chosen)) + chosen.astype(position_type(total)).tobytes()
    if len(as_positions) < -(-total // 8):
        return POSITIONS, as_positions
    bits = np.zeros(total, bool)
    bits[chosen] = True
    return BITMAP, np.packbits(bits).tobytes()


def position_type(total: int) -> str:
    return "<u2" if total <= 1 << 16 else "<u4"


def numbers(values: Array, blocks: Array, bits: int, count: int) -> bytes:
    """Numbers as floats, or as the scales of their tensors and integers."""
    if bits == 32:
        return values.astype("<f4").tobytes()
    limit = 2 ** (bits - 1) - 1
    scales = np.zeros(count, np.float32)
    np.maximum.at(scales, blocks, np.abs(values) / np.float32(limit))
    own = scales[blocks]
    steps = np.rint(np.divide(values, own, out=np.zeros_like(values), where=own > 0))
    integers = np.clip(steps, -limit, limit).astype(np.int8)
    return scales.astype("<f4").tobytes() + (integers if bits == 8 else nibbles(integers)).tobytes()


def nibbles(integers: Array) -> Array:
    """Two integers of 4 bits in each byte, the first in the lower half."""
    even = np.append(integers, np.zeros(len(integers) % 2, np.int8)).astype(np.uint8) & 15
    return even[::2] | even[1::2] << 4


def from_nibbles(data: Array, count: int) -> Array:
    both = np.stack([data & 15, data >> 4], 1).reshape(-1)[:count].astype(np.int8)
    return both - 16 * (both > 7).astype(np.int8)


def unpack_update(data: bytes, layout: Layout, wanted: int) -> Update:
    """The update in the bytes of a client, for the round that is ``wanted``.

    Raises ``Refused`` for one of another round or model, of another length than its head says, and for numbers that are
    not finite or too large.
    """
    magic, version, bits, selection, masked, number, samples, digest = head_of(UP, data)
    checked_head(magic == b"gofu", version, digest, layout)
    if number != wanted:
        raise Refused(f"it is of round {number}, and this is round {wanted}")
    if bits not in BITS or selection not in (EVERY, BITMAP, POSITIONS) or masked > 1 or not samples:
        raise Refused("its head is damaged")
    rest, known = memoryview(data)[UP.size :], None
    if masked:
        known, rest = bits_of(rest, layout.size)
    places = np.arange(layout.size) if known is None else np.flatnonzero(known)
    if selection == BITMAP:
        chosen, rest = bits_of(rest, len(places))
        places = places[chosen]
    elif selection == POSITIONS:
        chosen, rest = positions_of(rest, len(places))
        places = places[chosen]
    values = np.zeros(layout.size, np.float32)
    values[places] = numbers_of(rest, layout.blocks[places], bits, len(layout.names))
    if not (np.abs(values) <= LARGEST).all():
        raise Refused(f"a number in it is not finite, or beyond {LARGEST:g}")
    return Update(number, samples, values, known)


def head_of(form: struct.Struct, data: bytes) -> tuple[Any, ...]:
    if len(data) < form.size:
        raise Refused(f"{len(data)} bytes are no message")
    return form.unpack_from(data)


def checked_head(magic: bool, version: int, digest: object, layout: Layout) -> None:
    if not magic or version != VERSION:
        raise Refused("it is no message of this version")
    if digest != layout.digest:
        raise Refused("it is of another model: its weights have other names or shapes, or other zeros")


def checked_length(data: bytes | memoryview, wanted: int) -> None:
    if len(data) != wanted:
        raise Refused(f"it has {len(data)} bytes where {wanted} are wanted")


def bits_of(data: memoryview, count: int) -> tuple[Array, memoryview]:
    """So many bits, and the bytes after them."""
    size = -(-count // 8)
    if len(data) < size:
        raise Refused("it is cut off")
    bits = np.unpackbits(np.frombuffer(data[:size], np.uint8), count=count).astype(bool)
    return bits, data[size:]


def positions_of(data: memoryview, total: int) -> tuple[Array, memoryview]:
    """Positions below ``total``, and the bytes after them."""
    count = int.from_bytes(data[:4], "little")
    kind = np.dtype(position_type(total))
    end = 4 + count * kind.itemsize
    if count > total or len(data) < end:
        raise Refused("it is cut off")
    found = np.frombuffer(data[4:end], kind).astype(np.int64)
    if count and (found[-1] >= total or (np.diff(found) <= 0).any()):
        raise Refused("its positions are out of range or order")
    return found, data[end:]


def numbers_of(data: memoryview, blocks: Array, bits: int, count: int) -> Array:
    """The numbers in the rest of a message, float32."""
    total = len(blocks)
    if bits == 32:
        checked_length(data, 4 * total)
        return np.frombuffer(data, "<f4").astype(np.float32)
    checked_length(data, 4 * count + math.ceil(total * bits / 8))
    scales = np.frombuffer(data[: 4 * count], "<f4").astype(np.float32)
    if not (np.isfinite(scales) & (scales >= 0)).all():
        raise Refused("a scale in it is not finite")
    rest = np.frombuffer(data[4 * count :], np.uint8)
    integers = rest.view(np.int8) if bits == 8 else from_nibbles(rest, total)
    with np.errstate(over="ignore"):
        return integers.astype(np.float32) * scales[blocks]
