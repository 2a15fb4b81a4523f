"""Attention by itself: in bands of rows, with all scores in memory, and by peers, side by side in one process.

    python benchmarks/attention.py [TARGET]

One sample of [heads, tokens, depth] for queries, keys and values; process CPU time, medians of calls that alternate.
Each call is one from Python.
"""

from __future__ import annotations

import os
import sys
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")
import torch
from peers import PEERS, versions
from rich.console import Console
from rich.table import Table
from timing import alternating

import graphopt
from graphopt.ir import Graph, Op
from graphopt.targets import lowering

SIZES = [(12, 64, 32), (3, 197, 64), (12, 197, 64), (8, 512, 64), (4, 1024, 64), (2, 2048, 64)]
"""Heads, tokens, depth of a head."""


class Attend(torch.nn.Module):
    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)


def all_scores(graph: Graph, target: str) -> graphopt.Program:
    """The program in which each kernel goes over all rows."""

    def apart(graph: Graph, supported: set[type[Op]]) -> Graph:
        return graph

    join, lowering.join_attention = lowering.join_attention, apart
    try:
        return graphopt.compile(graph, target)
    finally:
        lowering.join_attention = join


def main() -> None:
    target = sys.argv[1] if len(sys.argv) > 1 else "host"
    torch.set_num_threads(1)
    names = [name for name in PEERS if name in versions()]
    table = Table(title=f"attention on {target}: milliseconds of a call; bytes of the workspace")
    for heading in ("heads, tokens, depth", "causal", "in bands", "bytes", "all scores", "bytes", *names):
        table.add_column(heading, justify="right")
    for sizes in SIZES:
        for causal in (False, True):
            torch.manual_seed(0)
            inputs = tuple(torch.randn(1, *sizes) for _ in range(3))
            graph = graphopt.optimize(graphopt.trace(Attend(causal), inputs, dynamic_batch=False))
            programs = graphopt.compile(graph, target), all_scores(graph, target)
            arrays = [x.numpy() for x in inputs]
            sessions = [program.session() for program in programs]
            calls = {name: PEERS[name](graph, arrays)[0] for name in names}
            calls |= {str(i): partial(session.run, *arrays) for i, session in enumerate(sessions)}
            seconds = alternating(calls)
            cells = [f"{seconds[name] * 1e3:.2f}" for name in ("0", "1", *names)]
            sizes_in_bytes = [f"{program.manifest['workspace_bytes']:,}" for program in programs]
            ours = [cells[0], sizes_in_bytes[0], cells[1], sizes_in_bytes[1]]
            table.add_row(", ".join(map(str, sizes)), "yes" if causal else "", *ours, *cells[2:])
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
