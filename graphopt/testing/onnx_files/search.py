"""Draw ONNX files from seeds, examine them, keep what disagrees, and tell of it in a table."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from graphopt.ir import Array
from graphopt.testing.onnx_files import composed, elementwise, layers, moves
from graphopt.testing.onnx_files.drawing import FileDrawing, Undrawn
from graphopt.testing.onnx_files.examine import WAYS, Outcome, by_itself, examine, faulty
from graphopt.testing.onnx_files.table import DRAWS, has, opsets

TABLES = (composed, elementwise, layers, moves)
"""The modules that fill the table of operators."""
ATTEMPTS, MORE, HOST_EVERY = 8, 3, 10


@dataclass
class Tally:
    """What came of the files: counts by way and state, of operators, of refusals and exceptions by reason."""

    files: int = 0
    nodes: int = 0
    drawn: Counter[str] = field(default_factory=Counter)
    compared: Counter[str] = field(default_factory=Counter)
    states: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    findings: list[Path] = field(default_factory=list)
    undrawn: Counter[str] = field(default_factory=Counter)

    def count(self, outcome: Outcome) -> None:
        """Count the outcome of one way."""
        self.states[outcome.way, outcome.state] += 1
        if outcome.detail and not outcome.is_fault:
            self.reasons[outcome.state, outcome.detail] += 1


def draw_file(seed: int) -> FileDrawing | None:
    """The file of a seed: the operators take turns as the first node, up to three more follow.

    None where ONNX Runtime refuses all that was drawn for that operator.
    """
    rng = np.random.default_rng(seed)
    names = sorted(DRAWS)
    first = names[seed % len(names)]
    for _ in range(ATTEMPTS):
        known = opsets(first)
        file = FileDrawing(rng, known[int(rng.integers(len(known)))], batch=int(rng.integers(1, 4)))
        if file.step(DRAWS[first], first):
            for _ in range(file.integer(0, MORE)):
                name = file.choice([name for name in names if has(name, file.opset)])
                file.step(DRAWS[name], name)
            return file
    return None


def check_file(seed: int, tally: Tally, folder: Path | None, host: bool) -> None:
    """Draw and examine one file; what disagrees is written to the folder."""
    tally.files += 1
    file = draw_file(seed)
    if file is None:
        tally.undrawn[sorted(DRAWS)[seed % len(DRAWS)]] += 1
        return
    model = file.model(free_batch=file.chance(30))
    given = {info.name: file.inputs[info.name] for info in model.graph.input}
    try:
        outcomes = examine(model, given, file.batch, [way for way in WAYS if host or way != "host"])
    except Undrawn:
        tally.undrawn["a file of nodes that it takes one by one"] += 1
        return
    operators = {node.op_type for node in file.nodes}
    tally.nodes += len(file.nodes)
    tally.drawn.update(operators)
    if any(outcome.way in WAYS for outcome in outcomes):
        tally.compared.update(operators)
    for outcome in outcomes:
        tally.count(settled(file, model, given, outcome, seed, folder, tally) if outcome.is_fault else outcome)


def settled(
    file: FileDrawing,
    model: onnx.ModelProto,
    given: Mapping[str, Array],
    outcome: Outcome,
    seed: int,
    folder: Path | None,
    tally: Tally,
) -> Outcome:
    """A fault, written as the first node at fault by itself if there is one; none if ONNX Runtime departs there."""
    nodes = faulty(file, outcome.way)
    ours = [node for node in nodes if not file.departure(node)]
    if nodes and not ours:
        return Outcome(outcome.way, "excepted", file.departure(nodes[0]))
    if ours:
        model, given = by_itself(file, ours[0])
    tally.findings.append(write(model, given, outcome, seed, folder))
    return outcome


def write(model: onnx.ModelProto, given: Mapping[str, Array], outcome: Outcome, seed: int, folder: Path | None) -> Path:
    """A file that disagrees, with its numbers and what is wrong; without a folder it is printed on stderr."""
    operators = "-".join(sorted({node.op_type for node in model.graph.node})[:4])
    path = (folder or Path()) / f"onnx-{seed}-{outcome.way}-{operators}.onnx"
    text = (
        f"# {outcome.way}: {outcome.state}: {outcome.detail}\n"
        f"# again: python -m graphopt.testing.onnx_files --files 1 --seed {seed}\n{onnx.printer.to_text(model)}\n"
    )
    if folder is None:
        print(text, file=sys.stderr)
        return path
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    np.savez(path.with_suffix(".npz"), **given)  # type: ignore[arg-type]
    path.with_suffix(".txt").write_text(text)
    print(f"{path}: {outcome.state}: {outcome.detail}", file=sys.stderr)
    return path


def examine_files(files: int, seed: int, folder: Path | None = None, host_every: int = HOST_EVERY) -> Tally:
    """Examine so many files, of the seeds from ``seed`` on; one in ``host_every`` as a program of this machine too.

    Raises ``Unsupported`` if onnxruntime is not installed.
    """
    tally = Tally()
    with quiet():
        for number in range(files):
            check_file(seed + number, tally, folder, number % host_every == 0)
    return tally


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings of batches that are fixed, of which there are many."""
    logger = logging.getLogger("graphopt")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def report(tally: Tally) -> str:
    """The tally as text: a table of the ways, the operators that were covered, the reasons."""
    states = ("equal", "refused", "excepted", "sensitive", "differs", "crashed")
    operators = f"{len(tally.drawn)} operators drawn, {len(tally.compared)} compared"
    lines = [
        f"{tally.files} files, {tally.nodes} nodes, {operators}",
        "",
        f"{'':12}" + "".join(f"{state:>11}" for state in states),
    ]
    lines += [f"{way:12}" + "".join(f"{tally.states[way, state]:>11}" for state in states) for way in ("load", *WAYS)]
    lines += ["", "compared: " + ", ".join(f"{op} {count}" for op, count in sorted(tally.compared.items()))]
    lines += listed("not drawn, for ONNX Runtime refused it", tally.undrawn.items())
    for state in ("refused", "excepted"):
        lines += listed(state, [(why, n) for (s, why), n in tally.reasons.most_common() if s == state])
    lines += ["", f"{len(tally.findings)} unexplained mismatches", *map(str, tally.findings)]
    return "\n".join(lines)


def listed(title: str, counts: Iterable[tuple[str, int]]) -> list[str]:
    found = list(counts)
    return ["", f"{title}:", *(f"{count:6} {why}" for why, count in found)] if found else []


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; exit code 1 if anything was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="of the first file; they count up")
    parser.add_argument("--output", type=Path, default=Path("fuzz-findings"), help="the folder for findings")
    parser.add_argument("--host-every", type=int, default=HOST_EVERY, help="one file in so many is compiled as well")
    options = parser.parse_args(arguments)
    tally = examine_files(options.files, options.seed, options.output, options.host_every)
    print(report(tally))
    sys.exit(bool(tally.findings))
