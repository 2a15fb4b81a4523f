"""Where the time of a program goes on this machine: each kernel, beside what the machine can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphopt.ir import Array
from graphopt.runtime import Program
from graphopt.runtime.execute import loops_of
from graphopt.targets import Target, get_target

if TYPE_CHECKING:
    from graphopt.targets.peaks import Peak

PEAK_OF = {"float32": "float32", "int8": "int8", "uint8": "int8"}
"""By the dtype of factors, that of the peak of their products."""


@dataclass(frozen=True)
class KernelTime:
    """The seconds of one kernel in a run, of all turns if its layer goes by rows, and its ``share`` of those of all.

    ``macs`` are its multiply-accumulates, of factors of the dtype ``products``, and ``of_peak`` their rate by the peak
    of that. Winograd's form may exceed it, since it multiplies less. A kernel without any has a rate of bytes: its
    operands and its result, each once. What does not apply is None.
    """

    node: str
    kernel: str
    operators: str
    seconds: float
    share: float
    macs: int | None
    products: str | None
    macs_per_second: float | None
    of_peak: float | None
    moved_bytes: int
    bytes_per_second: float | None


@dataclass(frozen=True)
class ProfileReport:
    """The kernels of one run in their order, the peaks, and the place of the kernel that takes the most time.

    ``seconds`` are those of the program itself, ``kernel_seconds`` the sum of those of its kernels.
    """

    target: str
    seconds: float
    kernel_seconds: float
    peaks: tuple[Peak, ...]
    costliest: int | None
    kernels: tuple[KernelTime, ...]


def profile_program(
    program: Program,
    inputs: Mapping[str, Array] | Sequence[Array],
    target: str | Target | None = None,
    repeats: int | None = None,
) -> ProfileReport:
    """The times of a program's kernels by ``Program.profile``, beside the peaks of its target, measured right after.

    ``target`` is what the program was compiled for; it may be left out if that is known by its name. Raises
    ``InvalidInput`` if the program is emulated here, or was not compiled here, and ``ToolFailed`` without a linker.
    """
    run = program.profile(inputs, repeats)
    from graphopt.targets.peaks import measured_peaks

    peaks = measured_peaks(get_target(program.manifest["target"] if target is None else target))
    rates = {peak.products: peak.macs_per_second for peak in peaks}
    assert run.seconds is not None and run.seconds_per_kernel is not None
    times, total = run.seconds_per_kernel, sum(run.seconds_per_kernel)
    rows = by_layer(program.manifest, times)
    kernels = tuple(kernel_time(row, seconds, total, rates) for row, seconds in rows)
    costliest = max(range(len(rows)), key=lambda place: rows[place][1], default=None)
    return ProfileReport(program.manifest["target"], run.seconds, total, peaks, costliest, kernels)


def by_layer(manifest: Mapping[str, Any], times: Sequence[float]) -> list[tuple[dict[str, Any], float]]:
    """The kernels of a manifest with their seconds; those by which a layer goes in turns are one."""
    found: dict[tuple[str, str], tuple[dict[str, Any], float]] = {}
    turns = (turns for turns, count in loops_of(dict(manifest)) for _ in range(count))
    for row, often, seconds in zip(manifest["kernels"], turns, times, strict=True):
        layer = row["node"], row["operators"]
        whole, before = found.get(layer, ({**row, "macs": 0, "moved_bytes": 0}, 0.0))
        sums = {key: whole[key] + often * row[key] for key in ("macs", "moved_bytes")}
        found[layer] = {**whole, **sums}, before + seconds
    return list(found.values())


def kernel_time(row: Mapping[str, Any], seconds: float, total: float, peaks: Mapping[str, float]) -> KernelTime:
    """The time of a kernel of the manifest, and its rates."""
    names = row["node"], row["kernel"], row["operators"]
    share, macs, moved = divided(seconds, total) or 0.0, row["macs"] or None, row["moved_bytes"]
    if macs is None:
        return KernelTime(*names, seconds, share, None, None, None, None, moved, divided(moved, seconds) or None)
    rate, peak = divided(macs, seconds), peaks.get(PEAK_OF.get(row["products"], ""))
    of_peak = divided(rate, peak) if rate and peak else None
    return KernelTime(*names, seconds, share, macs, row["products"], rate, of_peak, moved, None)


def divided(amount: float, by: float) -> float | None:
    """None where a clock saw no time pass."""
    return amount / by if by else None
