"""The tables that the commands print."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from graphopt.errors import ToolFailed, printable

if TYPE_CHECKING:
    from graphopt.ir import Graph
    from graphopt.passes import Note, Pass, Step
    from graphopt.runtime import Program, Run
    from graphopt.targets import Target


class CleanTable(Table):
    """A table whose title and cells are made ``printable``."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        super().add_row(*(printable(cell) if isinstance(cell, str) else cell for cell in cells), **options)


NODES_SHOWN = 3


def table(*columns: str, title: str | None = None) -> Table:
    """A table whose columns are right-aligned where their heading ends in ``>``."""
    made = CleanTable(title=None if title is None else printable(title), title_justify="left")
    for column in columns:
        made.add_column(column.rstrip(">"), justify="right" if column.endswith(">") else "left", overflow="fold")
    return made


def program_table(program: Program, folder: str) -> Table:
    manifest = program.manifest
    made = table("what", "value>", title=escape(f"{manifest['name']} for {manifest['target']}, in {folder}"))
    for what, value in (
        *((f"{kind} {p['name']}", port_text(p)) for kind in ("input", "output") for p in manifest[f"{kind}s"]),
        ("kernels", len(manifest["kernels"])),
        ("code bytes", code_bytes(program)),
        ("weight bytes", manifest["weight_bytes"]),
        ("workspace bytes", manifest["workspace_bytes"]),
    ):
        made.add_row(escape(what), value if isinstance(value, str) else f"{value:,}")
    return made


def code_bytes(program: Program) -> int | str:
    """The bytes of the code, or what has to be installed to know them. Raises ``ToolFailed`` where a tool is wrong."""
    try:
        return program.sizes.code
    except ToolFailed as error:
        if error.advice is None:
            raise
        return escape(f"unknown: {error.what} ({error.advice})")


def port_text(port: Mapping[str, Any]) -> str:
    """A port of a manifest in words."""
    text = f"{port['dtype']}{port['shape']}"
    return escape(f"{text}, scale {port['scale']:.6g}, zero point {port['zero_point']}" if "scale" in port else text)


def bench_table(model: str, rows: Sequence[tuple[str, Program, Run, bool]]) -> Table:
    """What one run costs on each target, and whether it gives what the reference evaluator gives."""
    columns = "target", "instructions>", "ms>", "code B>", "weights B>", "workspace B>", "equal"
    made = table(*columns, title=escape(model))
    for target, program, run, equal in rows:
        instructions = f"{run.instructions:,}" if run.instructions is not None else ""
        seconds = f"{run.seconds * 1e3:.3f}" if run.seconds is not None else ""
        sizes = (f"{n:,}" for n in dataclasses.astuple(program.sizes))
        made.add_row(escape(target), instructions, seconds, *sizes, "[green]yes[/]" if equal else "[red]no[/]")
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


def ports_table(graph: Graph) -> Table:
    made = table("port", "name", "type", title=escape(graph.name))
    for value in graph.inputs:
        made.add_row("input", escape(graph.names[value.node]), escape(str(value.type)))
    for name, value in zip(graph.output_names, graph.outputs, strict=True):
        made.add_row("output", escape(name), escape(str(value.type)))
    return made


def operators_table(graph: Graph, batch: int) -> Table:
    from graphopt.ir import Constant, Input, bind_batch
    from graphopt.ops.macs import macs_of

    counts, macs = Counter[str](), Counter[str]()
    for node in bind_batch(graph, batch).nodes:
        if not isinstance(node.op, Constant | Input):
            counts[node.op.name] += 1
            macs[node.op.name] += macs_of(node)
    made = table("operator", "nodes>", "MACs>")
    for name, count in counts.most_common():
        made.add_row(name, str(count), f"{macs[name]:,}" if macs[name] else "")
    return made


def cost_table(graph: Graph, batch: int) -> Table:
    from graphopt.report import cost_of, layers_of, peak_layer

    made = table("cost", f"at batch {batch}>")
    for name, value in dataclasses.asdict(cost_of(graph, batch)).items():
        made.add_row(name.replace("_", " "), f"{value:,}")
    if peak := peak_layer(layers_of(graph, batch)):
        made.add_row("peak activation bytes", f"{peak.live_bytes:,}")
        made.add_row("peak layer", escape(peak.name))
    return made


def costs_table(graphs: Mapping[str, Graph]) -> Table:
    """The costs of several graphs side by side, at a batch of one."""
    from graphopt.report import cost_of

    made = table("cost", *(f"{name}>" for name in graphs))
    costs = [dataclasses.asdict(cost_of(graph)) for graph in graphs.values()]
    for name in costs[0]:
        made.add_row(name.replace("_", " "), *(f"{cost[name]:,}" for cost in costs))
    return made


def layers_table(graph: Graph, batch: int) -> Table:
    from graphopt.report import layers_of, peak_layer

    made = table("layer", "operator", "result", "parameter bytes>", "MACs>", "live bytes>")
    layers = layers_of(graph, batch)
    peak = peak_layer(layers)
    for layer in layers:
        costs = (f"{n:,}" if n else "" for n in (layer.parameter_bytes, layer.macs, layer.live_bytes))
        style = "bold" if layer is peak else None
        made.add_row(escape(layer.name), layer.operator, escape(layer.result), *costs, style=style)
    return made


def targets_table(targets: Sequence[Target], host: str) -> Table:
    made = table("target", "description", "code", "runs on")
    for target in targets:
        runner = target.runner
        where = {"native": "this machine", "user": runner.emulator, "board": f"QEMU {runner.machine}"}[runner.kind]
        name = escape(target.name) + " [green](host)[/]" * (target.name == host)
        code = {"llvm": "shared library", "c": "C99"}[target.codegen]
        made.add_row(name, escape(target.description), code, escape(where))
    return made


def passes_table(passes: Mapping[str, type[Pass]]) -> Table:
    made = table("pass", "what", "options", "contract")
    for name, pass_ in sorted(passes.items()):
        options = ", ".join(f"{option}={default!r}" for option, default in pass_.options().items())
        what = (pass_.__doc__ or "").strip().split("\n\n")[0]
        made.add_row(escape(name), escape(" ".join(what.split())), escape(options), escape(str(pass_.contract)))
    return made


def doctor_table(targets: Sequence[Target]) -> tuple[Table, list[str]]:
    """The tools of all targets, and the packages of those that are missing."""
    made = table("tool", "for", "found")
    missing: dict[str, None] = {}
    users: dict[tuple[str, str], list[str]] = {}
    for target in targets:
        for tool, package in (
            (target.toolchain.compiler, target.toolchain.package),
            (target.runner.emulator, target.runner.package),
        ):
            if tool:
                users.setdefault((tool, package), []).append(target.name)
    for (tool, package), names in users.items():
        path = shutil.which(tool)
        made.add_row(escape(tool), escape(", ".join(names)), f"[green]{path}[/]" if path else "[red]missing[/]")
        missing.update(dict.fromkeys([] if path else package.split()))
    return made, list(missing)
