"""The measured rows as the table of the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean, stdev
from typing import Any

ROWS = {
    "the median box of the training pictures": "median box",
    "teacher": "teacher",
    "student, alone": "alone",
    "student, distilled": "distilled",
    "student, distilled, int8": "int8",
}
HEAD = ("network", "parameters", "MACs", "mAP50", "of each seed", "mAP50-95")


def printed(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Of what there is so far: mean and standard deviation over the seeds, and what the board's program costs."""
    lines = [HEAD, ("---", *["---:"] * (len(HEAD) - 1))]
    for text, kind in ROWS.items():
        if found := of_kind(results, kind):
            lines.append((text, *cells(found)))
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join(
        [table, *(board_text(row) for row in of_kind(results, "board")), split_text(results["pictures"])]
    )


def of_kind(results: Mapping[str, Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    """The row of this name, or those of its seeds."""
    return [row for name, row in results.items() if name == kind or name.rpartition(" ")[0] == kind]


def cells(rows: list[Mapping[str, Any]]) -> list[str]:
    seeds = ", ".join(f"{row['map50']:.3f}" for row in rows) if len(rows) > 1 else interval(rows[0])
    first = rows[0]
    return [f"{first['parameters']:,}", f"{first['macs']:,}", spread(rows, "map50"), seeds, spread(rows, "map50-95")]


def interval(row: Mapping[str, Any]) -> str:
    return f"95 %: {row['map50 low']:.3f} to {row['map50 high']:.3f}"


def spread(rows: list[Mapping[str, Any]], name: str) -> str:
    values = [row[name] for row in rows]
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def board_text(row: Mapping[str, Any]) -> str:
    says = "the same as" if row["equal"] else "OTHER THAN"
    size = f"{row['flash']:,} bytes of flash, {row['ram']:,} of RAM, {row['instructions']:,} instructions a picture"
    return f"{row['target']}: {size}; of {row['pictures']} pictures it says {says} the graph."


def split_text(row: Mapping[str, int]) -> str:
    left_out = f"{row['left out']} more are left out, which have a sibling among those"
    return f"Trained on {row['train']:,} pictures, scored on {row['val']:,}; {left_out}."
