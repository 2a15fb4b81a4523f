"""The tables of a profile: the time of each kernel, and what the machine can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from graphopt.cli.console import table

if TYPE_CHECKING:
    from graphopt.report import KernelTime, ProfileReport

BAR = 12
"""The columns of the longest bar."""


def profile_tables(report: ProfileReport) -> tuple[Table, Table]:
    """The kernels in the order in which they run, the costliest bold, with bars for their times; then the peaks."""
    columns = "layer", "kernel", "us>", "part>", "", "MACs>", "of", "rate>", "of peak>"
    made = table(*columns, title=escape(f"kernels on {report.target}: microseconds of one run"))
    made.columns[columns.index("")].no_wrap = True
    most = max((kernel.seconds for kernel in report.kernels), default=0.0)
    for place, kernel in enumerate(report.kernels):
        made.add_row(*kernel_cells(kernel, most), style="bold" if place == report.costliest else None)
    made.add_section()
    for what, seconds in (("all kernels", report.kernel_seconds), ("the program", report.seconds)):
        made.add_row(what, "", microseconds(seconds))
    peaks = table("peak of", "by", "GMAC/s>")
    for peak in report.peaks:
        peaks.add_row(peak.products, peak.instruction, f"{peak.macs_per_second / 1e9:.1f}")
    return made, peaks


def kernel_cells(kernel: KernelTime, most: float) -> tuple[str, ...]:
    """The row of a kernel; ``most`` is the time of the costliest."""
    bar = "█" * round(BAR * kernel.seconds / most) if most else ""
    macs = f"{kernel.macs:,}" if kernel.macs else ""
    of_peak = "" if kernel.of_peak is None else f"{kernel.of_peak:.0%}"
    words, part = (escape(kernel.node), escape(kernel.kernel)), f"{kernel.share:.1%}"
    return *words, microseconds(kernel.seconds), part, bar, macs, kernel.products or "", rate(kernel), of_peak


def rate(kernel: KernelTime) -> str:
    """What a kernel multiplies in a second, or else what it moves."""
    if kernel.macs_per_second is not None:
        return f"{kernel.macs_per_second / 1e9:.1f} GMAC/s"
    return "" if kernel.bytes_per_second is None else f"{kernel.bytes_per_second / 1e9:.1f} GB/s"


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.2f}"
