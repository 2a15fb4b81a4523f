"""Peak memory of loading and optimising models with large weights, as multiples of their files.

    python benchmarks/memory.py [--json] [MEGABYTES]

The models are drawn as ONNX files of 500 MB. Each is measured in a process of its own, less what the imports take.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

import graphopt

RNG = np.random.default_rng(0)
Drawn = tuple[list[NodeProto], list[TensorProto], list[int | str]]


def weight(name: str, *shape: int) -> TensorProto:
    return numpy_helper.from_array(RNG.standard_normal(shape, dtype="float32"), name)


def products(op: str, count: int, bytes_: int) -> Drawn:
    """Square matrix products one after the other; those of ``Gemm`` are transposed when they are loaded."""
    size = int((bytes_ / count / 4) ** 0.5)
    names = [f"v{i}" for i in range(count)]
    nodes = [helper.make_node(op, [x, f"w{y}"], [y]) for x, y in zip(["x", *names], names, strict=False)]
    return nodes, [weight(f"w{y}", size, size) for y in names], ["N", size]


def convolutions(count: int, bytes_: int) -> Drawn:
    """Convolutions with batch norms, which are folded into them."""
    size = int((bytes_ / count / 36) ** 0.5)
    nodes, weights, x = [], [], "x"
    for i in range(count):
        weights.append(weight(f"w{i}", size, size, 3, 3))
        weights += [numpy_helper.from_array(np.full(size, 0.5, "float32"), f"{part}{i}") for part in "sbmv"]
        nodes.append(helper.make_node("Conv", [x, f"w{i}"], [f"c{i}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("BatchNormalization", [f"c{i}", *(f"{p}{i}" for p in "sbmv")], [x := f"y{i}"]))
    return nodes, weights, ["N", size, 8, 8]


MODELS: dict[str, Callable[[int], Drawn]] = {
    "1 Gemm": lambda size: products("Gemm", 1, size),
    "5 Gemm": lambda size: products("Gemm", 5, size),
    "20 Gemm": lambda size: products("Gemm", 20, size),
    "5 MatMul": lambda size: products("MatMul", 5, size),
    "5 Conv and BatchNormalization": lambda size: convolutions(5, size),
}
MEASURE = """
import re, sys
from pathlib import Path
import graphopt, graphopt.frontends.onnx.importer, graphopt.passes

def peak():  # ru_maxrss has that of the parent process in it
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])

before = peak()
graph = graphopt.load(sys.argv[1])
loaded = peak()
graphopt.optimize(graph)
print(loaded - before, peak() - before)
"""


def write(drawn: Drawn, file: str) -> None:
    nodes, weights, shape = drawn
    ports = [helper.make_tensor_value_info(p, TensorProto.FLOAT, shape) for p in ("x", str(nodes[-1].output[0]))]
    graph = helper.make_graph(nodes, "drawn", ports[:1], ports[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)


def multiples(file: str) -> dict[str, float]:
    """The peaks of loading, and of optimising what was loaded."""
    done = subprocess.run([sys.executable, "-c", MEASURE, file], stdout=subprocess.PIPE, text=True, check=True)
    loaded, optimized = (int(part) / Path(file).stat().st_size for part in done.stdout.split())
    return {"load": loaded, "load and optimize": optimized}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("megabytes", nargs="?", type=int, default=500)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, draw in MODELS.items():
            write(draw(options.megabytes * 10**6), f"{folder}/model.onnx")
            found[name] = multiples(f"{folder}/model.onnx")
        graphopt.save(graphopt.load(f"{folder}/model.onnx"), f"{folder}/model.gopt")
        found["the last as .gopt"] = multiples(f"{folder}/model.gopt")
    if options.json:
        print(json.dumps(found, indent=2))
        return
    table = Table("weights", "load", "load and optimize", title=f"peak memory / file of {options.megabytes:,} MB")
    for name, peaks in found.items():
        table.add_row(name, *(f"{peak:.2f}" for peak in peaks.values()))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
