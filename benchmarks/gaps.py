"""Where networks lose time on this machine: kernels by how long they take beyond what the peak of products allows.

    python benchmarks/gaps.py SHARED_FOLDER [--target x86-64-v3] [--int8] [--only NAME ...] [--json FILE]

Networks are those of ``cpu.py``. Kernels of a kind (3x3 convolutions, say) count together. What one of them loses is
its time less its multiply-adds by the peak, which is measured in the same run; what multiplies nothing loses all of it.
Winograd's form may be faster than that peak, and then loses less than nothing.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path

from cpu import Net, nets
from rich.console import Console
from rich.table import Table

import graphopt
from graphopt.passes import Fuse, InsertQuantization, LowerInteger, Pipeline, default_pipeline
from graphopt.report import KernelTime, ProfileReport, profile_program

MOST = 4
"""Kinds of kernels in a row."""


def profiled(net: Net, target: str, int8: bool) -> ProfileReport:
    graph = graphopt.optimize(net.graph)
    if int8:
        steps = [*default_pipeline()[:-1], InsertQuantization(calibration=net.batches), LowerInteger(), Fuse()]
        graph = Pipeline(steps)(net.graph)
    program = graphopt.compile(graph, target, io="float32")
    return profile_program(program, net.samples[0])


def kind_of(kernel: KernelTime) -> str:
    """The name of a kernel without the number that tells equal names apart."""
    return re.sub(r"(?<=[a-z0-9])_\d+$", "", kernel.kernel)


def losses(report: ProfileReport) -> dict[str, tuple[float, float]]:
    """By kind of kernel the part of all time that it takes, and the part that it loses; first what loses most."""
    taken, peaks = defaultdict[str, list[KernelTime]](list), {p.products: p.macs_per_second for p in report.peaks}
    for kernel in report.kernels:
        taken[kind_of(kernel)].append(kernel)
    found = {}
    for kind, kernels in taken.items():
        seconds = sum(kernel.seconds for kernel in kernels)
        least = sum(k.macs / peaks["float32" if k.products == "float32" else "int8"] for k in kernels if k.macs)
        found[kind] = seconds / report.kernel_seconds, (seconds - least) / report.kernel_seconds
    return dict(sorted(found.items(), key=lambda item: -item[1][1])[:MOST])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path, metavar="SHARED_FOLDER", help="with models and data")
    parser.add_argument("--target", default="host")
    parser.add_argument("--int8", action="store_true", help="quantized, instead of float32")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="these networks alone")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    asked = parser.parse_args()
    table = Table("network", "kernels that lose most: part of all time, part of all time lost")
    found = {net.name: losses(profiled(net, asked.target, asked.int8)) for net in nets(asked.shared, asked.only)}
    for name, kinds in found.items():
        table.add_row(name, "; ".join(f"{kind} {part:.0%}, {lost:.0%}" for kind, (part, lost) in kinds.items()))
    Console(width=160).print(table)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
