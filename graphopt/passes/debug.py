"""Reports of pipelines on stderr for ``GRAPHOPT_DEBUG``; each level adds to the lower ones.

1: each pass, its nodes before and after, its time. 2: what it did and declined. 3: the graph after it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from graphopt.errors import InvalidInput, printable
from graphopt.passes.base import Note
from graphopt.passes.step import Step

VARIABLE = "GRAPHOPT_DEBUG"


def level() -> int:
    """The level in ``GRAPHOPT_DEBUG``; raises ``InvalidInput`` if it is not a level."""
    text = os.environ.get(VARIABLE) or "0"
    if text not in ("0", "1", "2", "3"):
        raise InvalidInput(f"there is no level {text!r}", where=VARIABLE, advice="use 0, 1, 2 or 3")
    return int(text)


def tell(step: Step, notes: Sequence[Note]) -> None:
    """Report one step, with its notes."""
    asked = level()
    if not asked:
        return
    counts = " -> ".join(str(len(graph.nodes)) for graph in (step.before, step.after))
    lines = [f"graphopt: {step.pass_.name}: {counts} nodes, {step.seconds * 1e3:.1f} ms"]
    if asked >= 2:
        told = (f"{note.node}: {note.text}{' (declined)' * note.declined}" for note in dict.fromkeys(notes))
        lines += [f"graphopt:   {printable(text)}" for text in told]
    if asked >= 3:
        lines.append(str(step.after))
    print("\n".join(lines), file=sys.stderr)
