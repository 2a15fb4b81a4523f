"""Files of samples: what is wrong with one ends in a message and takes no memory, and what is meant is found."""

from __future__ import annotations

import io
import resource
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from shell import Shell

from graphopt.cli import arrays
from graphopt.cli.arrays import open_arrays, read_all
from graphopt.errors import InvalidInput


def header(text: str, version: int = 1, length: int | None = None) -> bytes:
    data = text.encode("latin-1") + b"\n"
    count = len(data) if length is None else length
    return b"\x93NUMPY" + bytes([version, 0]) + count.to_bytes(2 if version == 1 else 4, "little") + data


def npy(array: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array), allow_pickle=True)
    return file.getvalue()


def npz(content: bytes = npy(np.ones((4, 3), "float32")), name: str = "x.npy") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def patched(data: bytes, at: int, value: int) -> bytes:
    """An archive with a field of two bytes changed in the local header and, two bytes further in, in the directory."""
    made = bytearray(data)
    struct.pack_into("<H", made, at, value)
    struct.pack_into("<H", made, data.index(b"PK\x01\x02") + at + 2, value)
    return bytes(made)


def bomb() -> bytes:
    """Two million zeros in two thousand bytes."""
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (2000000,), }"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        member.write(header(text))
        for _ in range(8):
            member.write(bytes(1_000_000))
    return file.getvalue()


def shape(text: str, descr: str = "'<f4'") -> bytes:
    return header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {text}, }}")


FALSE: dict[str, Callable[[], tuple[bytes, str]]] = {
    "4 TiB": lambda: (shape("(1099511627776,)"), "claims 4,398,046,511,104 bytes"),
    "beyond all numbers": lambda: (shape(f"({'9' * 40},)"), "claims"),
    "a negative size": lambda: (shape("(-1, 3)") + bytes(12), "shape"),
    "no shape": lambda: (shape("'x'"), "damaged"),
    "a deep header": lambda: (header("(" * 5000), "damaged"),
    "a long header": lambda: (header("", 2, 1 << 31), "its header has"),
    "no header": lambda: (b"\x93NUMPY", "no .npy"),
    "another version": lambda: (b"\x93NUMPY\x07\x00", "no .npy"),
    "cut short": lambda: (npy(np.ones(9))[:-1], "cut short"),
    "objects": lambda: (npy(np.array([{}], dtype=object)), "pickled objects"),
    "a pickle": lambda: (b"\x80\x04\x95", "neither .npy nor .npz"),
    "records": lambda: (npy(np.zeros(3, [("a", "f4"), ("b", "i4")])), "is of"),
    "texts": lambda: (npy(np.array(["cat"])), "is of <U3"),
    "complex numbers": lambda: (npy(np.zeros(3, "complex64")), "is of complex64"),
    "times": lambda: (npy(np.zeros(3, "datetime64[s]")), "is of datetime64"),
    "a torn archive": lambda: (npz()[:-30], "cannot be read"),
    "a damaged archive": lambda: (npz().replace(b"NUMPY", b"NUMPX", 1)[:60] + b"\xff" * 8 + npz()[68:], ""),
    "an encrypted archive": lambda: (patched(npz(), 6, 1), "is encrypted"),
    "method 99": lambda: (patched(npz(), 8, 99), "method 99"),
    "method 12": lambda: (patched(npz(), 8, 12), "method 12"),
    "no arrays": lambda: (npz(b"hello", "readme.txt"), "no .npy"),
    "a false size": lambda: (npz(shape("(1000000,)") + bytes(100)), "claims"),
    "nothing": lambda: (b"", "neither"),
}


@pytest.mark.parametrize("case", FALSE)
def test_a_false_file_is_a_message_and_no_memory(case: str, tmp_path: Path) -> None:
    data, message = FALSE[case]()
    file = tmp_path / "data.npz"
    file.write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidInput, match=r"data\.npz") as caught:
        read_all(file)
    assert message in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "KiB"


GOOD = {
    "plain": np.arange(6, dtype="float32").reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype="float32").reshape(2, 3)),
    "big-endian": np.arange(6, dtype=">f4").reshape(2, 3),
    "of no elements": np.zeros((0, 3), "float32"),
    "a number": np.float64(2.5),
    "truth": np.array([True, False]),
    "half": np.ones(3, "float16"),
    "bytes": np.arange(5, dtype="uint8"),
}


@pytest.mark.parametrize("case", GOOD)
def test_what_numpy_writes_is_read(case: str, tmp_path: Path) -> None:
    want = GOOD[case]
    np.save(tmp_path / "a.npy", want)
    np.savez(tmp_path / "a.npz", a=want)
    np.savez_compressed(tmp_path / "b.npz", a=want)
    for file, name in (("a.npy", ""), ("a.npz", "a"), ("b.npz", "a")):
        got = read_all(tmp_path / file)[name]
        assert got.dtype == want.dtype.newbyteorder("=") and got.flags.c_contiguous and got.shape == want.shape
        np.testing.assert_array_equal(got, want)


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.npz").write_bytes(bomb())
    with open_arrays(tmp_path / "a.npz") as found:
        assert str(found["x"]) == "float32[2000000]"
    monkeypatch.setattr(arrays, "MAX_BYTES", 1 << 20)
    with pytest.raises(InvalidInput, match="8,000,000 bytes, 1,048,576 are the most"):
        read_all(tmp_path / "a.npz")


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((8, 3, 6, 6))
    np.savez(tmp_path / "named.npz", x=images, y_train=np.arange(8))
    np.savez(tmp_path / "other.npz", images=images, labels=np.arange(8))
    np.savez(tmp_path / "two.npz", train=images, test=images)
    np.save(tmp_path / "labels.npy", np.arange(8))
    return tmp_path


def test_labels_beside_the_samples(shell: Shell, model: Path, labelled: Path) -> None:
    words = ("compile", model, "-o", labelled / "out", "-t", "cortex-m4", "--quantize", "int8", "--calibration")
    shell(*words, labelled / "named.npz")
    assert "takes y_train: ignored" in shell.errors
    shell(*words, labelled / "other.npz")
    assert "takes labels: ignored" in shell.errors
    error = shell(*words, labelled / "two.npz", status=2)
    assert "nothing for x (it has train float64[8, 3, 6, 6], test float64[8, 3, 6, 6])" in error and "--key" in error
    shell(*words, labelled / "two.npz", "--key", "x=train")
    shell("opt", model, "-p", "quantize", "--calibration", labelled / "other.npz", "--key", "images")
    assert "has no array 'image'" in shell(*words, labelled / "other.npz", "--key", "image", status=2)
    assert "'z' is no input" in shell(*words, labelled / "other.npz", "--key", "z=images", status=2)
    assert "int64" in shell(*words, labelled / "other.npz", "--key", "labels", status=2)
    assert "int64" in shell(*words, labelled / "labels.npy", status=2)


def test_samples_that_nobody_reads_and_readers_without(shell: Shell, model: Path, labelled: Path) -> None:
    data = labelled / "named.npz"
    for command in (("compile", "-o", labelled / "o"), ("opt",)):
        assert "none of the passes" in shell(command[0], model, *command[1:], "--calibration", data, status=2)
    assert "--calibration samples.npz" in shell("compile", model, "-o", labelled / "o", "--quantize", "int8", status=2)
    assert "--key" in shell("opt", model, "--key", "x", status=2)
    shell("opt", model, "-p", "quantize", "--calibration", data, "-o", labelled / "o.gopt")
