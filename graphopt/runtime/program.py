"""A compiled program: its files, and how to run, measure, save and load it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from graphopt.errors import InvalidInput, printable
from graphopt.runtime.build import build_library, code_bytes, write_files
from graphopt.runtime.execute import Array, Run, execute, toolchain_of
from graphopt.runtime.folder import Saved, save_folder
from graphopt.runtime.manifest import MANIFEST, read_manifest, verified

PORTS_SHOWN = 4


@dataclass(frozen=True)
class Sizes:
    """Bytes of a program: ``code`` and ``weights`` in flash, ``workspace`` in RAM."""

    code: int
    weights: int
    workspace: int


@dataclass(frozen=True, repr=False)
class Program:
    """The files of an artifact by name, among them its manifest."""

    files: Mapping[str, bytes]

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

        Raises ``InvalidInput`` if any of it is missing, of another type or out of its range, and if the shared library
        is not the one that it was made for: a damaged one brings down whoever loads it.
        """
        return verified(self.files)

    @property
    def unlinked(self) -> bool:
        """Whether it is for Linux and has no shared library yet, for want of a linker where it was compiled."""
        return self.manifest["codegen"] == "llvm" and f"lib{self.manifest['name']}.so" not in self.files

    @cached_property
    def built(self) -> Mapping[str, bytes]:
        """The files by which it runs: its own, and its shared library, linked now if it is unlinked.

        Raises ``ToolFailed`` with the command that installs the linker, if it is still missing.
        """
        if not self.unlinked:
            return self.files
        name = self.manifest["name"]
        return {**self.files, f"lib{name}.so": build_library(self.files, name, toolchain_of(self.manifest))}

    def run(self, /, *inputs: Array, **named: Array) -> Array | tuple[Array, ...]:
        """The outputs for the given inputs, by position or name; one array if there is one output.

        Runs here, under QEMU's user mode, or on an emulated board: the target knows. A program of a
        symbolic-batch graph whose samples do not mix takes any multiple of its batch, and runs once for each.
        A quantized input also takes float32, and quantizes it; ``dequantize`` brings quantized outputs back.
        """
        if named and inputs:
            raise InvalidInput("give the inputs by position or by name, not both")
        outputs = join(self.measure(named or inputs, count=False).outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def measure(self, inputs: Mapping[str, Array] | Sequence[Array], count: bool = True) -> Run:
        """Run, with the outputs of each sample, the median seconds (natively) or the instructions (QEMU)."""
        return self.measure_batches(self.samples(inputs), count)

    def measure_batches(self, samples: Sequence[Sequence[Array]], count: bool = True) -> Run:
        """Run and measure several batches, each a list of inputs just as ``samples`` gives them, in one go."""
        with tempfile.TemporaryDirectory(prefix="graphopt-") as folder:
            write_files(self.built, Path(folder))
            return execute(Path(folder), self.manifest, samples, count)

    def samples(self, inputs: Mapping[str, Array] | Sequence[Array]) -> list[list[Array]]:
        """Cut inputs into runs of the program's own batch; raises ``InvalidInput`` where they do not fit."""
        ports = self.manifest["inputs"]
        names = [p["name"] for p in ports]
        if isinstance(inputs, Mapping):
            if set(inputs) != set(names):
                raise InvalidInput(f"inputs {sorted(inputs)} do not match {sorted(names)}")
            inputs = [inputs[name] for name in names]
        if len(inputs) != len(ports):
            raise InvalidInput(f"{len(inputs)} inputs given, {len(ports)} needed: {', '.join(names)}")
        given = [quantized(np.asarray(a), port) for a, port in zip(inputs, ports, strict=True)]
        runs = set()
        for data, port in zip(given, ports, strict=True):
            shape = tuple(port["shape"])
            batched = self.manifest["batched"] and data.ndim == len(shape) and divides(shape[0], data.shape[0])
            fits = data.shape[1:] == shape[1:] if batched else data.shape == shape
            if not fits or str(data.dtype) != port["dtype"]:
                wanted = f"{port['dtype']}{list(shape)}"
                raise InvalidInput(
                    f"{data.dtype}{list(data.shape)} given, {wanted} needed", where=f"input {port['name']!r}"
                )
            runs.add(data.shape[0] // shape[0] if batched else 1)
        if len(runs) > 1:
            raise InvalidInput(f"the inputs have different numbers of samples: {sorted(runs)}")
        count = runs.pop() if runs else 1
        return [[np.array_split(data, count)[i] for data in given] for i in range(count)] if count > 1 else [given]

    def dequantize(self, *outputs: Array) -> Array | tuple[Array, ...]:
        """The outputs of ``run`` as float32; those that are not quantized as they are."""
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
        """Code, weights and workspace in bytes; the code as the target's compiler makes it."""
        manifest = self.manifest
        toolchain = toolchain_of(manifest)
        with tempfile.TemporaryDirectory(prefix="graphopt-") as temporary:
            folder = Path(temporary)
            write_files(self.built, folder)
            code = code_bytes(folder, manifest["name"], toolchain, manifest["cflags"], manifest["codegen"])
        return Sizes(code, manifest["weight_bytes"], manifest["workspace_bytes"])

    def save(self, path: str | Path) -> Saved:
        """Write the artifact to a folder, whole or not at all.

        Of an earlier artifact there, the files that graphopt wrote and nobody edited are replaced or removed. What the
        user added stays, and so do ``main.c``, ``Makefile``, ``CMakeLists.txt`` and ``README.md`` where they were
        edited: the result says which. Raises ``InvalidInput`` for a folder that holds anything else, where another file
        of the artifact was edited, and where the folder cannot be written; everything is then as it was.
        """
        return save_folder(self.files, path)

    @classmethod
    def load(cls, path: str | Path) -> Program:
        """The program that ``save`` wrote to a folder; raises ``InvalidInput`` if it is not one, or is damaged.

        Sources may have been edited; a library, or the object of its kernels, must be the one that was written.
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
    """Names and types of inputs or outputs, of many the first."""
    shown = [f"{port['name'][:40]} {port['dtype']}{port['shape']}" for port in ports[:PORTS_SHOWN]]
    return ", ".join([*shown, *([f"{len(ports) - PORTS_SHOWN} more"] if len(ports) > PORTS_SHOWN else [])])


def quantized(data: Array, port: Mapping[str, Any]) -> Array:
    """Float32 for a quantized input as its integers, as the operator ``quantize`` makes them; all else as it is."""
    if "scale" not in port or data.dtype != np.float32:
        return data
    limits = np.iinfo(port["dtype"])
    steps = np.rint(data / np.float32(port["scale"])).astype(np.float64) + port["zero_point"]
    return np.asarray(np.clip(steps, limits.min, limits.max).astype(port["dtype"]))


def divides(batch: int, samples: int) -> bool:
    """Whether this many samples make whole batches, one at least."""
    return samples > 0 and samples % batch == 0


def join(runs: list[list[Array]]) -> tuple[Array, ...]:
    """The outputs of all runs, one after the other along the batch axis."""
    if len(runs) == 1:
        return tuple(runs[0])
    return tuple(np.concatenate(parts) for parts in zip(*runs, strict=True))
