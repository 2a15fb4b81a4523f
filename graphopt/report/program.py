"""The contents, sizes and runs of a compiled program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphopt.errors import ToolFailed
from graphopt.records import record
from graphopt.report.profile import ProfileReport
from graphopt.runtime import Program, Run


@dataclass(frozen=True)
class Pixels:
    """What bytes p stand for: (p * scale - mean) / std, with numbers of each channel or one of all."""

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class ProgramPort:
    """An input or output; if a scale is given, real values are ``scale * (integer - zero_point)``."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None = None
    zero_point: int | None = None
    pixels: Pixels | None = None


@dataclass(frozen=True)
class CallRow:
    """One kernel run: the layer that it computes, the operators in it, and its costs.

    ``weight_bytes`` also counts constants that other layers read. ``live_bytes`` is the used part of the workspace
    while it runs. ``products`` is the dtype of the factors of its MACs, ``moved_bytes`` are those of all that it reads
    and writes, each once. ``rule``, ``tile`` and ``layout`` say how the kernel was chosen, ``others`` which rules its
    scalars got, and which declined and why. All are None or empty in programs of older versions of graphopt, which did
    not store them.
    """

    node: str
    kernel: str
    operators: str
    macs: int | None = None
    weight_bytes: int | None = None
    live_bytes: int | None = None
    products: str = ""
    moved_bytes: int | None = None
    rule: str = ""
    tile: str = ""
    layout: str = ""
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class StreamRow:
    """Layers that go by rows, from ``first`` to ``last``, which makes so many ``rows`` in a turn ("1/2": in two).

    ``instructions`` is about what that adds.
    """

    first: str
    last: str
    rows: str
    instructions: int


@dataclass(frozen=True)
class CandidateRow:
    """A kernel that a layer could have had, by its rule, and whether it was chosen.

    What it was expected to cost: instructions and cycles of the proxy in one run, bytes of flash if no other layer
    shared any with it, and bytes of RAM for itself.
    """

    node: str
    rule: str
    chosen: bool
    instructions: int
    cycles: int
    flash_bytes: int
    scratch_bytes: int


@dataclass(frozen=True)
class PredictedCosts:
    """What a program was expected to cost: one run in instructions and cycles of the proxy, and the bytes of code."""

    instructions: int
    cycles: int
    code_bytes: int


@dataclass(frozen=True)
class ProgramReport:
    """A program. ``code_bytes`` is None where the tools to compile it are missing; ``code_unknown`` says which.

    ``workspace_bound`` are the bytes that its fullest step needs, below which no plan of the same buffers comes.
    ``stack_bytes`` is what a run of a C project takes at most, None where its compiler was not asked, or cannot tell.
    """

    name: str
    target: str
    inputs: tuple[ProgramPort, ...]
    outputs: tuple[ProgramPort, ...]
    code_bytes: int | None
    code_unknown: str | None
    weight_bytes: int
    workspace_bytes: int
    kernels: tuple[CallRow, ...]
    stack_bytes: int | None = None
    workspace_bound: int | None = None
    streams: tuple[StreamRow, ...] = ()
    candidates: tuple[CandidateRow, ...] = ()
    predicted: PredictedCosts | None = None


@dataclass(frozen=True)
class KernelCost:
    """What one kernel run took, with what it calls, in instructions and cycles, and its multiply-accumulates."""

    node: str
    kernel: str
    instructions: int
    macs: int | None
    cycles: int | None = None


@dataclass(frozen=True)
class BenchRow:
    """The cost of one run of a program: instructions under an emulator, or seconds natively.

    ``equal`` says whether every output equals the reference evaluator's. ``kernels`` are the costs of each kernel, if
    an emulated board counts them, ``profile`` the times of each kernel, if they were asked for.
    """

    target: str
    instructions: int | None
    seconds: float | None
    code_bytes: int
    weight_bytes: int
    workspace_bytes: int
    equal: bool
    stack_bytes: int | None = None
    kernels: tuple[KernelCost, ...] = ()
    profile: ProfileReport | None = None


def kernel_costs(program: Program, run: Run) -> tuple[KernelCost, ...]:
    """What each kernel of a program took in a run; none where that was not counted."""
    if run.per_kernel is None:
        return ()
    cycles = run.cycles_per_kernel or (None,) * len(run.per_kernel)
    rows = zip(program.manifest["kernels"], run.per_kernel, cycles, strict=True)
    return tuple(KernelCost(row["node"], row["kernel"], count, row.get("macs"), of) for row, count, of in rows)


def describe_program(program: Program) -> ProgramReport:
    """The report of a program. Raises ``ToolFailed`` if an installed tool fails."""
    manifest = program.manifest
    code, unknown = code_bytes(program)
    return ProgramReport(
        name=manifest["name"],
        target=manifest["target"],
        inputs=ports(manifest, "inputs"),
        outputs=ports(manifest, "outputs"),
        code_bytes=code,
        code_unknown=unknown,
        weight_bytes=manifest["weight_bytes"],
        workspace_bytes=manifest["workspace_bytes"],
        kernels=tuple(record(CallRow, row, "kernels") for row in manifest["kernels"]),
        stack_bytes=manifest.get("stack_bytes"),
        workspace_bound=manifest.get("workspace_bound"),
        streams=tuple(record(StreamRow, row, "streams") for row in manifest.get("streams", ())),
        candidates=tuple(record(CandidateRow, row, "candidates") for row in manifest.get("candidates", ())),
        predicted=record(PredictedCosts, manifest["predicted"], "predicted") if "predicted" in manifest else None,
    )


def ports(manifest: Mapping[str, Any], kind: str) -> tuple[ProgramPort, ...]:
    return tuple(record(ProgramPort, port, kind) for port in manifest[kind])


def code_bytes(program: Program) -> tuple[int | None, str | None]:
    """The bytes of the code, or what must be installed to measure them."""
    try:
        return program.sizes.code, None
    except ToolFailed as error:
        if error.advice is None:
            raise
        return None, f"{error.what} ({error.advice})"
