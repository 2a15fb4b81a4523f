"""Differential fuzzing, for as long as one likes: ``python -m graphopt.testing.fuzz --minutes 10``.

Each graph drawn is computed in several ways, which must agree: float graphs to a rounding error (``fuzz_floats``),
quantized nets bit for bit (``fuzz_integers``), in turn. What does not is reduced to the smallest graph that still
disagrees in the same way, and written to a folder as ``.gopt`` and as text. ONNX files are drawn before, as many as
minutes warrant: see ``graphopt.testing.onnx_files``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from graphopt.errors import GraphoptError
from graphopt.testing import onnx_files
from graphopt.testing.findings import Finding, Kind, smallest, write
from graphopt.testing.fuzz_floats import floats
from graphopt.testing.fuzz_integers import TARGETS, integers

FILES_A_MINUTE = 30
KINDS = ("files", "float", "int8")


class Search:
    """A search for findings: graphs drawn, checks and refusals by way, and what was found, reduced and written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.graphs = 0
        self.checks = Counter[str]()
        self.refused = Counter[str]()
        self.findings: dict[tuple[str, str, str], Finding] = {}

    def run(self, kinds: Sequence[Kind], minutes: float, seed: int) -> None:
        """Examine graphs of the kinds in turn for so long, telling of the progress on stderr."""
        started = time.monotonic()
        count = 0
        while kinds and (elapsed := time.monotonic() - started) < 60 * minutes:
            for kind in kinds:
                self.tell(f"seed {seed + count}, {max(minutes - elapsed / 60, 0):.1f} minutes left")
                with suppress(GraphoptError):  # nothing could be drawn of this seed
                    self.examine(kind, count, seed + count)
            count += 1
        self.tell("done")
        for what, counts in (("checks", self.checks), ("refused", self.refused)):
            print(f"\n{what}: {', '.join(f'{way} {n}' for way, n in counts.items())}", end="", file=sys.stderr)
        print(file=sys.stderr)

    def examine(self, kind: Kind, count: int, seed: int) -> None:
        graph = kind.draw(seed)
        self.graphs += 1
        for way in kind.ways(count):
            try:
                found = kind.examine(graph, way, seed)
            except GraphoptError:  # by the target, or by the evaluator itself, as for an index outside an axis
                self.refused[way] += 1
                continue
            self.checks[way] += 1
            if found is not None:
                self.note(smallest(found, kind))

    def note(self, small: Finding) -> None:
        """Write a finding, unless there is one like it."""
        key = (small.way, small.kind, small.operators)
        if key not in self.findings:
            self.findings[key] = small
            print(f"\n{write(small, self.folder)}: {small.kind}: {small.detail}", file=sys.stderr)

    def tell(self, text: str) -> None:
        done = f"{self.graphs} graphs, {self.checks.total()} checks, {len(self.findings)} findings"
        print(f"\r{done}, {text} ", end="", file=sys.stderr, flush=True)


def main() -> None:
    """The command line; exit code 1 if anything was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first graph; they count up")
    parser.add_argument("--output", type=Path, default=Path("fuzz-findings"), help="the folder for findings")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="what is drawn")
    parser.add_argument("--targets", nargs="+", default=TARGETS, help="the targets of int8 graphs")
    parser.add_argument("--every", type=int, default=10, help="one float graph in so many runs on an emulator")
    parser.add_argument("--files", type=int, help=f"ONNX files drawn before; {FILES_A_MINUTE} a minute if not given")
    options = parser.parse_args()
    print(f"seed {options.seed}", file=sys.stderr)
    faults = 0
    if "files" in options.kinds:
        files = int(FILES_A_MINUTE * options.minutes) if options.files is None else options.files
        tally = onnx_files.examine_files(files, options.seed, options.output)
        print(onnx_files.report(tally), file=sys.stderr)
        faults = len(tally.findings)
    drawn = {"float": floats(options.every), "int8": integers(options.targets)}
    search = Search(options.output)
    search.run([kind for name, kind in drawn.items() if name in options.kinds], options.minutes, options.seed)
    sys.exit(bool(search.findings or faults))


if __name__ == "__main__":
    main()
