"""How long each kernel of a program takes on this machine.

The object of the kernels and the source of the driver are linked once more, with a clock around each call of a kernel:
GNU ld puts a function of ours in the place of each (``--wrap``). So the kernels are those of the program, bit for bit,
run in its order, and find the caches as they do there; the program itself stays as it is.

Two clocks are read, each in runs of its own. The monotonic one costs some 20 nanoseconds, but also counts what else
the machine does in between. The thread's clock of CPU time does not, but is a system call. So the time of a kernel is
the median by the first, less what reading the clock takes, and of a long one that by the second if it is less.
"""

from __future__ import annotations

import _ctypes
import ctypes
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.runtime.buffers import Array, address, aligned
from graphopt.runtime.build import require, run_tool, write_files
from graphopt.runtime.execute import Run, by_kernel, loops_of, toolchain_of
from graphopt.runtime.library import Library
from graphopt.runtime.ports import ports_of
from graphopt.runtime.session import failed
from graphopt.runtime.templates import NOTICE, render

SOURCES = (".c", "_batch.c", "_weights.S", "_kernels.o", "_profile.c")
CLOCKS = time.CLOCK_MONOTONIC, time.CLOCK_THREAD_CPUTIME_ID
SECONDS = 1.0
"""What all runs take, about."""
FEWEST, MOST, ROUNDS = 5, 1000, 5
LONG = 20_000
"""Nanoseconds beside which a system call is little."""


@dataclass(frozen=True)
class Parts:
    """What a library was linked of: sources and the object, without the weights, and the parameters of each kernel.

    ``weights`` is where in the library its weights are, so that they are in memory once.
    """

    sources: Mapping[str, bytes]
    parameters: Mapping[str, int]
    weights: slice

    @classmethod
    def of(cls, sources: Mapping[str, bytes], parameters: Mapping[str, int], library: bytes, name: str) -> Parts:
        """The parts of a library, which holds the file of its weights as it is."""
        blob = sources[f"{name}_weights.bin"]
        start = library.index(blob)
        others = {file: data for file, data in sources.items() if data is not blob}
        return cls(others, parameters, slice(start, start + len(blob)))


def profiled(
    files: Mapping[str, bytes],
    manifest: Mapping[str, Any],
    parts: Parts | None,
    library: Library | None,
    sample: Sequence[Array],
    repeats: int | None,
) -> Run:
    """As ``Program.profile`` tells it, of the files of a program; ``library`` is None if it is emulated."""
    if library is None:
        raise not_here(manifest["target"], manifest["runner"]["kind"])
    if parts is None:
        why = "its parts are not in what is saved or sent"
        raise InvalidInput("the program was not compiled here", where="profile", why=why, advice="compile it again")
    if repeats is not None and repeats < 1:
        raise InvalidInput(f"repeats = {repeats} is less than one", where="profile")
    inputs, outputs = (
        [aligned(port.shape, port.dtype, manifest["alignment"]) for port in ports_of(manifest, kind)]
        for kind in ("input", "output")
    )
    for slot, data in zip(inputs, sample, strict=True):
        slot[...] = data
    loops = loops_of(dict(manifest))
    times = np.array([1, 1, *(turns for turns, count in loops for _ in range(count))])
    workspace = aligned((library.workspace_bytes,), "uint8", manifest["alignment"])
    with instrumented(files, manifest, parts, calls=times[2:].sum()) as linked:

        def rows(run: Any, clock: int, count: int) -> Array:
            made = np.zeros((count, times.sum()), np.int64)
            ports = ((ctypes.c_void_p * len(arrays))(*map(address, arrays)) for arrays in (inputs, outputs))
            memory = (ctypes.c_void_p(address(data)) for data in (workspace, made))
            if status := linked(run, clock, ctypes.c_size_t(count), *ports, *memory):
                raise failed(status)
            kernels = [np.sum(turns, axis=0) for turns in by_kernel(list(made[:, 2:].T), loops)]
            return np.column_stack([made[:, :2], *kernels])

        counts = turns(repeats or fitting(int(rows(None, CLOCKS[0], 1)[0, 1])))
        runs = library.run_batch, None
        found = [[[rows(run, clock, count) for clock in CLOCKS] for run in runs] for count in counts]
    whole, kernels = (
        seconds_of([np.concatenate([turn[i][j] for turn in found]) for j in range(len(CLOCKS))], times)
        for i in range(len(runs))
    )
    return Run([outputs], whole[1], seconds_per_kernel=tuple(kernels[2:]))


def fitting(nanoseconds: int) -> int:
    """How often to run what takes so long: with each clock, with those of kernels and without."""
    return int(min(MOST, max(FEWEST, SECONDS * 1e9 / (2 * len(CLOCKS) * max(1, nanoseconds)))))


def turns(repeats: int) -> list[int]:
    """Repeats as a few turns of about as many."""
    return [len(part) for part in np.array_split(range(repeats), min(ROUNDS, repeats))]


def seconds_of(by_clock: Sequence[Array], times: Array) -> list[float]:
    """The seconds of each column, of the rows that each of ``CLOCKS`` gave, which was read so often for each."""
    medians = [np.median(rows, axis=0) for rows in by_clock]
    monotonic, cpu = (np.maximum(median - median[0] * times, 0) for median in medians)
    return list(map(float, np.where(monotonic > LONG * times, np.minimum(monotonic, cpu), monotonic) / 1e9))


@contextmanager
def instrumented(files: Mapping[str, bytes], manifest: Mapping[str, Any], parts: Parts, calls: int) -> Iterator[Any]:
    """The function of the C template ``profile.c``, in a library of a program's parts; a run calls so many kernels."""
    name, toolchain = manifest["name"], toolchain_of(dict(manifest))
    weights = files[f"lib{name}.so"][parts.weights]
    kernels = [
        (symbol, ", ".join(f"void *a{i}" for i in range(count)), ", ".join(f"a{i}" for i in range(count)))
        for symbol, count in parts.parameters.items()
    ]
    context = {"notice": NOTICE, "p": name, "P": name.upper(), "kernels": kernels, "calls": calls}
    with tempfile.TemporaryDirectory(prefix="graphopt-") as temporary:
        folder = Path(temporary)
        own = {f"{name}_profile.c": render("profile.c", **context).encode(), f"{name}_weights.bin": weights}
        wraps = {"wraps": "\n".join(f"-Wl,--wrap={symbol}" for symbol in parts.parameters).encode()}
        write_files({**files, **parts.sources, **own, **wraps}, folder)
        options = ["-O2", "-shared", "-fPIC", "-Wl,-Bsymbolic", "@wraps", *(f"{name}{suffix}" for suffix in SOURCES)]
        compiler = require(toolchain.compiler, toolchain.package)
        run_tool([compiler, *toolchain.flags, *options, "-lm", "-o", "profile.so"], folder)
        with opened(folder / "profile.so") as library:
            yield library[f"{name}_profile"]


@contextmanager
def opened(path: Path) -> Iterator[ctypes.CDLL]:
    """A library in this process, for a while."""
    library = ctypes.CDLL(str(path))
    try:
        yield library
    finally:
        _ctypes.dlclose(library._handle)


def not_here(target: str, runner: str) -> InvalidInput:
    """The error for a program of another machine, by the kind of what runs it here."""
    what, why = f"{target} is emulated here", "the times of an emulator say nothing of the machine"
    advice = "profile the target host; for this one bench counts the instructions of a run"
    if runner == "board":
        advice += ", with --layers those of each kernel (in Python: program.measure(inputs).per_kernel)"
    return InvalidInput(what, where="profile", why=why, advice=advice)
