"""Calls of a program on this machine, again and again: the library is loaded, and nothing is copied."""

from __future__ import annotations

import ctypes
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy import ndarray

from graphopt.errors import InvalidInput, ToolFailed
from graphopt.runtime.buffers import Array, address, address_of, aligned, bytes_of
from graphopt.runtime.execute import Run
from graphopt.runtime.library import Library
from graphopt.runtime.ports import Port, check_count, common_runs, ports_of


class Workspace(threading.local):
    """What a program computes in: each thread gets its own when it first asks for the pointer."""

    def __init__(self, size: int, alignment: int) -> None:
        self.memory = aligned((size,), "uint8", alignment)
        self.pointer = ctypes.c_void_p(address(self.memory))


@dataclass(frozen=True, slots=True)
class Call:
    """Arrays that were checked: their shapes, dtypes and addresses; pointers to them, and what is held meanwhile."""

    kinds: tuple[tuple[Any, ...], ...] = ()
    pointers: tuple[Any, ...] = ()
    held: object = None

    def takes(self, arrays: tuple[Any, ...]) -> bool:
        """Whether arrays are of the same types, and begin where those began that were checked."""
        if len(arrays) != len(self.kinds):
            return False
        try:
            for (shape, dtype, place), array in zip(self.kinds, arrays):  # noqa: B905
                if type(array) is not ndarray or array.dtype is not dtype or array.shape != shape:
                    return False
                if address_of(bytes_of(array)) != place:
                    return False
        except (TypeError, ValueError, BufferError):
            return False
        return True


