"""What a fuzzer found: reduced to the smallest graph that shows it, and written to a folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from graphopt.errors import InvalidInput
from graphopt.exporters import save
from graphopt.ir import Constant, Graph, Input
from graphopt.testing.reduce import reduce

REDUCE_SECONDS = 120.0


@dataclass(frozen=True)
class Finding:
    """A way that disagrees with the evaluator on a graph, or fails; ``kind`` is what a reduction keeps."""

    way: str
    seed: int
    kind: str
    detail: str
    graph: Graph

    @property
    def operators(self) -> str:
        """The names of the first operators of the graph."""
        return "-".join(sorted({n.op.name for n in self.graph.nodes if not isinstance(n.op, Input | Constant)})[:4])

    @property
    def name(self) -> str:
        return f"{self.way}-{self.seed}-{self.operators}"


@dataclass(frozen=True)
class Kind:
    """What is fuzzed: ``draw`` makes a graph of a seed, and each of the ``ways`` for the graph of a number is examined.

    ``examine`` gives what is wrong with a way of computing a graph, on inputs of a seed; None if nothing is, or if it
    cannot be judged. It raises a ``GraphoptError`` where the graph is refused.
    """

    draw: Callable[[int], Graph]
    ways: Callable[[int], Iterator[str]]
    examine: Callable[[Graph, str, int], Finding | None]


def smallest(finding: Finding, kind: Kind) -> Finding:
    """The finding on the smallest graph that shows it, as far as a reduction gets in its time."""
    deadline, shown = time.monotonic() + REDUCE_SECONDS, [finding]

    def fails(graph: Graph) -> bool:
        found = kind.examine(graph, finding.way, finding.seed) if time.monotonic() < deadline else None
        if found is None or found.kind != finding.kind:
            return False
        shown.append(found)
        return True

    with suppress(InvalidInput):  # it failed once, and does not again
        reduce(finding.graph, fails)
    return shown[-1]


def write(finding: Finding, folder: Path) -> Path:
    """The finding as a model and as a text that says what is wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{finding.name}.gopt"
    save(finding.graph, path)
    path.with_suffix(".txt").write_text(
        f"# {finding.way}, seed {finding.seed}: {finding.kind}: {finding.detail}\n{finding.graph}\n"
    )
    return path
