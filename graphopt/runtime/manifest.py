"""The manifest of an artifact: it has the digests of the files, and is trusted only after every field was checked."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.runtime.machine import ABI_VERSION

MANIFEST = "manifest.json"
GENERATOR = "graphopt"
MAX_MANIFEST = 64 << 20
"""The most bytes of a manifest; one with ten thousand kernels has less than two million."""
MAX_BYTES = 1 << 40
"""The most bytes of a memory, a port, or the weights."""
MAX_MACS = 1 << 63
MAX_TURNS = 1 << 20
BINARY = (".so", ".o", ".bin")
"""The suffixes of files that nobody edits: libraries, and the kernels and weights of unlinked ones."""
ADVICE = "compile the model again"

Check = Callable[[Any, str], None]
"""Raises ``InvalidInput`` with the place if a value does not fit its field."""


def sealed(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files, with a manifest that has the SHA-256 of each file, and of itself without that entry.

    With these, ``save`` later finds the files that nobody changed.
    """
    manifest = read_manifest(files.get(MANIFEST))
    digests = {name: sha256(data) for name, data in sorted(files.items()) if name != MANIFEST}
    if manifest.get("files") == digests and is_sealed(manifest):
        return dict(files)
    manifest = {**manifest, "generator": GENERATOR, "files": digests}
    manifest["seal"] = seal_of(manifest)
    return {**files, MANIFEST: (json.dumps(manifest, indent=2) + "\n").encode()}


def is_sealed(manifest: Mapping[str, Any]) -> bool:
    """Whether graphopt wrote a manifest and nobody edited it."""
    return manifest.get("generator") == GENERATOR and manifest.get("seal") == seal_of(manifest)


