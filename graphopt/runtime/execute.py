"""Running a program: natively through ctypes, or its harness under QEMU."""

from __future__ import annotations

import _ctypes
import ctypes
import re
import statistics
import struct
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graphopt.errors import BudgetExceeded, ToolFailed
from graphopt.records import record
from graphopt.runtime.build import build_counter, build_harness, build_image, require, symbols
from graphopt.runtime.machine import Runner, Toolchain
from graphopt.runtime.manifest import ADVICE
from graphopt.runtime.sizes import check_sizes, header_sizes, library_sizes
from graphopt.runtime.templates import NOTICE, render

Array = npt.NDArray[Any]
Sample = Sequence[Array]
TIMEOUT_SECONDS = 1800


@dataclass(frozen=True)
class Run:
    """The outputs of each sample, and what one run cost: seconds natively, instructions under QEMU if counted."""

    outputs: list[list[Array]]
    seconds: float | None = None
    instructions: int | None = None


def execute(folder: Path, manifest: dict[str, Any], samples: Sequence[Sample], count: bool = False) -> Run:
    """Run an unpacked artifact on samples, each a list of input arrays of exactly the right type.

    Raises ``ToolFailed`` if the program or the emulator fails.
    """
    runner, toolchain = runner_of(manifest), toolchain_of(manifest)
    if runner.kind == "native":
        return execute_native(folder, manifest, samples)
    header = (folder / f"{manifest['name']}.h").read_text(errors="replace")
    check_sizes(header_sizes(header, manifest), manifest, f"{manifest['name']}.h")
    context = {"notice": NOTICE, "p": manifest["name"], "P": manifest["name"].upper()}
    ports = {k: [port_context(p) for p in manifest[k]] for k in ("inputs", "outputs")}
    (folder / "harness.c").write_text(render("harness.c", **context, **ports))
    write_samples(folder / "inputs.bin", samples)
    if runner.kind == "user":
        harness = build_harness(folder, manifest["name"], toolchain)
        command = [require(runner.emulator, runner.package), "-L", f"/usr/{toolchain.prefix.rstrip('-')}", str(harness)]
    else:
        check_flash(manifest, runner)
        harness = build_image(folder, manifest["name"], toolchain, runner, manifest["cflags"])
        command = [require(runner.emulator, runner.package), "-M", runner.machine, "-display", "none"]
        command += ["-monitor", "none", "-serial", "none", "-semihosting-config", "enable=on,target=native"]
        command += ["-kernel", str(harness)]
    if count:
        marks = symbols(harness, toolchain)
        plugin = f"{build_counter(folder)},start={marks['region_start']:#x},stop={marks['region_stop']:#x}"
        command[1:1] = ["-plugin", plugin]
    errors = run_emulator([*command, *runner.arguments], folder)
    regions = [int(n) for n in re.findall(r"^region (\d+)$", errors, re.MULTILINE)]
    # the first region is empty: it measures the overhead of the measurement
    instructions = regions[1] - regions[0] if len(regions) > 1 else None
    return Run(read_outputs(folder / "outputs.bin", manifest, len(samples)), instructions=instructions)


def check_flash(manifest: dict[str, Any], runner: Runner) -> None:
    """Raise ``BudgetExceeded`` if the weights alone are more than the flash of the emulated board."""
    if runner.flash and manifest["weight_bytes"] > runner.flash.size:
        needed = f"{manifest['weight_bytes']:,} bytes of weights"
        what = f"{needed}, the emulated {runner.machine} has {runner.flash.size:,} of flash"
        raise BudgetExceeded(what, advice="the C itself is fine: link it for a board with more flash")


def run_emulator(command: Sequence[str], folder: Path) -> str:
    """Run an emulator in a folder and return its error output."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolFailed(f"{Path(command[0]).name} did not end in {TIMEOUT_SECONDS} s") from error
    if done.returncode:
        raise ToolFailed(f"the program ended with status {done.returncode}", why=done.stderr.strip()[-1000:] or None)
    return done.stderr


def execute_native(folder: Path, manifest: dict[str, Any], samples: Sequence[Sample]) -> Run:
    """Load the shared library into this process, compare its sizes, call it, and unload it."""
    file = f"lib{manifest['name']}.so"
    try:
        library = ctypes.CDLL(str(folder / file))
    except OSError as error:
        raise ToolFailed("cannot be loaded", where=file, why=str(error), advice=ADVICE) from error
    try:
        check_sizes(library_sizes(library, manifest["name"]), manifest, file)
        return call_library(library[f"{manifest['name']}_run"], manifest, samples)
    finally:
        _ctypes.dlclose(library._handle)


def call_library(function: Any, manifest: dict[str, Any], samples: Sequence[Sample]) -> Run:
    """Call the function of a loaded library on each sample."""
    alignment = manifest["alignment"]
    workspace = aligned((manifest["workspace_bytes"],), "uint8", alignment)
    inputs, outputs = (
        [aligned(tuple(p["shape"]), p["dtype"], alignment) for p in manifest[k]] for k in ("inputs", "outputs")
    )
    pointers = [(ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays)) for arrays in (inputs, outputs)]
    results, seconds = [], []
    for sample in samples:
        for slot, data in zip(inputs, sample, strict=True):
            slot[...] = data
        started = time.perf_counter()
        status = function(*pointers, ctypes.c_void_p(workspace.ctypes.data), None)
        seconds.append(time.perf_counter() - started)
        if status:
            raise ToolFailed(f"the program ended with status {status}")
        results.append([a.copy() for a in outputs])
    return Run(results, seconds=statistics.median(seconds))


def aligned(shape: tuple[int, ...], dtype: str, alignment: int) -> Array:
    """A zeroed array whose data starts at a multiple of ``alignment``."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + size].view(dtype).reshape(shape)


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<I", len(samples)))
        for sample in samples:
            for data in sample:
                file.write(np.ascontiguousarray(data).tobytes())


def read_outputs(path: Path, manifest: dict[str, Any], samples: int) -> list[list[Array]]:
    """The arrays that the harness wrote; raises ``ToolFailed`` if some are missing."""
    ports = [(np.dtype(p["dtype"]), tuple(p["shape"])) for p in manifest["outputs"]]
    sizes = [dtype.itemsize * int(np.prod(shape)) for dtype, shape in ports]
    raw = path.read_bytes()
    if len(raw) != samples * sum(sizes):
        raise ToolFailed(f"the program wrote {len(raw)} bytes, {samples * sum(sizes)} were expected")
    results, at = [], 0
    for _ in range(samples):
        outputs = []
        for (dtype, shape), size in zip(ports, sizes, strict=True):
            outputs.append(np.frombuffer(raw, dtype, size // dtype.itemsize, at).reshape(shape).copy())
            at += size
        results.append(outputs)
    return results


def port_context(port: dict[str, Any]) -> dict[str, Any]:
    ctype = {"float32": "float", "float64": "double", "bool": "uint8_t"}.get(port["dtype"], f"{port['dtype']}_t")
    return {"ctype": ctype, "size": int(np.prod(port["shape"]))}


def toolchain_of(manifest: dict[str, Any]) -> Toolchain:
    """The toolchain of a manifest."""
    return record(Toolchain, manifest["toolchain"], "toolchain")


def runner_of(manifest: dict[str, Any]) -> Runner:
    """The runner of a manifest."""
    return record(Runner, manifest["runner"], "runner")
