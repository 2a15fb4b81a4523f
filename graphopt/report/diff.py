"""The difference between two graphs, as text."""

from __future__ import annotations

import difflib

from graphopt.ir import Graph


def graph_diff(before: Graph, after: Graph, context: int = 2) -> str:
    """A unified diff of the text forms; empty if they are the same."""
    lines = difflib.unified_diff(
        str(before).splitlines(), str(after).splitlines(), "before", "after", "", "", context, ""
    )
    return "\n".join(lines)
