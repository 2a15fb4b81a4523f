"""Writes docs/models.md: every architecture of the zoo, what it costs, and how far it is from PyTorch.

.venv/bin/python scripts/model_table.py            # prints the table
.venv/bin/python scripts/model_table.py --write    # writes docs/models.md
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from zoo.catalogue import ZOO, Entry  # noqa: E402
from zoo.compare import compare  # noqa: E402

from graphopt.ir import Constant, Input  # noqa: E402
from graphopt.report.cost import cost_of  # noqa: E402

HEAD = """# Models

Architectures that the tests hold to PyTorch: traced with a symbolic batch, optimised, and from that one graph evaluated
and compiled for the host, at batch 1 and 4. Weights are random, norms have the statistics of a trained model; sizes are
small, so that all compile in minutes. The tests store and read each, and export it to ONNX, where the checker passes it
and ONNX Runtime agrees with PyTorch. Differences are the worst of the host's program, max|d| / max|y|; the tests allow
{bound}. Milliseconds are those of batch 1, one thread, the fastest of {runs} runs on the machine that wrote this page.

Written by `python scripts/model_table.py --write`; `pytest tests/zoo -m "slow or not slow"` checks the same.

| model | input | parameters | MACs | nodes | batch 1 | batch 4 | host ms |
|---|---|---:|---:|---:|---:|---:|---:|
"""
RUNS = 20


def row(name: str, entry: Entry) -> str:
    """One line of the table."""
    found = compare(entry)
    cost = cost_of(found.graph)
    nodes = sum(not isinstance(n.op, Constant | Input) for n in found.graph.nodes)
    one, four = found.results
    inputs = [x.numpy() for x in entry.inputs(1)]
    seconds = min(one.program.measure(inputs).seconds or 0.0 for _ in range(RUNS))
    shapes = ", ".join("n x " + " x ".join(map(str, shape)) for shape in entry.shapes)
    costs = f"{cost.parameters:,} | {cost.macs:,} | {nodes}"
    differences = f"{one.compiled:.1e} | {four.compiled:.1e}"
    return f"| {name} | {shapes} | {costs} | {differences} | {seconds * 1e3:.3f} |\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write docs/models.md")
    parser.add_argument("models", nargs="*", help="only these architectures")
    options = parser.parse_args()
    text = HEAD.format(bound="1e-4", runs=RUNS)
    print(text, end="")
    for name in options.models or ZOO:
        line = row(name, ZOO[name])
        print(line, end="", flush=True)
        text += line
    if options.write:
        (ROOT / "docs" / "models.md").write_text(text)


if __name__ == "__main__":
    main()
