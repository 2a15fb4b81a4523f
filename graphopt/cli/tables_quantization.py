"""The tables of what quantisation costs."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from graphopt.cli.console import table

if TYPE_CHECKING:
    from graphopt.passes import QuantizationReport


def losses_table(report: QuantizationReport) -> Table:
    """A row for each layer, the one that costs the outputs most first."""
    columns = "layer", "outputs dB>", "alone dB>", "max error>", "all dB>", "max error>", "saturated>", "range used>"
    made = table(*columns, title=f"signal to noise of the outputs, everything quantized: {report.sqnr:.1f} dB")
    for row in report.layers:
        alone = f"{row.output_sqnr:.1f}", f"{row.sqnr:.1f}", f"{row.max_error:.3g}"
        together = f"{row.cumulative_sqnr:.1f}", f"{row.cumulative_error:.3g}"
        made.add_row(escape(row.name), *alone, *together, f"{row.saturation:.2%}", f"{row.range_used:.0%}")
    return made


def suggestions_table(report: QuantizationReport) -> Table:
    """What overrides would buy, the most first, as options of ``compile`` and ``bench``."""
    made = table("options that would help", "outputs dB>", "gain dB>")
    for row in report.suggestions:
        options = (f"--override {shlex.quote(f'{layer}={how}')}" for layer, how in row.overrides.items())
        made.add_row(escape(" ".join(options)), f"{row.sqnr:.1f}", f"{row.gain:+.1f}")
    return made
