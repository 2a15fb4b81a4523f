"""What it saves that concatenations are written in place and slices read in place, by net.

    python benchmarks/parts.py [--target cortex-m4] [--only NAME ...]

Each net is compiled twice: as it is, and with a copy for each concatenation and slice. The table has the bytes of both
workspaces and the copies that are left. For this machine nets are float32, and times are process CPU time, medians of
calls that alternate; for others nets are int8 with random weights, and QEMU counts the instructions of a run.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from nets_conv import Net, seeded, tiny_yolo, unet
from timing import alternating
from zoo import classification, mobile, vision

import graphopt
from graphopt.ir import Array, Graph
from graphopt.passes import Fuse, InsertQuantization, LowerInteger, Pipeline, default_pipeline
from graphopt.runtime import Program
from graphopt.targets import gathering, get_target
from graphopt.targets.parts import Parts

COPIES = ("concat", "slice")


def on(make: Callable[[], torch.nn.Module], size: int) -> Callable[[], Net]:
    """A net of the zoo, on an image of so many rows and columns."""

    def build() -> Net:
        torch.manual_seed(0)
        return seeded(make(), 1, 3, size, size)

    return build


NETS: dict[str, Callable[[], Net]] = {
    "DenseNet": on(classification.densenet, 32),
    "Inception": on(classification.inception, 32),
    "SqueezeNet": on(classification.squeezenet, 32),
    "ShuffleNetV2": on(mobile.shufflenet_v2, 32),
    "DeepLab": on(vision.DeepLab, 32),
    "U-Net, 32x32": on(vision.UNet, 32),
}
LARGE: dict[str, Callable[[], Net]] = {"U-Net-128": unet, "tiny_yolo-320": tiny_yolo}
"""More than a microcontroller holds."""


def optimized(build: Callable[[], Net], integers: bool) -> tuple[Graph, Array]:
    """A net as it is compiled, and an input of it."""
    module, (x,) = build()
    graph = graphopt.trace(module, (x,), dynamic_batch=False)
    data = x.numpy()
    if not integers:
        return Pipeline(default_pipeline())(graph), data
    inserted = Pipeline([*default_pipeline()[:-1], InsertQuantization(calibration=[data])])(graph)
    return Pipeline([LowerInteger(), Fuse()])(inserted), data


def with_copies(graph: Graph, target: str) -> Program:
    def none(_: object, layouts: dict, *__: object) -> Parts:  # type: ignore[type-arg]
        return Parts(layouts)

    with mock.patch.object(gathering, "find_parts", none):
        return graphopt.compile(graph, target)


def copies(program: Program) -> int:
    return sum(any(word in row["operators"] for word in (*COPIES, "identity")) for row in program.manifest["kernels"])


def cost(program: Program, data: Array) -> Callable[[], object]:
    session = program.session()
    return lambda: session.run(data)


def row(name: str, build: Callable[[], Net], target: str) -> list[str]:
    machine = get_target(target)
    integers = machine.codegen == "c"
    graph, data = optimized(build, integers)
    programs = with_copies(graph, target), graphopt.compile(graph, target)
    if integers:
        port = programs[0].manifest["inputs"][0]
        data = np.clip(np.round(data / port["scale"]) + port["zero_point"], -128, 127).astype(np.int8)
        before, after = (float(program.measure([data]).instructions) for program in programs)
        costs = [f"{before:,.0f}", f"{after:,.0f}"]
    else:
        before, after = alternating(
            dict(zip("ab", (cost(program, data) for program in programs), strict=True))
        ).values()
        costs = [f"{1e3 * before:.2f} ms", f"{1e3 * after:.2f} ms"]
    bytes_ = [f"{program.manifest['workspace_bytes']:,}" for program in programs]
    return [name, *bytes_, *(str(copies(program)) for program in programs), *costs, f"{before / after:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="host")
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_args()
    nets = NETS if get_target(options.target).codegen == "c" else {**NETS, **LARGE}
    table = Table("net", "workspace, copied", "in place", "copies", "left", "cost, copied", "in place", "ratio")
    for name, build in nets.items():
        if not options.only or name in options.only:
            table.add_row(*row(name, build, options.target))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
