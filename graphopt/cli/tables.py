"""The tables that the commands print."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from graphopt.cli.console import table

if TYPE_CHECKING:
    from graphopt.passes import Note, Step
    from graphopt.report import BenchRow, Cost, ModelReport, PassRow, ProgramReport, TargetRow, ToolRow
    from graphopt.report.program import ProgramPort
    from graphopt.runtime import Run

NODES_SHOWN = 3


def program_table(report: ProgramReport, folder: str) -> Table:
    made = table("what", "value>", title=escape(f"{report.name} for {report.target}, in {folder}"))
    for kind, found in (("input", report.inputs), ("output", report.outputs)):
        for port in found:
            made.add_row(escape(f"{kind} {port.name}"), port_text(port))
    unknown = escape(f"unknown: {report.code_unknown}")
    for what, value in (
        ("kernels", f"{len(report.kernels):,}"),
        ("code bytes", unknown if report.code_bytes is None else f"{report.code_bytes:,}"),
        ("instructions, predicted", "" if report.predicted is None else f"{report.predicted.instructions:,}"),
        ("cycles of the proxy, predicted", "" if report.predicted is None else f"{report.predicted.cycles:,}"),
        ("weight bytes", f"{report.weight_bytes:,}"),
        ("workspace bytes", f"{report.workspace_bytes:,}"),
        ("workspace bytes at least", "" if report.workspace_bound is None else f"{report.workspace_bound:,}"),
        ("stack bytes", "" if report.stack_bytes is None else f"{report.stack_bytes:,}"),
    ):
        if value:
            made.add_row(what, value)
    return made


def port_text(port: ProgramPort) -> str:
    text = f"{port.dtype}{list(port.shape)}"
    if port.pixels is not None:
        means, stds = (", ".join(f"{n:.6g}" for n in numbers) for numbers in (port.pixels.mean, port.pixels.std))
        return escape(f"{text}, pixels: scale {port.pixels.scale:.6g}, mean {means}, std {stds}")
    return escape(text if port.scale is None else f"{text}, scale {port.scale:.6g}, zero point {port.zero_point}")


def kernels_table(report: ProgramReport) -> Table:
    """The kernels in the order in which they run; where most of the workspace is in use is bold."""
    made = table("layer", "operators", "kernel", "weight bytes>", "MACs>", "live bytes>")
    most = max((kernel.live_bytes or 0 for kernel in report.kernels), default=0)
    for kernel in report.kernels:
        costs = (f"{n:,}" if n else "" for n in (kernel.weight_bytes, kernel.macs, kernel.live_bytes))
        words = (escape(text) for text in (kernel.node, kernel.operators, kernel.kernel))
        made.add_row(*words, *costs, style="bold" if most and kernel.live_bytes == most else None)
    return made


def choices_table(report: ProgramReport) -> Table:
    """By which rule each kernel was made, and below it what its scalars got, and which rules declined and why.

    One that runs in several turns of a stream is told once.
    """
    made = table("layer", "kernel", "rule", "tile", "layout")
    rows = [(k.node, k.kernel, "\n".join((k.rule, *k.others)), k.tile, k.layout) for k in report.kernels]
    for words in dict.fromkeys(rows):
        made.add_row(*map(escape, words))
    return made


def candidates_table(report: ProgramReport) -> Table:
    """The kernels that each layer could have had, with what they were expected to cost; the chosen ones are bold."""
    columns = "layer", "", "rule", "instructions>", "cycles>", "flash B, alone>", "scratch B>"
    made = table(*columns, title="candidates, as predicted")
    for row in report.candidates:
        sign = "chosen" if row.chosen else ""
        costs = (f"{n:,}" for n in (row.instructions, row.cycles, row.flash_bytes, row.scratch_bytes))
        made.add_row(escape(row.node), sign, escape(row.rule), *costs, style="bold" if row.chosen else None)
    return made


def streams_table(report: ProgramReport) -> Table:
    """The layers that go by rows, and what that costs."""
    made = table("from", "to", "rows in a turn>", "instructions more, about>")
    for stream in report.streams:
        made.add_row(escape(stream.first), escape(stream.last), stream.rows, f"{stream.instructions:,}")
    return made


def bench_table(model: str, rows: Sequence[BenchRow]) -> Table:
    """What one run costs on each target, and whether it gives what the reference evaluator gives."""
    columns = "target", "instructions>", "ms>", "code B>", "weights B>", "workspace B>", "stack B>", "equal"
    made = table(*columns, title=escape(model))
    for row in rows:
        instructions = f"{row.instructions:,}" if row.instructions is not None else ""
        seconds = f"{row.seconds * 1e3:.3f}" if row.seconds is not None else ""
        known = row.code_bytes, row.weight_bytes, row.workspace_bytes, row.stack_bytes
        sizes = ("" if n is None else f"{n:,}" for n in known)
        made.add_row(escape(row.target), instructions, seconds, *sizes, "[green]yes[/]" if row.equal else "[red]no[/]")
    return made


def kernel_costs_table(row: BenchRow) -> Table:
    """What each kernel of one run costs on a target, in the order in which they run."""
    columns = "layer", "kernel", "instructions>", "part>", "MACs>", "per MAC>", "cycles, by the proxy>"
    made = table(*columns, title=escape(f"kernels on {row.target}"))
    for cost in row.kernels:
        part = f"{cost.instructions / (row.instructions or 1):.1%}"
        per_mac = f"{cost.instructions / cost.macs:.2f}" if cost.macs else ""
        macs = f"{cost.macs:,}" if cost.macs else ""
        cycles = "" if cost.cycles is None else f"{cost.cycles:,}"
        made.add_row(escape(cost.node), escape(cost.kernel), f"{cost.instructions:,}", part, macs, per_mac, cycles)
    return made


def notes_table(notes: Sequence[Note]) -> Table:
    """Every note once; a row for each."""
    made = table("pass", "node", "", "what")
    for note in dict.fromkeys(notes):
        made.add_row(note.pass_name, escape(note.node), sign(note), escape(note.text))
    return made


def alike_table(notes: Sequence[Note]) -> Table:
    """A row for all notes of the same text, with the first nodes and how many there are."""
    made = table("pass", "node", "", "what")
    alike: dict[Note, list[str]] = {}
    for note in dict.fromkeys(notes):
        alike.setdefault(dataclasses.replace(note, node=""), []).append(note.node)
    for note, nodes in alike.items():
        more = f" and {len(nodes) - NODES_SHOWN} more" if len(nodes) > NODES_SHOWN else ""
        made.add_row(note.pass_name, escape(", ".join(nodes[:NODES_SHOWN]) + more), sign(note), escape(note.text))
    return made


def sign(note: Note) -> str:
    if note.alarm:
        return "[red]alarm[/]"
    return "[yellow]declined[/]" if note.declined else "[green]done[/]"


def steps_table(steps: Sequence[Step]) -> Table:
    made = table("pass", "nodes before>", "nodes after>", "ms>")
    for step in steps:
        counts = (str(len(g.nodes)) for g in (step.before, step.after))
        made.add_row(step.pass_.name, *counts, f"{step.seconds * 1e3:.1f}")
    return made


def outputs_table(arrays: Mapping[str, Any], result: Run) -> Table:
    cost = f"{result.seconds * 1e3:.3f} ms a run" if result.seconds is not None else ""
    cost = f"{result.instructions:,} instructions a run" if result.instructions is not None else cost
    made = table("output", "type", "first elements", title=cost or None)
    for name, data in arrays.items():
        first = ", ".join(f"{v:.6g}" for v in data.ravel()[:8].tolist())
        made.add_row(escape(name), f"{data.dtype}{list(data.shape)}", first + (", ..." if data.size > 8 else ""))
    return made


def ports_table(report: ModelReport) -> Table:
    made = table("port", "name", "type", title=escape(report.name))
    for kind, found in (("input", report.inputs), ("output", report.outputs)):
        for port in found:
            made.add_row(kind, escape(port.name), escape(port.type))
    return made


def operators_table(report: ModelReport) -> Table:
    made = table("operator", "nodes>", "MACs>")
    for row in report.operators:
        made.add_row(row.operator, str(row.nodes), f"{row.macs:,}" if row.macs else "")
    return made


def cost_table(report: ModelReport) -> Table:
    made = table("cost of the graph as it is", f"at batch {report.batch}>")
    for name, value in dataclasses.asdict(report.cost).items():
        made.add_row(name.replace("_", " "), f"{value:,}")
    if report.peak_layer is not None:
        made.add_row("peak activation bytes", f"{report.peak_activation_bytes:,}")
        made.add_row("peak layer", escape(report.peak_layer))
    return made


def costs_table(costs: Mapping[str, Cost]) -> Table:
    """Costs side by side, at a batch of one."""
    made = table("cost", *(f"{name}>" for name in costs))
    rows = [dataclasses.asdict(cost) for cost in costs.values()]
    for name in rows[0]:
        made.add_row(name.replace("_", " "), *(f"{row[name]:,}" for row in rows))
    return made


def layers_table(report: ModelReport) -> Table:
    made = table("layer", "operator", "result", "parameter bytes>", "MACs>", "live bytes>")
    for layer in report.layers:
        costs = (f"{n:,}" if n else "" for n in (layer.parameter_bytes, layer.macs, layer.live_bytes))
        style = "bold" if layer.name == report.peak_layer else None
        made.add_row(escape(layer.name), layer.operator, escape(layer.result), *costs, style=style)
    return made


def targets_table(rows: Sequence[TargetRow]) -> Table:
    made = table("target", "description", "code", "runs on")
    for row in rows:
        name = escape(row.name) + " [green](host)[/]" * row.host
        made.add_row(name, escape(row.description), row.code, escape(row.runs_on))
    return made


def passes_table(rows: Sequence[PassRow]) -> Table:
    made = table("pass", "what", "options", "contract")
    for row in rows:
        options = ", ".join(f"{option}={default}" for option, default in row.options.items())
        made.add_row(*map(escape, (row.name, row.what, options, row.contract)))
    return made


def tools_table(rows: Sequence[ToolRow]) -> Table:
    made = table("tool", "for", "found")
    for row in rows:
        found = f"[green]{escape(row.path)}[/]" if row.path else "[red]missing[/]"
        made.add_row(escape(row.tool), escape(", ".join(row.targets)), found)
    return made
