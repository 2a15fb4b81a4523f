"""The measured rows as the table of the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Rows = Mapping[str, Mapping[str, Any]]

KINDS = {
    "central": "central",
    "float": "federated, float updates",
    "compressed": "federated, compressed updates",
}
"""The ways of learning, as the table calls them."""
HEAD = (
    "learned",
    "accuracy",
    "95 %",
    "macro-F1",
    "95 %",
    "int8: accuracy",
    "macro-F1",
    "rounds",
    "up",
    "down",
    "minutes",
)


def printed(results: Rows) -> str:
    """The scores on the test beats, what the learning cost, and what the programs of the board do."""
    lines = [HEAD, ("---", *["---:"] * (len(HEAD) - 1))]
    lines += [
        (text, *cells(results[kind], results[f"{kind} int8"], results[f"{kind} cost"])) for kind, text in KINDS.items()
    ]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    boards = [f"{text}: {board_text(results[f'{kind} board'])}" for kind, text in KINDS.items()]
    return "\n\n".join([table, *boards, bytes_text(results), *dropped_texts(results)])


def cells(floats: Mapping[str, float], integers: Mapping[str, float], cost: Mapping[str, Any]) -> list[str]:
    scored = [text for metric in ("top1", "f1") for text in (f"{floats[metric]:.2f}", interval(floats, metric))]
    small = [f"{integers[metric]:.2f}" for metric in ("top1", "f1")]
    sent = [f"{cost[what]:,}" if what in cost else "" for what in ("rounds", "up", "down")]
    return [*scored, *small, *sent, f"{cost['seconds'] / 60:.1f}"]


def interval(row: Mapping[str, float], metric: str) -> str:
    return f"{row[f'{metric} low']:.2f} to {row[f'{metric} high']:.2f}"


def board_text(row: Mapping[str, Any]) -> str:
    says = "the same as" if row["equal"] else "OTHER THAN"
    size = f"{row['flash']:,} bytes of flash, {row['ram']:,} of RAM, {row['instructions']:,} instructions a beat"
    return f"{size}; of {row['beats']} beats it says {says} the graph."


def bytes_text(results: Rows) -> str:
    part = results["float cost"]["up"] / results["compressed cost"]["up"]
    return f"Compressed updates are 1/{part:.1f} of the bytes."


def dropped_texts(results: Rows) -> list[str]:
    return [
        f"{KINDS[kind]}: in round {who['round']} {who['client']} was dropped: {who['why']}"
        for kind in ("float", "compressed")
        for who in results[f"{kind} cost"]["dropped"]
    ]
