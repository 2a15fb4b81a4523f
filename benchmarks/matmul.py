"""Matrix products of float32, and transformers, on this machine: graphopt and ONNX Runtime, one thread each, by turns.

    python benchmarks/matmul.py [TARGET] [PART OF A NAME]

Both operands are inputs, but for layers, whose weights are constant. Times are process CPU time, medians.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
from nets import minilm, vit
from peers import onnx_runtime, versions
from rich.console import Console
from rich.table import Table
from timing import Library, alternating

import graphopt
from graphopt.ir import Array, Graph, Value, arg, constant, worst_difference
from graphopt.ops import Linear, MatMul, Transpose


@dataclass(frozen=True)
class Case:
    """A product of a batch [m, k] by [k, n]; ``stored`` is how the right operand is: k by n, n by k, or constant."""

    batch: tuple[int, ...]
    m: int
    k: int
    n: int
    stored: str = "k by n"

    def __str__(self) -> str:
        lead = f"{'x'.join(map(str, self.batch))} of " if self.batch else ""
        return f"{lead}{self.m} x {self.k} x {self.n}"

    @property
    def macs(self) -> int:
        return int(np.prod(self.batch, dtype=int)) * self.m * self.k * self.n

    def graph(self, rng: np.random.Generator) -> Graph:
        left = arg("a", "float32", (*self.batch, self.m, self.k))
        if self.stored == "constant":
            weight = rng.standard_normal((self.n, self.k)).astype(np.float32)
            bias = rng.standard_normal(self.n).astype(np.float32)
            return Graph((left,), (Linear()(left, constant(weight), constant(bias)),))
        rows = (self.n, self.k) if self.stored == "n by k" else (self.k, self.n)
        right = arg("b", "float32", (*self.batch, *rows))
        return Graph((left, right), (MatMul()(left, self.as_product(right)),))

    def as_product(self, right: Value) -> Value:
        if self.stored != "n by k":
            return right
        rank = len(self.batch) + 2
        return Transpose(perm=(*range(rank - 2), rank - 1, rank - 2))(right)


ATTENTION = {
    "ViT, q by k": Case((3,), 197, 64, 197, "n by k"),
    "ViT, weights by v": Case((3,), 197, 197, 64),
    "MiniLM, q by k": Case((12,), 64, 32, 64, "n by k"),
    "MiniLM, weights by v": Case((12,), 64, 64, 32),
    "one query, q by k": Case((12,), 1, 64, 512, "n by k"),
    "one query, weights by v": Case((12,), 1, 512, 64),
}
SQUARE = {
    "square": Case((), 256, 256, 256),
    "square, transposed": Case((), 256, 256, 256, "n by k"),
    "large": Case((), 1024, 1024, 1024),
    "primes": Case((), 127, 131, 113),
    "few columns": Case((), 512, 512, 3),
    "one column": Case((), 1024, 1024, 1),
    "few rows": Case((), 4, 512, 512),
}
LAYERS = {
    "ViT, wide": Case((), 197, 192, 768, "constant"),
    "ViT, narrow": Case((), 197, 768, 192, "constant"),
    "MiniLM of batch 4, wide": Case((), 256, 384, 1536, "constant"),
    "MiniLM of batch 4, narrow": Case((), 256, 1536, 384, "constant"),
    "MiniLM, wide": Case((), 64, 384, 1536, "constant"),
    "MiniLM, narrow": Case((), 64, 1536, 384, "constant"),
    "four rows": Case((), 4, 384, 1536, "constant"),
    "one row": Case((), 1, 1024, 1024, "constant"),
    "one row, far from caches": Case((), 1, 4096, 4096, "constant"),
}
CASES = ATTENTION | SQUARE | LAYERS


NETS = {"ViT": vit, "MiniLM": minilm}


def table_of(title: str, *columns: str) -> Table:
    table = Table(title=title)
    for column in (*columns, "graphopt", "ONNX Runtime", "ratio", "difference"):
        table.add_column(column, justify="left" if column in columns else "right", no_wrap=True)
    return table


def timed(graph: Graph, target: str, inputs: Sequence[Array] | None = None) -> tuple[dict[str, float], float]:
    """The seconds of a call by who ran it, and how far results are apart; of random inputs if none are given."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        library = Library(graphopt.compile(graphopt.optimize(graph), target), Path(folder))
        for i, port in enumerate(library.ports[0]):
            port[...] = rng.standard_normal(port.shape) if inputs is None else inputs[i]
        runs: dict[str, Callable[[], object]] = {"graphopt": library}
        if "ONNX Runtime" not in versions():
            return alternating(runs), 0.0
        runs["ONNX Runtime"], (reference, *_) = onnx_runtime(graph, library.ports[0])
        return alternating(runs), worst_difference(library.ports[1][0], reference)


def figures(seconds: dict[str, float], difference: float, macs: int = 0) -> list[str]:
    """The cells of a row: GMAC/s of products, else milliseconds, the ratio of speeds, the difference."""
    shown = [f"{macs / t / 1e9:.1f}" if macs else f"{t * 1e3:.2f}" for t in seconds.values()]
    if len(shown) == 1:
        return shown
    return [*shown, f"{seconds['ONNX Runtime'] / seconds['graphopt']:.2f}", f"{difference:.1e}"]


def main(target: str = "host", part: str = "") -> None:
    console = Console(width=130)
    products = table_of(f"GMAC/s of products on {target}, one thread", "product", "batch of m x k x n", "right operand")
    for name, case in CASES.items():
        if part in name:
            graph = case.graph(np.random.default_rng(0))
            products.add_row(name, str(case), case.stored, *figures(*timed(graph, target), macs=case.macs))
    console.print(products)
    nets = table_of(f"milliseconds on {target}, one thread", "net")
    for name, net in NETS.items():
        if part in name:
            model, inputs = net()
            graph = graphopt.trace(model, inputs)
            nets.add_row(name, *figures(*timed(graph, target, [x.numpy() for x in inputs])))
    console.print(nets)


if __name__ == "__main__":
    main(*sys.argv[1:])
