"""Writes the tables of docs/tflite.md: the files of MLPerf Tiny by LiteRT and by graphopt, and every operator.

    .venv/bin/python scripts/tflite_table.py            # prints them
    .venv/bin/python scripts/tflite_table.py --write    # writes them into docs/tflite.md

The files and their data are looked for in GRAPHOPT_SHARED (by default ../shared).
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from frontends.tflite.building import Made  # noqa: E402
from frontends.tflite.case import FLOAT, Case  # noqa: E402
from frontends.tflite.cases import CASES  # noqa: E402
from frontends.tflite.checking import drawn, worst  # noqa: E402
from frontends.tflite.files import FILES, area_under_curve, compared, graph_of, path_of  # noqa: E402

import graphopt  # noqa: E402
from graphopt import Program  # noqa: E402
from graphopt.errors import GraphoptError  # noqa: E402
from graphopt.ir import Array, Graph  # noqa: E402
from graphopt.passes import LowerInteger  # noqa: E402
from graphopt.passes.base import Context  # noqa: E402
from graphopt.passes.contract import random_inputs  # noqa: E402
from graphopt.passes.prune.dead import RemoveDeadChannels  # noqa: E402

PAGE = ROOT / "docs" / "tflite.md"
TARGET = "cortex-m4"
UNHELPFUL = "it is not between dequantize and quantize"
"""The reason of the inner operators of a composition, beside that of the last."""
BATCH = 196
"""Of the net that is evaluated on tens of thousands of windows."""
FILE_HEAD = (
    "| file | bytes | samples | LiteRT | graphopt | same outputs | furthest | instructions | arena B | weights B "
    "| code B |",
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
)
OPERATOR_HEAD = (
    "| operator | models | evaluator | in integers | host | refused | wrong | furthest | stays float |",
    "|---|---:|---:|---:|---:|---:|---:|---:|---|",
)


def on_microcontroller(graph: Graph) -> str:
    """Instructions, arena, weights and code of a graph."""
    program = graphopt.compile(graphopt.optimize(graph), TARGET)
    run, sizes = program.measure(random_inputs(graphopt.bind_batch(graph, 1), seed=0)), program.sizes
    return f"{run.instructions or 0:,} | {sizes.workspace:,} | {sizes.weights:,} | {sizes.code:,}"


def file_rows(shared: Path) -> Iterator[str]:
    for name, file in FILES.items():
        found = compared(shared, name, None, BATCH if name == "ad" else 1)
        count = len(file.samples(shared)[0]) // (BATCH if name == "ad" else 1)
        graph, form = graph_of(shared, name), ".4f" if file.score is area_under_curve else ".2%"
        scores = f"{found.litert:{form}} | {found.ours:{form}} | {found.same:.2%} | {found.largest}"
        size = path_of(shared, name).stat().st_size
        yield f"| {file.name} | {size:,} | {count:,} | {scores} | {on_microcontroller(graph)} |"
        small = RemoveDeadChannels().run(graph, Context())
        if small is not graph:
            yield f"| ... without dead channels | | | | | | | {on_microcontroller(small)} |"


@dataclass
class Row:
    """What became of the models of one operator: how many pass in each place, and what stays float, by reason."""

    models: int = 0
    evaluator: int = 0
    integers: int = 0
    host: int = 0
    refused: int = 0
    furthest: float = 0.0
    floats: dict[str, list[str]] = field(default_factory=dict)

    def text(self, op: str) -> str:
        wrong = 3 * self.models - self.evaluator - self.integers - self.host - self.refused
        counts = (self.models, self.evaluator, self.integers, self.host, self.refused, wrong, round(self.furthest))
        stays = "; ".join(f"{', '.join(dict.fromkeys(types))}: {why}" for why, types in self.floats.items())
        return f"| {op} | {' | '.join(map(str, counts))} | {stays} |"


def host_result(graph: Graph, found: Made, wanted: list[Array]) -> float | None:
    """How far the program of this machine is from LiteRT; None where it cannot be compiled."""
    try:
        program: Program = graphopt.compile(graph, "host", io="float32")
    except GraphoptError:
        return None

    def run(*inputs: Array) -> list[Array]:
        return list(program.measure(list(inputs)).outputs[0])

    return worst(run, found, wanted)


def check(row: Row, name: str, case: Case, variant: str, folder: Path) -> None:
    graph, found, wanted = drawn(name, case, variant, folder)
    context = Context()
    LowerInteger().run(graph, context)
    small = graphopt.optimize(graph)
    differences = worst(graph, found, wanted), worst(small, found, wanted)
    host = host_result(small, found, wanted)
    row.models += 1
    row.evaluator += differences[0] <= case.steps
    row.integers += differences[1] <= case.steps
    row.refused += host is None
    row.host += host is not None and host <= case.steps
    row.furthest = max(row.furthest, differences[1] if any(found.scales) else 0.0)
    for note in context.notes if variant != FLOAT else ():
        if note.declined and UNHELPFUL not in note.text:
            why = note.text.removeprefix("stays float: ").partition("; it costs")[0]
            row.floats.setdefault(why, []).append(variant)


def operator_rows() -> Iterator[str]:
    rows: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, case in CASES.items():
            row = rows.setdefault(case.op, Row())
            for variant in case.variants:
                check(row, name, case, variant, Path(folder))
    return (row.text(op) for op, row in sorted(rows.items()))


def written(page: str, part: str, lines: list[str]) -> str:
    """The page with other lines between the marks of a part."""
    marked = re.compile(rf"(<!-- {part} -->\n).*?(<!-- end of {part} -->)", re.DOTALL)
    return marked.sub(lambda found: found[1] + "\n".join(lines) + "\n" + found[2], page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write docs/tflite.md")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    shared = Path(os.environ.get("GRAPHOPT_SHARED", ROOT.parent / "shared"))
    parts = {"files": [*FILE_HEAD, *file_rows(shared)], "operators": [*OPERATOR_HEAD, *operator_rows()]}
    for lines in parts.values():
        print("\n".join(lines))
    if options.write:
        page = PAGE.read_text()
        for part, lines in parts.items():
            page = written(page, part, lines)
        PAGE.write_text(page)


if __name__ == "__main__":
    main()
