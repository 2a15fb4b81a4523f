"""A compiled program: its files, and how to run, measure, save and load it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from graphopt.errors import InvalidInput, printable
from graphopt.runtime.buffers import Array
from graphopt.runtime.build import build_library, code_bytes, write_files
from graphopt.runtime.execute import Run, execute, toolchain_of
from graphopt.runtime.folder import Saved, save_folder
from graphopt.runtime.library import Library
from graphopt.runtime.manifest import MANIFEST, read_manifest, verified
from graphopt.runtime.ports import Port, check_count, common_runs, ports_of
from graphopt.runtime.profile import Parts, profiled
from graphopt.runtime.session import Session

PORTS_SHOWN = 4


@dataclass(frozen=True)
class Sizes:
    """Bytes of a program: ``code`` and ``weights`` in flash, ``workspace`` in RAM."""

    code: int
    weights: int
    workspace: int


@dataclass(frozen=True, repr=False)
class Program:
    """A compiled program: the files of an artifact by name, including its manifest.

    ``parts`` are those of its library, for a profile; they are neither saved nor sent to other processes.
    """

    files: Mapping[str, bytes]
    parts: Parts | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        try:
            known = self.manifest
        except InvalidInput as error:
            return f"<Program of {len(self.files)} files: {printable(error.what)}>"
        taken, given = (ports_text(known[kind]) for kind in ("inputs", "outputs"))
        sizes = f"{known['weight_bytes']:,} bytes of weights, {known['workspace_bytes']:,} of workspace"
        return printable(f"<Program {known['name']} for {known['target']}: {taken} -> {given}; {sizes}>")

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the program is: name, target, ports, sizes, kernels, and how to build and run it.

        Raises ``InvalidInput`` if a field is missing, has the wrong type or is out of range, and if the shared library
        does not match its digest: a damaged library crashes the process that loads it.
        """
        return verified(self.files)

    @property
    def unlinked(self) -> bool:
        """Whether it is for Linux but has no shared library yet, since the linker was missing when it was compiled."""
        return self.manifest["codegen"] == "llvm" and f"lib{self.manifest['name']}.so" not in self.files

    @cached_property
    def built(self) -> Mapping[str, bytes]:
        """The files with which it runs: its own, and its shared library, which is linked now if necessary.

        Raises ``ToolFailed`` with the command that installs the linker if it is still missing.
        """
        if not self.unlinked:
            return self.files
        name = self.manifest["name"]
        return {**self.files, f"lib{name}.so": build_library(self.files, name, toolchain_of(self.manifest))}

    def run(self, /, *inputs: Array, **named: Array) -> Array | tuple[Array, ...]:
        """The outputs for the given inputs, by position or name; one array if there is one output.

        The target decides whether it runs natively, under QEMU's user mode, or on an emulated board. If the graph
        had a symbolic batch and its samples do not mix, the program takes any multiple of its batch, and runs once
        for each. A quantized input also takes float32, and quantizes it; ``dequantize`` converts quantized outputs.
        """
        if named and inputs:
            raise InvalidInput("give the inputs by position or by name, not both")
        if self.native:
            result: Array | tuple[Array, ...] = self._session.run(*self.arrays(named or inputs))
            return result
        outputs = join(self.measure(named or inputs, count=False).outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def session(self) -> Session:
        """The program ready to run, for many calls of a few microseconds: see ``Session``.

        The library is loaded once, for all sessions and for ``run``. Raises ``InvalidInput`` if the program does not
        run in this process, since it is for an emulator; and as ``library`` does.
        """
        if not self.native:
            what = f"was compiled for {self.manifest['target']}, which is emulated here"
            raise InvalidInput(what, where="session", advice='program.run runs it; for this machine: target="host"')
        return Session(self.library, self.manifest)

    @property
    def native(self) -> bool:
        """Whether it runs in this process."""
        return bool(self.manifest["runner"]["kind"] == "native")

    @cached_property
    def library(self) -> Library:
        """Its library, loaded into this process until neither the program nor a session needs it.

        Raises ``ToolFailed`` if it cannot be linked or loaded, ``InvalidInput`` if it is not that of the manifest.
        """
        return Library(self.built[f"lib{self.manifest['name']}.so"], self.manifest)

    @cached_property
    def _session(self) -> Session:
        return self.session()

    @cached_property
    def _inputs(self) -> tuple[Port, ...]:
        return ports_of(self.manifest, "input")

    def __getstate__(self) -> dict[str, Any]:
        """What a copy in another process takes along: the files, without the loaded library."""
        return {"files": self.files}

    def measure(self, inputs: Mapping[str, Array] | Sequence[Array], count: bool = True) -> Run:
        """Run it: the outputs of each sample, and the median seconds (natively) or the instructions (QEMU)."""
        return self.measure_batches(self.samples(inputs), count)

    def measure_batches(self, samples: Sequence[Sequence[Array]], count: bool = True) -> Run:
        """Run several batches in one go, each a list of inputs as ``samples`` gives them; measures like ``measure``."""
        if self.native:
            return self._session.measure(samples)
        with tempfile.TemporaryDirectory(prefix="graphopt-") as folder:
            write_files(self.built, Path(folder))
            return execute(Path(folder), self.manifest, samples, count)

    def profile(self, inputs: Mapping[str, Array] | Sequence[Array], repeats: int | None = None) -> Run:
        """The seconds of one run on the first sample, and of each kernel in it, in the order of the manifest.

        The kernels and their driver are those of the program, linked again with a clock around each call; the time of
        the whole is that of the library itself. They are medians of so many runs in the loop of C, or else of as many
        as take about a second (at least 5): see ``runtime/profile.py``. Raises ``InvalidInput`` for a program that is
        emulated here, since such times mean nothing, and for one that was loaded or sent and not compiled here.
        """
        library = self.library if self.native else None
        return profiled(self.built, self.manifest, self.parts, library, self.samples(inputs)[0], repeats)

    def samples(self, inputs: Mapping[str, Array] | Sequence[Array]) -> list[list[Array]]:
        """Cut inputs into runs of the program's own batch; raises ``InvalidInput`` if they do not fit."""
        given, ports = self.arrays(inputs), self._inputs
        count = common_runs(ports, [port.runs(data) for port, data in zip(ports, given, strict=True)])
        return list(map(list, zip(*(np.split(x, count) for x in given), strict=True))) if count > 1 else [given]

    def arrays(self, inputs: Mapping[str, Array] | Sequence[Array]) -> list[Array]:
        """Inputs in the order of the program, contiguous, and float32 for quantized ones as their integers.

        Raises ``InvalidInput`` if their names or their number are not those of the program.
        """
        ports = self.manifest["inputs"]
        names = [p["name"] for p in ports]
        if isinstance(inputs, Mapping):
            if set(inputs) != set(names):
                raise InvalidInput(f"inputs {sorted(inputs)} do not match {sorted(names)}")
            inputs = [inputs[name] for name in names]
        check_count(self._inputs, len(inputs))
        return [np.asarray(quantized(np.asarray(a), port), order="C") for a, port in zip(inputs, ports, strict=True)]

    def dequantize(self, *outputs: Array) -> Array | tuple[Array, ...]:
        """The outputs of ``run`` as float32; outputs that are not quantized do not change."""
        ports = self.manifest["outputs"]
        if len(outputs) != len(ports):
            raise InvalidInput(f"{len(outputs)} outputs given, the program has {len(ports)}")
        reals = tuple(
            (y.astype(np.int32) - port["zero_point"]).astype(np.float32) * np.float32(port["scale"])
            if "scale" in port
            else y
            for y, port in zip(outputs, ports, strict=True)
        )
        return reals[0] if len(reals) == 1 else reals

    @cached_property
    def sizes(self) -> Sizes:
        """Code, weights and workspace in bytes; the code is measured with the target's compiler."""
        manifest = self.manifest
        toolchain = toolchain_of(manifest)
        with tempfile.TemporaryDirectory(prefix="graphopt-") as temporary:
            folder = Path(temporary)
            write_files(self.built, folder)
            code = code_bytes(folder, manifest["name"], toolchain, manifest["cflags"], manifest["codegen"])
        return Sizes(code, manifest["weight_bytes"], manifest["workspace_bytes"])

    def save(self, path: str | Path) -> Saved:
        """Write the artifact to a folder, completely or not at all.

        If the folder has an earlier artifact, the files that graphopt wrote and nobody edited are replaced or removed.
        Files that the user added stay, as do edited ``main.c``, ``Makefile``, ``CMakeLists.txt`` and ``README.md``; the
        result lists these. Raises ``InvalidInput`` if the folder holds anything else, if another file of the artifact
        was edited, and if the folder cannot be written; everything is then unchanged.
        """
        return save_folder(self.files, path)

    @classmethod
    def load(cls, path: str | Path) -> Program:
        """The program that ``save`` wrote to a folder; raises ``InvalidInput`` if it is not one, or is damaged.

        Sources may have been edited; a library, or the object of its kernels, must be unchanged.
        """
        folder = Path(path)
        if not (folder / MANIFEST).is_file():
            raise InvalidInput(f"is not an artifact: it has no {MANIFEST}", where=str(folder))
        try:
            data = (folder / MANIFEST).read_bytes()
            listed = [folder / name for name in read_manifest(data).get("files", ())]
            files = {**{path.name: path.read_bytes() for path in listed if path.is_file()}, MANIFEST: data}
            verified(files)
        except InvalidInput as error:
            raise InvalidInput("is no artifact that can be used", where=str(folder), why=str(error)) from error
        return cls(files)


def ports_text(ports: Sequence[Mapping[str, Any]]) -> str:
    """Names and types of inputs or outputs; if there are many, only the first."""
    shown = [f"{port['name'][:40]} {port['dtype']}{port['shape']}" for port in ports[:PORTS_SHOWN]]
    return ", ".join([*shown, *([f"{len(ports) - PORTS_SHOWN} more"] if len(ports) > PORTS_SHOWN else [])])


def quantized(data: Array, port: Mapping[str, Any]) -> Array:
    """Float32 data for a quantized input as its integers, as the operator ``quantize`` computes them; else the data."""
    if "scale" not in port or data.dtype != np.float32:
        return data
    limits = np.iinfo(port["dtype"])
    steps = np.rint(data / np.float32(port["scale"])).astype(np.float64) + port["zero_point"]
    return np.asarray(np.clip(steps, limits.min, limits.max).astype(port["dtype"]))


def join(runs: list[list[Array]]) -> tuple[Array, ...]:
    """The outputs of all runs, one after the other along the batch axis."""
    if len(runs) == 1:
        return tuple(runs[0])
    return tuple(np.concatenate(parts) for parts in zip(*runs, strict=True))
