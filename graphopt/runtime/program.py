"""A compiled program: its files, and how to run, measure, save and load it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.runtime.build import code_bytes, write_files
from graphopt.runtime.execute import Array, Run, execute, toolchain_of
from graphopt.runtime.machine import ABI_VERSION


@dataclass(frozen=True)
class Sizes:
    """Bytes of a program: ``code`` and ``weights`` in flash, ``workspace`` in RAM."""

    code: int
    weights: int
    workspace: int


@dataclass(frozen=True)
class Program:
    """The files of an artifact by name, among them its manifest."""

    files: Mapping[str, bytes]

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the program is: name, target, ports, sizes, kernels, and how to build and run it."""
        found: dict[str, Any] = json.loads(self.files["manifest.json"])
        return found

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
        samples = self.samples(inputs)
        with tempfile.TemporaryDirectory(prefix="graphopt-") as folder:
            write_files(self.files, Path(folder))
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
            write_files(self.files, folder)
            code = code_bytes(folder, manifest["name"], toolchain, manifest["cflags"], manifest["codegen"])
        return Sizes(code, manifest["weight_bytes"], manifest["workspace_bytes"])

    def save(self, path: str | Path) -> None:
        """Write the artifact to a folder, whole or not at all.

        An earlier artifact there is replaced; a folder that holds anything else is refused.
        """
        folder = Path(path).resolve()
        if (
            folder.exists()
            and not (folder / "manifest.json").is_file()
            and (not folder.is_dir() or any(folder.iterdir()))
        ):
            raise InvalidInput("exists, and is not an artifact", where=str(folder), advice="choose another folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            write_files(self.files, fresh)
            fresh.chmod(0o755)
            exchange(fresh, folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    @classmethod
    def load(cls, path: str | Path) -> Program:
        """The program that ``save`` wrote to a folder; raises ``InvalidInput`` if it is not one."""
        folder = Path(path)
        if not (folder / "manifest.json").is_file():
            raise InvalidInput("is not an artifact: it has no manifest.json", where=str(folder))
        program = cls({file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file()})
        try:
            version = program.manifest["abi_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInput("its manifest.json is not one of graphopt's", where=str(folder)) from error
        if version != ABI_VERSION:
            what = f"it has version {version} of the interface, this graphopt runs version {ABI_VERSION}"
            raise InvalidInput(what, where=str(folder), advice="compile the model again")
        return program


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


def exchange(fresh: Path, folder: Path) -> None:
    """Move ``fresh`` to the place of ``folder``; where that fails, what was there is put back."""
    if not folder.exists():
        fresh.rename(folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    old = aside / "old"
    try:
        folder.rename(old)
        fresh.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)


def join(runs: list[list[Array]]) -> tuple[Array, ...]:
    """The outputs of all runs, one after the other along the batch axis."""
    if len(runs) == 1:
        return tuple(runs[0])
    return tuple(np.concatenate(parts) for parts in zip(*runs, strict=True))
