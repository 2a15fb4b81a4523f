"""The bytes between server and clients: what is sent is what arrives, and anything else is refused, cheaply."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from learning import net

from graphopt.federated import Compression, Quantized, TopK
from graphopt.federated.layout import Layout
from graphopt.federated.wire import (
    UP,
    Order,
    Refused,
    Update,
    pack_order,
    pack_update,
    unpack_order,
    unpack_update,
)
from graphopt.ir import Array

LAYOUT = Layout.of(net())
SIZE = LAYOUT.size
HEAD = UP.size


def change(seed: int = 0) -> Array:
    return (np.random.default_rng(seed).standard_normal(SIZE) / 10).astype("float32")


def test_an_order_arrives() -> None:
    sent = Order(7, 6, change())
    data = pack_order(sent, LAYOUT)
    found = unpack_order(data, LAYOUT)
    assert len(data) == 24 + 4 * SIZE
    assert (found.round, found.accepted) == (7, 6) and np.array_equal(found.weights, sent.weights)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("bits", [32, 8, 4])
@pytest.mark.parametrize("fraction", [1.0, 0.3, 0.01])
def test_an_update_arrives(bits: int, fraction: float, masked: bool) -> None:
    values, known = change(), np.arange(SIZE) % 3 > 0 if masked else None
    data = pack_update(Update(3, 41, values, known), Compression(bits, fraction), LAYOUT)
    found = unpack_update(data, LAYOUT, 3)
    assert (found.round, found.samples) == (3, 41)
    assert found.known is None if known is None else np.array_equal(found.known, known)
    seen = values if known is None else np.where(known, values, 0)
    sent = np.argsort(-np.abs(seen), kind="stable")[
        : max(round(fraction * (SIZE if known is None else known.sum())), 1)
    ]
    assert set(np.flatnonzero(found.values)) <= set(sent)
    step = max(abs(seen[LAYOUT.blocks == block]).max() for block in range(len(LAYOUT.names))) / (2 ** (bits - 1) - 1)
    assert np.abs(found.values - seen)[sent].max() <= (0 if bits == 32 else step / 2 * 1.001)


SIZES = {
    "floats": (Compression(), 4 * SIZE),
    "8 bits": (Quantized(8), 4 * len(LAYOUT.names) + SIZE),
    "4 bits": (Quantized(4), 4 * len(LAYOUT.names) + (SIZE + 1) // 2),
    "a bit for each": (TopK(0.25), (SIZE + 7) // 8 + 4 * round(SIZE / 4)),
    "positions": (TopK(0.01), 4 + 6 * round(SIZE * 0.01)),
    "both": (Quantized(8) | TopK(0.25), (SIZE + 7) // 8 + 4 * len(LAYOUT.names) + round(SIZE / 4)),
}


@pytest.mark.parametrize(("how", "wanted"), SIZES.values(), ids=[*SIZES])
def test_how_long_it_is(how: Compression, wanted: int) -> None:
    assert len(pack_update(Update(1, 1, change()), how, LAYOUT)) == HEAD + wanted


def test_each_tensor_has_a_scale_of_its_own() -> None:
    values = change()
    values[LAYOUT.blocks == 0] *= 1e-4
    found = unpack_update(pack_update(Update(1, 1, values), Quantized(8), LAYOUT), LAYOUT, 1).values
    small = LAYOUT.blocks == 0
    assert np.abs(found - values)[small].max() < 1e-6 and found[small].any()


def head(**changed: object) -> bytes:
    told = {"magic": b"gofu", "version": 1, "bits": 32, "selection": 0, "masked": 0, "round": 1, "samples": 5}
    return UP.pack(*{**told, "digest": LAYOUT.digest, **changed}.values())


FLOATS = change().tobytes()
REFUSED = {
    "empty": (b"", "0 bytes are no message"),
    "pickle": (b"\x80\x04K\x01." + FLOATS, "no message of this version"),
    "version": (head(version=2) + FLOATS, "no message of this version"),
    "other model": (head(digest=b"12345678") + FLOATS, "of another model: its weights have other names or shapes"),
    "old round": (head(round=0) + FLOATS, "it is of round 0, and this is round 1"),
    "bits": (head(bits=16) + FLOATS, "its head is damaged"),
    "no samples": (head(samples=0) + FLOATS, "its head is damaged"),
    "short": (head() + FLOATS[:-1], f"it has {4 * SIZE - 1} bytes where {4 * SIZE} are wanted"),
    "long": (head() + FLOATS + b"\0", "are wanted"),
    "NaN": (head() + struct.pack("<f", float("nan")) + FLOATS[4:], "a number in it is not finite"),
    "infinity": (head() + struct.pack("<f", float("inf")) + FLOATS[4:], "a number in it is not finite"),
    "too large": (head() + struct.pack("<f", 1e30) + FLOATS[4:], "or beyond 1e\\+18"),
    "huge count": (head(selection=2) + struct.pack("<I", 2**32 - 1), "it is cut off"),
    "count beyond": (head(selection=2) + struct.pack("<I", SIZE + 1) + bytes(6 * SIZE), "it is cut off"),
    "same twice": (head(selection=2) + struct.pack("<IHHff", 2, 3, 3, 1, 1), "out of range or order"),
    "position beyond": (head(selection=2) + struct.pack("<IHf", 1, SIZE, 1), "out of range or order"),
    "bitmap cut off": (head(selection=1) + b"\xff", "it is cut off"),
    "mask cut off": (head(masked=1) + b"\xff", "it is cut off"),
    "scale": (head(bits=8) + struct.pack("<f", -1.0) * len(LAYOUT.names) + bytes(SIZE), "a scale in it"),
    "overflow": (head(bits=8) + struct.pack("<f", 3e38) * len(LAYOUT.names) + b"\x7f" * SIZE, "not finite"),
}


@pytest.mark.parametrize(("data", "message"), REFUSED.values(), ids=[*REFUSED])
def test_anything_else_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(Refused, match=message):
        unpack_update(data, LAYOUT, 1)


@given(st.binary(max_size=200), st.sampled_from([32, 8, 4]), st.integers(0, 3), st.integers(0, 2))
def test_any_bytes_are_an_update_or_refused(rest: bytes, bits: int, selection: int, masked: int) -> None:
    try:
        found = unpack_update(head(bits=bits, selection=selection, masked=masked) + rest, LAYOUT, 1)
    except Refused:
        return
    assert found.values.shape == (SIZE,) and np.isfinite(found.values).all()


def test_an_order_of_another_model_is_refused() -> None:
    data = pack_order(Order(1, 0, change()), LAYOUT)
    with pytest.raises(Refused, match="or other zeros"):
        unpack_order(data, Layout.of(net(zeros=True)))
    with pytest.raises(Refused, match="are wanted"):
        unpack_order(data[:-4], LAYOUT)
