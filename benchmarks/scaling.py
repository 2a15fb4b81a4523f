"""How the seconds of the compiler grow with the nodes of a graph: load, optimize, quantize, prune channels.

    python benchmarks/scaling.py [--json] [NODES ...]

Two kinds of nets are drawn as ONNX files: a chain of residual blocks of convolutions, batch norms, activations and
additions, and a wide net, whose many branches of these are added. Each graph has a process of its own. Seconds are
those of the CPU, after imports; the exponent is that of the growth from the smallest graph to the largest.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

NODES = (1_000, 10_000, 30_000)
CHANNELS, SIDE, BLOCK = 4, 4, 5
SHAPE = ("N", CHANNELS, SIDE, SIDE)


class Drawing:
    """An ONNX model that grows node by node, with weights of a seed."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []

    def weight(self, *shape: int, low: float = -1.0) -> str:
        data = self.rng.uniform(low, 1, shape).astype("float32")
        self.weights.append(numpy_helper.from_array(data, f"w{len(self.weights)}"))
        return str(self.weights[-1].name)

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [f"v{len(self.nodes)}"], **attributes))
        return str(self.nodes[-1].output[0])

    def conv(self, x: str, channels: int, to: int) -> str:
        return self.node("Conv", x, self.weight(to, channels, 3, 3), self.weight(to), pads=[1, 1, 1, 1])

    def block(self, x: str) -> str:
        """Five nodes: x plus what two convolutions, a norm and an activation make of it."""
        norm = [self.weight(2 * CHANNELS, low=0.5) for _ in range(4)]
        y = self.node("BatchNormalization", self.conv(x, CHANNELS, 2 * CHANNELS), *norm)
        return self.node("Add", x, self.conv(self.node("Sigmoid", y), 2 * CHANNELS, CHANNELS))

    def model(self, output: str) -> onnx.ModelProto:
        ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("x", output)]
        graph = helper.make_graph(self.nodes, "drawn", ports[:1], ports[1:], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def chain(nodes: int) -> onnx.ModelProto:
    """Blocks one after the other."""
    drawing = Drawing()
    x = drawing.conv("x", CHANNELS, CHANNELS)
    while len(drawing.nodes) < nodes - 1:
        x = drawing.block(x)
    return drawing.model(drawing.conv(x, CHANNELS, CHANNELS))


def wide(nodes: int) -> onnx.ModelProto:
    """Branches of two blocks side by side, added in a row."""
    drawing = Drawing()
    total = x = drawing.conv("x", CHANNELS, CHANNELS)
    while len(drawing.nodes) < nodes - 1:
        total = drawing.node("Add", total, drawing.block(drawing.block(x)))
    return drawing.model(drawing.conv(total, CHANNELS, CHANNELS))


NETS: dict[str, Callable[[int], onnx.ModelProto]] = {"chain": chain, "wide": wide}


def steps(file: str) -> dict[str, float]:
    """The CPU seconds of each step on one file."""
    import graphopt
    from graphopt.ir import Graph
    from graphopt.passes import Context, PruneChannels, Quantize

    x = np.random.default_rng(0).standard_normal((2, CHANNELS, SIDE, SIDE)).astype("float32")
    small = graphopt.load(chain(2 * BLOCK))  # imports, and caches
    kinds: dict[str, Callable[[Graph], Graph]] = {
        "optimize": graphopt.optimize,
        "quantize": lambda graph: Quantize()(graph, Context(calibration=[x])),
        "prune": PruneChannels(ratio=0.5),
    }
    for step in kinds.values():
        step(small)
    seconds = {}
    started = time.process_time()
    graph = graphopt.load(file)
    seconds["load"] = time.process_time() - started
    for name, step in kinds.items():
        started = time.process_time()
        step(graph)
        seconds[name] = time.process_time() - started
    return seconds


def measured(kind: str, nodes: int) -> dict[str, float]:
    """The same in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/{kind}.onnx"
        onnx.save(NETS[kind](nodes), file)
        command = [sys.executable, __file__, "--steps", file]
        found: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        return found


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """p of seconds = c * nodes ** p, by the first and the last; NaN for one size."""
    growth = math.log(sizes[-1] / sizes[0])
    return math.log(seconds[-1] / seconds[0]) / growth if growth else math.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nodes", nargs="*", type=int, default=NODES)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--steps", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.steps:
        print(json.dumps(steps(options.steps)))
        return
    rows = []
    for kind in NETS:
        found = [measured(kind, nodes) for nodes in options.nodes]
        for step in found[0]:
            seconds = [each[step] for each in found]
            power = exponent(options.nodes, seconds)
            rows.append({"net": kind, "step": step, "nodes": options.nodes, "seconds": seconds, "exponent": power})
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(title="CPU seconds")
    for column in ("net", "step", *(f"{nodes:,} nodes" for nodes in options.nodes), "exponent"):
        table.add_column(column, justify="left" if column in ("net", "step") else "right", no_wrap=True)
    for row in rows:
        table.add_row(row["net"], row["step"], *(f"{s:.2f}" for s in row["seconds"]), f"{row['exponent']:.2f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