class Session:
    """A program that is loaded and ready to run, as ``program.session()`` gives it.

    Threads may share it: each has a workspace of its own, and runs without the GIL. ``close``, the end of a ``with``
    block, or garbage collection frees it; the library goes with the last session and the program itself.
    """

    def __init__(self, library: Library, manifest: Mapping[str, Any]) -> None:
        self.inputs, self.outputs = ports_of(manifest, "input"), ports_of(manifest, "output")
        self._library: Library | None = library
        self._alignment = manifest["alignment"]
        self._workspace: Workspace | None = Workspace(library.workspace_bytes, self._alignment)
        self._kinds = ctypes.c_void_p * len(self.inputs), ctypes.c_void_p * len(self.outputs)
        self._latest = Call()

    def run(self, /, *inputs: Any, out: Any = None) -> Any:
        """The outputs for the given inputs, in the program's order: one array, or a tuple if there are several outputs.

        Inputs, and ``out`` (one array, or a sequence), are contiguous arrays of NumPy, or tensors of any library that
        has DLPack, in this machine's memory, of exactly the types of the ports. They are used where they are. Only a
        sample that does not begin at a multiple of the program's alignment is copied on its way; those of
        ``input_buffers`` and ``output_buffers`` do. Without ``out`` the outputs are new arrays. If the samples of a
        batch are independent, inputs may have any multiple of the program's batch; the loop over them is in C.
        Raises ``InvalidInput`` with the reason if an array cannot be used.
        """
        library, workspace = self._loaded()
        if out is None:
            _held, sources, runs = in_place(self.inputs, inputs, write=False)
            given = self.output_buffers(runs)
            pointers = self._pointers(runs, sources, [address(data) for data in given])
        else:
            given = (out,) if type(out) is ndarray or not isinstance(out, tuple | list) else tuple(out)
            call = self._latest
            if not call.takes((*inputs, *given)):
                call = self._checked(inputs, given)
            pointers = call.pointers  # the call holds what they are to
        if status := library.run_batch(*pointers, workspace, None):
            raise failed(status)
        return given[0] if len(given) == 1 else given

    def measure(self, samples: Sequence[Sequence[Array]]) -> Run:
        """The outputs for samples of the program's own batch, one after the other, and the median seconds of a call."""
        inputs, seconds, results = self.input_buffers(), [], []
        for sample in samples:
            for slot, data in zip(inputs, sample, strict=True):
                slot[...] = data
            outputs = self.output_buffers()
            pointers = self._pointers(1, [address(x) for x in inputs], [address(y) for y in outputs])
            library, workspace = self._loaded()
            started = time.perf_counter()
            status = library.run_batch(*pointers, workspace, None)
            seconds.append(time.perf_counter() - started)
            if status:
                raise failed(status)
            results.append(list(outputs))
        return Run(results, seconds=statistics.median(seconds))

    def _loaded(self) -> tuple[Library, ctypes.c_void_p]:
        """The library, held while it runs, and the workspace of this thread."""
        library, workspace = self._library, self._workspace
        if library is None or workspace is None:
            raise InvalidInput("the session is closed", advice="make another one: program.session()")
        return library, workspace.pointer

    def _pointers(self, runs: int, inputs: list[int], outputs: list[int]) -> tuple[Any, ...]:
        """What the library's function takes of memory that the caller holds."""
        taken, given = self._kinds
        return ctypes.c_size_t(runs), taken(*inputs), given(*outputs)

    def _checked(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Call:
        """A call with arrays of the caller; the next one remembers it."""
        taken, sources, runs = in_place(self.inputs, inputs, write=False)
        results, places, room = in_place(self.outputs, outputs, write=True)
        if room != runs:
            raise InvalidInput(f"the outputs have room for {room} runs, the inputs are for {runs}", where="out")
        check_apart(self.outputs, results, places, taken, sources)
        arrays = zip((*taken, *results), (*sources, *places), strict=True)
        kinds, pointers = tuple((a.shape, a.dtype, at) for a, at in arrays), self._pointers(runs, sources, places)
        self._latest = Call(kinds, pointers)
        return Call(kinds, pointers, (taken, results))

    def input_buffers(self, runs: int = 1) -> tuple[Array, ...]:
        """New zeroed arrays for the inputs of so many runs, aligned as the program wants them."""
        return tuple(self._buffer(port, runs) for port in self.inputs)

    def output_buffers(self, runs: int = 1) -> tuple[Array, ...]:
        """New arrays for ``out``, likewise."""
        return tuple(self._buffer(port, runs) for port in self.outputs)

    def _buffer(self, port: Port, runs: int) -> Array:
        shape = port.shape if runs == 1 else (runs * port.shape[0], *port.shape[1:])
        return aligned(shape, port.dtype, self._alignment)

    def close(self) -> None:
        """Let go of the library and the workspaces. What runs in another thread ends undisturbed."""
        self._library = self._workspace = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def failed(status: int) -> ToolFailed:
    """The error for what a program returned."""
    return ToolFailed(f"the program ended with status {status}")


def in_place(ports: tuple[Port, ...], given: Sequence[Any], write: bool) -> tuple[list[Array], list[int], int]:
    """Arrays and tensors as arrays of the same memory, where they begin, and for how many runs they are."""
    if len(given) != len(ports):
        check_count(ports, len(given))
    arrays, places, counts = [], [], []
    for port, data in zip(ports, given):  # noqa: B905 they were counted
        array = data if type(data) is np.ndarray else array_of(port, data)
        counts.append(port.runs(array))
        try:
            places.append(address_of(bytes_of(array)))
        except (TypeError, ValueError, BufferError):
            check_memory(port, array, write)
            places.append(address(array))
        arrays.append(array)
    return arrays, places, counts[0] if len(counts) == 1 else common_runs(ports, counts)


def check_memory(port: Port, array: Array, write: bool) -> None:
    """Raise ``InvalidInput`` if an array is not contiguous, or is to be written and cannot be."""
    if not array.flags.c_contiguous:
        why = f"its strides are {list(array.strides)} bytes"
        advice = "copy it: numpy.ascontiguousarray(x), or x.contiguous() for a tensor"
        raise InvalidInput("is not contiguous", where=port.where, why=why, advice=advice)
    if write and not array.flags.writeable:
        raise InvalidInput("is read-only", where=port.where)


def check_apart(
    ports: tuple[Port, ...], outputs: list[Array], places: list[int], inputs: list[Array], sources: list[int]
) -> None:
    """Raise ``InvalidInput`` if an output is where an input or another output is."""
    others = list(zip(inputs, sources))  # noqa: B905
    for port, data, start in zip(ports, outputs, places):  # noqa: B905
        end = start + data.nbytes
        for other, first in others:
            if start < first + other.nbytes and first < end:
                raise InvalidInput("overlaps an input or another output", where=port.where)
        others.append((data, start))


def array_of(port: Port, data: Any) -> Array:
    """A view of the memory of a tensor, or of an array of a subclass; raises ``InvalidInput`` if there is none."""
    if isinstance(data, np.ndarray):
        return data.view(np.ndarray)
    try:
        return np.from_dlpack(data)
    except AttributeError:
        what = f"a {type(data).__name__} is no array, and has no DLPack"
        raise InvalidInput(what, where=port.where, advice="numpy.asarray(x) makes an array of it") from None
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        why = str(error) or type(error).__name__
        raise InvalidInput("gives no view of its memory to the CPU", where=port.where, why=why) from error
