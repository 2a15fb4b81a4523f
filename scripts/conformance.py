"""Run the ONNX backend tests through graphopt, print a summary, and write docs/conformance.md.

    .venv/bin/python scripts/conformance.py [--jobs 2] [--only NAME] [--output docs/conformance.md]

Every test runs on the reference evaluator and as a compiled program of this machine; every twelfth on emulators too.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from conformance.backend import DELIBERATE, DIFFERENT, PASSED, REFUSED, WRONG, Outcome, cases, run  # noqa: E402

PLACES = {"evaluator": "evaluator", "host": "program"}
"""The fields of an outcome, by what they are called in the tables."""
EMULATED = ("aarch64", "cortex-m7")
EVERY = 12
STATES = (PASSED, REFUSED, WRONG, DIFFERENT)


def run_one(index: int, target: str) -> Outcome:
    logging.disable(logging.CRITICAL)
    return run(cases()[index], target)


def run_all(jobs: int, only: str = "", target: str = "host", every: int = 1) -> list[Outcome]:
    """The outcomes of each of so many tests whose name contains ``only``, in ``jobs`` processes."""
    chosen = [i for i, case in enumerate(cases()) if only in case.name][::every]
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        return pool.map(partial(run_one, target=target), chosen, chunksize=4)


def counts(outcomes: Iterable[Outcome], field: str) -> str:
    found = Counter(getattr(o, field) for o in outcomes)
    return " | ".join(str(found[state]) for state in STATES)


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """How many are in each state in all, plain and expanded apart."""
    lines = [f"| tests | place | {' | '.join(STATES)} |", "|---|---|" + "---:|" * len(STATES)]
    kinds = sorted({o.kind for o in outcomes})
    groups = [(f"{kind}, plain", [o for o in outcomes if o.kind == kind and not o.is_expanded]) for kind in kinds]
    groups += [("node, `_expanded`", [o for o in outcomes if o.is_expanded])]
    groups += [("all, plain", [o for o in outcomes if not o.is_expanded])]
    for name, group in groups:
        lines += [
            f"| {name} ({len(group)}) | {place} | {counts(group, field)} |" for place, field in PLACES.items() if group
        ]
    return lines


def sampled(found: Mapping[str, Sequence[Outcome]]) -> list[str]:
    """The same of what ran on emulators, plain and expanded together."""
    return [
        f"| every {EVERY}th ({len(group)}) | {name} | {counts(group, 'program')} |" for name, group in found.items()
    ]


def by_operator(outcomes: Sequence[Outcome]) -> list[str]:
    """One row an operator, with the reasons of what is refused."""
    states = " | ".join(STATES)
    lines = [
        f"| operator | evaluator: {states} | host: {states} | reasons |",
        "|---|" + "---:|" * 2 * len(STATES) + "---|",
    ]
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.op].append(outcome)
    for op, group in sorted(groups.items()):
        reasons = Counter(short(o.why or o.why_program) for o in group if o.why or o.why_program)
        text = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common())
        lines.append(f"| {op} | {counts(group, 'evaluator')} | {counts(group, 'program')} | {text.replace('|', '/')} |")
    return lines


def deliberate() -> list[str]:
    """The tests that count as different, with the reason."""
    return [f"- `{name}`: {why}." for name, why in sorted(DELIBERATE.items())]


def short(reason: str) -> str:
    """A reason without the names of tests, nodes and tensors, so that equal ones count together."""
    if "a dtype without kernels" in reason:
        return "no kernels of float16" if "float16" in reason else reason
    reason = re.sub(r"^[^':]* \([\w.:]+\): |^(input|tensor) '[^']*':? ?", "", reason)
    return re.sub(r"'[^']*'|(?<= )test_\w+", "...", reason).split("; ")[0]


def report(outcomes: Sequence[Outcome], emulated: Mapping[str, Sequence[Outcome]], seconds: float) -> str:
    frozen = [o for o in outcomes if o.frozen and o.evaluator == PASSED]
    plain, expanded = ([o for o in outcomes if o.is_expanded == e] for e in (False, True))
    return "\n".join(
        [
            "# ONNX conformance",
            "",
            "The tests of the ONNX backend that come with `onnx`, through graphopt: on the reference evaluator, and",
            "compiled for and run on the machine at hand; a sample of them on emulators of AArch64 and Cortex-M7.",
            "Floats agree to the runner's own rtol 1e-3 and atol 1e-7, integers and bools exactly. *Refused* means an",
            "error that names the reason, at load or when compiling; *wrong* would be another result, or a crash;",
            "*different* is another result on purpose, which stands below with its reason.",
            "`_expanded` tests write an operator as the function that defines it, and count apart. Tests of kind",
            "*real* download their models and are left out.",
            "",
            f"Of the tests that pass, {len(frozen)} have inputs which say a shape, axes or a count: load refuses them",
            "as inputs at run time, and the test gives them to `load(..., constants=...)`.",
            "",
            "Made by `.venv/bin/python scripts/conformance.py` "
            f"in {seconds:.0f} s; `make test` runs a sample of the tests, `make test-all` all.",
            "",
            *table(outcomes),
            *sampled(emulated),
            "",
            "## Deliberate differences",
            "",
            *deliberate(),
            "",
            "## By operator",
            "",
            *by_operator(plain),
            "",
            "## By operator, `_expanded`",
            "",
            *by_operator(expanded),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="run the tests whose name contains this, and write nothing")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "conformance.md")
    options = parser.parse_args()
    start = time.monotonic()
    outcomes = run_all(options.jobs, options.only)
    emulated = {t: run_all(options.jobs, options.only, t, EVERY) for t in EMULATED}
    print("\n".join([*table(outcomes), *sampled(emulated)]))
    everything = [*outcomes, *(o for group in emulated.values() for o in group)]
    for o in everything:
        if WRONG in (o.evaluator, o.program) or options.only:
            print(f"{o.name} ({o.op}): evaluator {o.evaluator} {o.why}; host {o.program} {o.why_program}")
    if not options.only:
        options.output.write_text(report(outcomes, emulated, time.monotonic() - start))
    sys.exit(any(WRONG in (o.evaluator, o.program) for o in everything))


if __name__ == "__main__":
    main()
