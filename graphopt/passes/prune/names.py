"""Layers chosen by name patterns."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from graphopt.errors import InvalidInput
from graphopt.ir import Graph, Node


def named_layers(graph: Graph, patterns: Sequence[str]) -> dict[Node, str]:
    """The nodes that a pattern (``head.*``) matches by their names, their origins, or those of their constants.

    Each comes with the first pattern that matches it. Raises ``InvalidInput`` for a pattern without a match.
    """
    found: dict[Node, str] = {}
    used = set()
    for node in graph.nodes if patterns else ():
        weights = [v.node for v in node.inputs if v.constant is not None]
        names = [name for n in (node, *weights) for name in (graph.names[n], *n.origins)]
        fitting = [p for p in patterns if node.inputs and any(fnmatchcase(name, p) for name in names)]
        used.update(fitting)
        if fitting:
            found[node] = fitting[0]
    if unused := [p for p in patterns if p not in used]:
        raise InvalidInput(f"no layer is called {unused[0]!r}", where="keep")
    return found
