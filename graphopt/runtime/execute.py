"""Running a program that is not for this machine: its harness under QEMU."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from graphopt.errors import BudgetExceeded, ToolFailed
from graphopt.records import record
from graphopt.runtime.buffers import Array
from graphopt.runtime.build import build_counter, build_harness, build_image, require, symbols
from graphopt.runtime.machine import Runner, Toolchain
from graphopt.runtime.sizes import check_sizes, header_sizes
from graphopt.runtime.templates import NOTICE, render

T = TypeVar("T")
Sample = Sequence[Array]
TIMEOUT_SECONDS = 1800


@dataclass(frozen=True)
class Run:
    """The outputs of each sample, and what one run cost: seconds natively, instructions under QEMU if counted.

    ``per_kernel`` has the instructions of each kernel call of it, in the order of the manifest, with those of what it
    calls; the rest are the driver's. None where no emulated board counts, or a kernel is no function of its own.
    ``cycles`` and ``cycles_per_kernel`` are the same in cycles of the proxy (docs/microcontrollers.md).
    ``seconds_per_kernel`` is what ``Program.profile`` gives.
    """

    outputs: list[list[Array]]
    seconds: float | None = None
    instructions: int | None = None
    per_kernel: tuple[int, ...] | None = None
    cycles: int | None = None
    cycles_per_kernel: tuple[int, ...] | None = None
    seconds_per_kernel: tuple[float, ...] | None = None


def execute(folder: Path, manifest: dict[str, Any], samples: Sequence[Sample], count: bool = False) -> Run:
    """Run an unpacked artifact under its emulator on samples, each a list of input arrays of exactly the right type.

    Raises ``ToolFailed`` if the program or the emulator fails.
    """
    runner, toolchain = runner_of(manifest), toolchain_of(manifest)
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
        places = counted_places(symbols(harness, toolchain), manifest)
        options = [str(build_counter(folder)), *(f"{k}={at:#x}" for k, at in places)]
        options += ["thumb=1"] if runner.kind == "board" else []
        command[1:1] = ["-plugin", ",".join(options)]
    errors = run_emulator([*command, *runner.arguments], folder)
    outputs = read_outputs(folder / "outputs.bin", manifest, len(samples))
    instructions, per_kernel = counts_of(errors, manifest, 0)
    if runner.kind != "board":
        return Run(outputs, instructions=instructions)
    return Run(outputs, None, instructions, per_kernel, *counts_of(errors, manifest, 1))


def counted_places(known: dict[str, tuple[int, int]], manifest: dict[str, Any]) -> list[tuple[str, int]]:
    """The addresses that the counter is told: the region, and on a board the driver and the kernels that it calls."""
    name = manifest["name"]
    places = [("start", known["region_start"][0]), ("stop", known["region_stop"][0])]
    kernels = {known.get(f"{name}_{row['kernel']}") for row in manifest["kernels"]}
    if f"{name}_run" not in known or None in kernels:
        return places
    driver, end = known[f"{name}_run"]
    entries = (("entry", place[0]) for place in kernels if place is not None)
    return [*places, ("driver", driver), ("driver_end", end), *entries]


def loops_of(manifest: dict[str, Any]) -> list[tuple[int, int]]:
    """The loops over the kernels of a manifest: how often, and over how many."""
    return [(turns, calls) for turns, calls in manifest.get("loops", [])] or [(1, len(manifest["kernels"]))]


def counts_of(errors: str, manifest: dict[str, Any], column: int) -> tuple[int | None, tuple[int, ...] | None]:
    """What the first run took, and each of its kernels, in a column of the counter's: instructions or cycles."""
    regions = [int(n[column]) for n in re.findall(r"^region (\d+) (\d+)$", errors, re.MULTILINE)]
    # the first region is empty: it measures the overhead of the measurement
    whole = regions[1] - regions[0] if len(regions) > 1 else None
    return whole, calls_of(errors, loops_of(manifest), column)


def calls_of(errors: str, loops: Sequence[tuple[int, int]], column: int = 0) -> tuple[int, ...] | None:
    """The counts of each kernel of the first run, in all of its turns; None if not all are counted."""
    _, _, rest = errors.partition("region ")  # the empty region
    lines = re.findall(r"^call (\d+) (\d+)$", rest.partition("region ")[0], re.MULTILINE)
    counts = [int(line[column]) for line in lines]
    if not counts or len(counts) != sum(turns * calls for turns, calls in loops):
        return None
    return tuple(map(sum, by_kernel(counts, loops)))


def by_kernel(calls: Sequence[T], loops: Sequence[tuple[int, int]]) -> Iterator[Sequence[T]]:
    """What there is of each call of one run, in order, as that of all turns of each kernel."""
    for turns, count in loops:
        for i in range(count):
            yield calls[i : turns * count : count]
        calls = calls[turns * count :]


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