def seal_of(manifest: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != "seal"}
    return sha256(json.dumps(rest, sort_keys=True).encode())


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def verified(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The manifest of a complete artifact; sources may have been edited, but not libraries and objects.

    Raises ``InvalidInput`` as ``read_manifest`` does, and for a file that is missing or damaged: a damaged library
    crashes the process that loads it.
    """
    manifest = read_manifest(files.get(MANIFEST))
    for name, digest in manifest.get("files", {}).items():
        if name not in files:
            raise InvalidInput("is missing", where=name, advice=ADVICE)
        if name.endswith(BINARY) and sha256(files[name]) != digest:
            raise InvalidInput("is not what was compiled", where=name, advice=ADVICE)
    return manifest


def read_manifest(data: bytes | None) -> dict[str, Any]:
    """A manifest with every field of the right type and in its range.

    Raises ``InvalidInput`` with the faulty field, and for a manifest that is damaged or of another version.
    """
    manifest = parse(data)
    version = manifest.get("abi_version")
    if type(version) is int and version != ABI_VERSION:
        what = f"it has version {version} of the interface, this graphopt runs version {ABI_VERSION}"
        raise InvalidInput(what, where=MANIFEST, advice=ADVICE)
    CHECK(manifest, "")
    runs = manifest.get("loops", [])
    fit = all(len(run) == 2 for run in runs) and sum(calls for _, calls in runs) == len(manifest["kernels"])
    expect(fit or not runs, "loops", runs, "the turns and calls of loops over all kernels")
    for kind in ("inputs", "outputs"):
        names = [port["name"] for port in manifest[kind]]
        expect(len(set(names)) == len(names), kind, names, "names that differ")
        for port in manifest[kind]:
            check_port(port, manifest["batched"])
    return manifest


def parse(data: bytes | None) -> dict[str, Any]:
    """The JSON object of a manifest; raises ``InvalidInput`` for anything else."""
    if data is None:
        raise InvalidInput(f"there is no {MANIFEST}", advice=ADVICE)
    if len(data) > MAX_MANIFEST:
        raise InvalidInput(f"has more than {MAX_MANIFEST:,} bytes", where=MANIFEST, advice=ADVICE)
    try:
        found = json.loads(data.decode(), parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("is not one of graphopt's", where=MANIFEST, why=str(error), advice=ADVICE) from error
    if not isinstance(found, dict):
        raise InvalidInput("is not one of graphopt's", where=MANIFEST, why="it is no object", advice=ADVICE)
    return found


def refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def check_port(port: Mapping[str, Any], batched: bool) -> None:
    """Check the fields of a port against each other: its bytes, its batch, and its scale and zero_point."""
    where, shape = f"port {port['name']!r}", port["shape"]
    expect(math.prod(shape) * np.dtype(port["dtype"]).itemsize <= MAX_BYTES, where, shape, "a shape that fits memory")
    expect(bool(shape) or not batched, where, shape, "a shape with a batch")
    expect(("scale" in port) == ("zero_point" in port), where, port, "a scale with a zero point")
    if "pixels" in port:
        expect(port["dtype"] == "uint8" and "scale" not in port, where, port["dtype"], "uint8, the dtype of pixels")
        parts = [port["pixels"][what] for what in ("mean", "std")]
        expect(port["pixels"]["scale"] != 0 and all(parts), where, port["pixels"], "a scale, means and deviations")
    if "scale" in port:
        expect(port["dtype"] in INTEGERS, where, port["dtype"], "an integer that can be quantized to")
        limits = np.iinfo(port["dtype"])
        expect(limits.min <= port["zero_point"] <= limits.max, where, port["zero_point"], f"a {port['dtype']}")


def expect(holds: bool, where: str, value: Any, wanted: str) -> None:
    if not holds:
        text = repr(value)
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        raise InvalidInput(f"{shown} is not {wanted}", where=f"{MANIFEST}: {where}", advice=ADVICE)


def plain(value: Any, where: str) -> None:
    expect(isinstance(value, str) and value.isprintable(), where, value, "a printable text")


def text(value: Any, where: str) -> None:
    expect(isinstance(value, str), where, value, "a text")


def flag(value: Any, where: str) -> None:
    expect(isinstance(value, bool), where, value, "true or false")


def whole(low: int, high: int) -> Check:
    def check(value: Any, where: str) -> None:
        expect(type(value) is int and low <= value <= high, where, value, f"a whole number of {low} to {high}")

    return check


def positive(value: Any, where: str) -> None:
    limits = np.finfo(np.float32)
    number = type(value) in (int, float) and float(limits.smallest_subnormal) <= value <= float(limits.max)
    expect(number, where, value, "a positive number of float32")


def number(value: Any, where: str) -> None:
    finite = type(value) in (int, float) and abs(value) <= float(np.finfo(np.float32).max)
    expect(finite, where, value, "a number of float32")


def power_of_two(value: Any, where: str) -> None:
    expect(type(value) is int and 0 < value <= 1 << 16 and not value & (value - 1), where, value, "a power of two")


def one_of(*options: str) -> Check:
    def check(value: Any, where: str) -> None:
        expect(isinstance(value, str) and value in options, where, value, f"one of {', '.join(options)}")

    return check


def matching(pattern: str, wanted: str) -> Check:
    def check(value: Any, where: str) -> None:
        expect(isinstance(value, str) and re.fullmatch(pattern, value) is not None, where, value, wanted)

    return check


def listed(item: Check) -> Check:
    def check(value: Any, where: str) -> None:
        expect(isinstance(value, list), where, value, "a list")
        for position, element in enumerate(value):
            item(element, f"{where}[{position}]")

    return check


def mapped(key: Check, item: Check) -> Check:
    def check(value: Any, where: str) -> None:
        expect(isinstance(value, dict), where, value, "an object")
        for name, element in value.items():
            key(name, where)
            item(element, f"{where}.{name[:60]}")

    return check


def optional(item: Check) -> Check:
    return lambda value, where: None if value is None else item(value, where)


def fields(required: Mapping[str, Check], others: Mapping[str, Check] | None = None) -> Check:
    """The check of an object with exactly these fields; those of ``others`` may be missing."""
    known = {**required, **(others or {})}

    def check(value: Any, where: str) -> None:
        expect(isinstance(value, dict), where, value, "an object")
        for what, names in (
            ("lacks", [k for k in required if k not in value]),
            ("has no field", set(value) - set(known)),
        ):
            if names:
                place = f"{MANIFEST}: {where}" if where else MANIFEST
                raise InvalidInput(f"{what} {', '.join(sorted(names))[:200]}", where=place, advice=ADVICE)
        for name, element in value.items():
            known[name](element, f"{where}.{name}" if where else name)

    return check


INTEGERS = ("int8", "uint8", "int16", "uint16", "int32")
DTYPES = ("float32", "float64", "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
SIZE = whole(0, MAX_BYTES)
COUNT = whole(0, MAX_MACS)
DIGEST = matching("[0-9a-f]{64}", "a SHA-256")
FILE_NAME = matching(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,80}", "the name of a file")
PREFIX = matching("[a-z][a-z0-9_]{0,30}", "a C prefix")
MEMORY = fields({"origin": whole(0, (1 << 32) - 1), "size": whole(1, 1 << 32)})
PIXELS = fields({"scale": number, "mean": listed(number), "std": listed(positive)})
"""Of bytes p that stand for (p * scale - mean) / std, with numbers of each channel or one of all."""
PORT = fields(
    {"name": text, "dtype": one_of(*DTYPES), "shape": listed(whole(1, MAX_BYTES))},
    {"scale": positive, "zero_point": whole(-(1 << 31), (1 << 31) - 1), "pixels": PIXELS},
)
KERNEL = fields(
    {"node": text, "kernel": text, "operators": text},
    {
        "macs": whole(0, MAX_MACS),
        "weight_bytes": SIZE,
        "live_bytes": SIZE,
        "products": text,
        "moved_bytes": SIZE,
        "rule": text,
        "tile": text,
        "layout": text,
        "others": listed(text),
    },
)
CHECK = fields(
    {
        "name": PREFIX,
        "abi_version": whole(ABI_VERSION, ABI_VERSION),
        "graphopt": text,
        "target": text,
        "codegen": one_of("llvm", "c"),
        "toolchain": fields({"compiler": plain, "flags": listed(plain), "package": plain}),
        "runner": fields(
            {
                "kind": one_of("native", "user", "board"),
                "emulator": plain,
                "arguments": listed(plain),
                "package": plain,
                "machine": plain,
                "flash": optional(MEMORY),
                "ram": optional(MEMORY),
            }
        ),
        "cflags": listed(plain),
        "alignment": power_of_two,
        "workspace_bytes": SIZE,
        "weight_bytes": SIZE,
        "batched": flag,
        "inputs": listed(PORT),
        "outputs": listed(PORT),
        "kernels": listed(KERNEL),
    },
    {
        "workspace_bound": SIZE,
        "pushed_rows": whole(1, MAX_BYTES),
        "streams": listed(
            fields({"first": text, "last": text, "rows": text, "instructions": whole(-MAX_MACS, MAX_MACS)})
        ),
        "loops": listed(listed(whole(1, MAX_TURNS))),
        "optimize": one_of("size", "balanced", "speed"),
        "candidates": listed(
            fields(
                {
                    "node": text,
                    "rule": text,
                    "chosen": flag,
                    "instructions": COUNT,
                    "cycles": COUNT,
                    "flash_bytes": SIZE,
                    "scratch_bytes": SIZE,
                }
            )
        ),
        "predicted": fields({"instructions": COUNT, "cycles": COUNT, "code_bytes": SIZE}),
        "stack_bytes": SIZE,
        "generator": one_of(GENERATOR),
        "files": mapped(FILE_NAME, DIGEST),
        "seal": DIGEST,
    },
)
"""The fields of a manifest. A name may be any text, since models have any; it is made printable for output."""
