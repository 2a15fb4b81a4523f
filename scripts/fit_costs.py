"""What kernels cost on a core, fitted to drawn nets that run in QEMU: writes graphopt/targets/costs/ISA.json.

    python scripts/fit_costs.py dsp

Each kernel of each net is an equation: what its loops do (graphopt/targets/work.py), by what each of it costs, is what
was counted. The coefficients are the least squares of relative errors, and not negative. No net of the benchmarks is
among the drawn ones.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from graphopt.ir import Graph, Value, arg, bind_batch, constant
from graphopt.ir.registry import place
from graphopt.ops import (
    GRU,
    LSTM,
    Add,
    AveragePool,
    Conv,
    ConvTranspose,
    Linear,
    MaxPool,
    ReduceMean,
    Relu,
    Reshape,
    Sigmoid,
    Softmax,
)
from graphopt.passes import Fuse, Quantize, optimize
from graphopt.runtime import Program
from graphopt.runtime.build import code_bytes, symbols, write_files
from graphopt.runtime.execute import toolchain_of
from graphopt.runtime.manifest import sealed
from graphopt.targets import Target, get_target
from graphopt.targets.import_tvm import import_tvm

import_tvm()

from count_routines import Equations, counted_routines  # noqa: E402

from graphopt.targets.artifact import project_files  # noqa: E402 (TVM is imported first)
from graphopt.targets.costs import LINE, Costs, Known  # noqa: E402
from graphopt.targets.gathering import Lowering  # noqa: E402
from graphopt.targets.instructions import INSTRUCTIONS, Instruction, find_instruction  # noqa: E402
from graphopt.targets.kernels.base import KERNEL_RULES, every_kernel, variants_of  # noqa: E402
from graphopt.targets.ports import native_io  # noqa: E402
from graphopt.targets.predict import driver_work  # noqa: E402
from graphopt.targets.prepared import copy_outputs, lowered_operators  # noqa: E402
from graphopt.targets.region import is_elementwise, lowerable  # noqa: E402
from graphopt.targets.routine_text import line_count, of_routine  # noqa: E402
from graphopt.targets.stepwise import stepwise  # noqa: E402
from graphopt.targets.work import Work  # noqa: E402

FOLDER = Path(__file__).parents[1] / "graphopt" / "targets" / "costs"
CORES = {"dsp": "cortex-m4", "armv7-m": "cortex-m3", "armv6-m": "cortex-m0", "mve": "cortex-m55"}
"""By the instruction set that a file is for, a core that has it as its most special one."""
NETS = 48
FEW, SMALL = 1000, 40
"""Instructions or cycles, and bytes: errors of less are relative to these."""
VARIANTS = (0, 0, 1, 2, 3)
"""Each layer by its usual kernel in some nets, in others by the first of its other candidates, and so on."""
DIGITS = 5
KINDS = ("1x1", "1x1", "narrow", "3x3", "depthwise", "depthwise", "block", "residual", "pool", "odd", "sigmoid", "up")
"""Of layers behind a plane; what is there twice is drawn twice as often."""


@dataclass(frozen=True)
class Drawing:
    """Layers of random shapes and weights, one behind the other."""

    rng: np.random.Generator

    def pick(self, *choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def weight(self, *shape: int) -> Value:
        return constant((self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32))

    def bias(self, channels: int) -> Value:
        return constant(self.rng.normal(0, 0.1, channels).astype(np.float32))

    def conv(
        self, x: Value, out: int, kernel: tuple[int, int], stride: int, group: int = 1, relu: bool = True
    ) -> Value:
        channels = x.type.static_shape[1]
        pads = tuple((k - 1) // 2 for k in kernel)
        op = Conv(strides=(stride, stride), pads=(*pads, *pads), group=group)
        y = op(x, self.weight(out, channels // group, *kernel), self.bias(out))
        return Relu()(y) if relu else y

    def layer(self, x: Value) -> Value:
        """One more layer behind a plane."""
        channels, height, width = x.type.static_shape[1:]
        out = int(self.pick(8, 12, 16, 20, 24, 32, 40, 48, 64, 96))
        stride = self.pick(1, 1, 2) if min(height, width) >= 6 else 1
        kind = self.pick(*KINDS)
        if kind == "1x1":
            return self.conv(x, out, (1, 1), 1)
        if kind == "narrow":
            return self.conv(self.conv(x, self.pick(4, 8), (1, 1), 1), out, (1, 1), 1)
        if kind == "3x3":
            return self.conv(x, min(out, 32), (3, 3), stride)
        if kind == "odd":
            return self.conv(x, min(out, 24), self.pick((1, 3), (3, 1), (5, 5), (2, 2)), stride)
        if kind == "depthwise":
            kernel = self.pick((3, 3), (3, 3), (5, 5), (5, 1), (3, 1))
            return self.conv(x, channels, kernel, stride, group=channels)
        if kind == "block":
            return self.conv(self.conv(x, channels, (3, 3), stride, group=channels), out, (1, 1), 1)
        if kind == "residual":
            return Relu()(Add()(x, self.conv(x, channels, (self.pick(1, 3),) * 2, 1, relu=False)))
        if kind == "pool" and min(height, width) >= 4:
            return self.pick(MaxPool, AveragePool)(kernel=self.pick((2, 2), (3, 3)), strides=(2, 2))(x)
        if kind == "up" and height * width <= 200:
            return ConvTranspose(strides=(2, 2))(x, self.weight(channels, out, 2, 2), self.bias(out))
        return Sigmoid()(x)

    def image(self) -> Graph:
        """A first layer of few channels, some layers, a mean and a matrix product."""
        channels = self.pick(1, 1, 3, 3, 2, 4)
        shape = (1, channels, int(self.rng.integers(9, 41)), int(self.rng.integers(9, 41)))
        x = y = arg("x", "float32", shape)
        kernel = self.pick((3, 3), (3, 3), (5, 3), (7, 4), (10, 4), (1, 3))
        y = self.conv(y, int(self.pick(8, 16, 24, 32)), kernel, self.pick(1, 2))
        for _ in range(int(self.rng.integers(3, 7))):
            y = self.layer(y)
        y = ReduceMean(axes=(2, 3), keepdims=False)(y)
        channels, classes = y.type.static_shape[1], int(self.rng.integers(2, 40))
        y = Linear()(y, self.weight(classes, channels), self.bias(classes))
        return Graph((x,), (Softmax()(y) if self.pick(True, False) else y,), ("y",))

    def dense(self) -> Graph:
        """Matrix products of one row, or of some."""
        rows = self.pick(1, 1, 1, 2, 5)
        x = y = arg("x", "float32", (rows, int(self.rng.integers(4, 400))))
        for _ in range(int(self.rng.integers(3, 7))):
            out = int(self.rng.integers(3, 200))
            y = Linear()(y, self.weight(out, y.type.static_shape[1]), self.bias(out))
            y = Relu()(y) if self.pick(True, True, False) else y
        return Graph((x,), (y,), ("y",))

    def recurrent(self) -> Graph:
        """A recurrent layer over some steps, and a matrix product of its last state."""
        steps, size, hidden = (int(self.rng.integers(*ends)) for ends in ((4, 30), (1, 40), (8, 70)))
        kind, classes = self.pick(GRU, LSTM), int(self.rng.integers(2, 20))
        x = arg("x", "float32", (steps, 1, size))
        rows = kind.gates * hidden
        weights = self.weight(1, rows, size), self.weight(1, rows, hidden), self.weight(1, 2 * rows)
        last = kind().apply(x, *weights).results[1]
        y = Linear()(Reshape(shape=(1, hidden))(last), self.weight(classes, hidden), self.bias(classes))
        return Graph((x,), (y,), ("y",))

    def net(self, seed: int) -> Graph:
        if seed % 4 == 3:
            return self.recurrent() if seed % 16 == 15 else self.dense()
        return self.image()


def drawn(count: int) -> Iterator[Graph]:
    """Quantized nets, some with weights of four bits, and some in float32."""
    for seed in range(count):
        drawing = Drawing(np.random.default_rng(seed))
        graph = drawing.net(seed)
        if seed % 8 == 6:
            yield optimize(graph)
            continue
        samples = drawing.rng.standard_normal((8, *graph.inputs[0].type.static_shape)).astype(np.float32)
        calibration, weights = [{"x": sample} for sample in samples], "int4" if seed % 16 == 5 else "int8"
        yield optimize(Fuse()(Quantize(calibration=calibration, weights=weights)(graph)))


@dataclass(frozen=True)
class Counted:
    """A kernel: what it does, what it took in one run, and the bytes of its code."""

    work: Work
    instructions: int
    cycles: int
    code: int


@dataclass(frozen=True)
class Measured:
    """The kernels of a program, the bytes of routines that are functions, and the driver's."""

    kernels: list[Counted]
    rules: set[str]
    called: set[str]
    routines: dict[str, int]
    driver: tuple[Counter[str], int]


def measured(graph: Graph, machine: Target, variant: int) -> Measured:
    """One net, each layer by its kernel of that number; the last where there are fewer."""
    graph, _, _ = native_io(graph)
    supported = lowered_operators()
    graph = stepwise(copy_outputs(lowerable(graph, supported, keep=lambda node: is_elementwise(node, supported))))
    usual = Lowering(bind_batch(graph, 1), machine)
    usual.run()
    rules: dict[str, str] = {}
    for name, task in usual.tasks.items():
        if task.region.anchor is not None and variant:
            rules[name] = [choice.rule for choice in every_kernel(task)][: variant + 1][-1]
    lowered = Lowering(usual.graph, machine, rules=rules).run()
    program = Program(sealed(project_files(lowered, machine, "model", False)))
    rng = np.random.default_rng(0)
    inputs = [rng.integers(-128, 128, p.type.static_shape).astype(p.type.dtype) for p in lowered.inputs]
    run = program.measure_batches([inputs])
    assert run.per_kernel is not None and run.cycles_per_kernel is not None
    works = {name: built.work for name, built in lowered.kernels.items()}
    sizes, whole = function_bytes(program)
    counts = dict(
        zip((c.kernel for c in lowered.calls), zip(run.per_kernel, run.cycles_per_kernel, strict=True), strict=True)
    )
    kernels = [Counted(works[k], *counts[k], sizes[f"model_{k}"]) for k in works]
    called = {name for work in works.values() for name in work.written}
    routines: Counter[str] = Counter()
    for name, size in sizes.items():
        routine = name.partition(".")[0]  # compilers call copies of a function name.part.0, name.constprop.0
        if (routine, None) in INSTRUCTIONS:
            routines[routine] += size
    rest = whole - sum(k.code for k in kernels) - sum(routines.values())
    return Measured(
        kernels,
        {call.how.rule.partition(" ")[0] for call in lowered.calls},
        called,
        routines,
        (driver_work(lowered), rest),
    )


@dataclass(frozen=True)
class Row:
    """What the features of a kernel must come to beside what is known of it; errors are relative to the ``whole``."""

    features: Mapping[str, float]
    wanted: float
    whole: float


def function_bytes(program: Program) -> tuple[dict[str, int], int]:
    """The bytes of the functions of a program, and of all of its code."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_files(program.files, folder)
        manifest = program.manifest
        toolchain = toolchain_of(manifest)
        whole = code_bytes(folder, manifest["name"], toolchain, manifest["cflags"], manifest["codegen"])
        return {name: end - start for name, (start, end) in symbols(folder / "size.o", toolchain).items()}, whole


def fitted(rows: Sequence[Row]) -> dict[str, float]:
    """The coefficients of least errors, by name."""
    names = sorted({name for row in rows for name in row.features})
    weights = 1 / np.array([row.whole for row in rows])
    whole = np.array([[row.features.get(name, 0.0) for name in names] for row in rows]) * weights[:, None]
    wanted = np.array([max(row.wanted, 0.0) for row in rows]) * weights
    scale = np.maximum(np.abs(whole).max(axis=0), 1e-12)
    found = nnls(whole / scale, wanted, maxiter=100 * len(names))[0] / scale
    return {name: rounded(value) for name, value in zip(names, found, strict=True)}


def fitted_routine(rows: Equations, column: int) -> dict[str, float]:
    """The coefficients of least relative errors of one routine, of any sign: nothing else is in its counts."""
    names = list(rows[0][0])
    whole = np.array([[row[0][name] for name in names] for row in rows])
    wanted = np.array([row[column] for row in rows], float)
    found = np.linalg.lstsq(whole / wanted[:, None], np.ones(len(wanted)), rcond=1e-9)[0]
    return {name: rounded(value) for name, value in zip(names, found, strict=True)}


def rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def fit(all_measured: Sequence[Measured], machine: Target) -> Costs:
    """The costs of all that was measured."""
    sizes: dict[str, list[int]] = defaultdict(list)
    programs = Counter(name for m in all_measured for name in m.called)
    for m in all_measured:
        for name, size in m.routines.items():
            sizes[name].append(size)
    routines = {n: float(np.median(s)) for n, s in sizes.items() if 2 * len(s) > programs[n]}
    told = list(counted_routines(untold(machine), machine).values())
    alone = [{n: c for rows in told for n, c in fitted_routine(rows, column).items()} for column in (1, 2)]
    known = Known(Costs(*alone, {}, routines, {}), machine)
    kernels = [k for m in all_measured for k in m.kernels]

    def rows(of: Callable[[Counted], int], column: int) -> list[Row]:
        """What is not known of each kernel, and what of its count is left for that."""
        found = []
        for kernel in kernels:
            done = kernel.work.done
            rest = {n: t for n, t in done.items() if n not in alone[0] and known.told(n) is None}
            routines_alone = Work({n: t for n, t in done.items() if n not in rest})
            found.append(Row(rest, of(kernel) - known.run(routines_alone)[column], max(of(kernel), FEW)))
        return found

    code = [
        Row({n: t for n, t in k.work.written.items() if not known.shares(n)}, k.code, max(k.code, SMALL))
        for k in kernels
    ]
    costs = Costs(
        alone[0] | fitted(rows(lambda k: k.instructions, 0)),
        alone[1] | fitted(rows(lambda k: k.cycles, 1)),
        fitted(code) | {LINE: rounded(bytes_of_line(routines, machine))},
        dict(sorted(routines.items())),
        fitted([Row(features, size, size) for features, size in (m.driver for m in all_measured)]),
    )
    return replace(costs, doubts=doubts(Known(costs, machine), kernels))


def bytes_of_line(routines: Mapping[str, float], machine: Target) -> float:
    """The bytes of an instruction of routines in assembly."""
    found = {name: one for name in routines if (one := find_instruction(name, machine)).naked}
    return sum(routines[name] for name in found) / sum(map(line_count, found.values()))


def doubts(known: Known, kernels: Sequence[Counted]) -> dict[str, float]:
    """By how much the cycles of kernels may be off, by their kind: of nine in ten it is less."""
    errors: dict[str, list[float]] = defaultdict(list)
    for kernel in kernels:
        error = abs(known.run(kernel.work)[1] - kernel.cycles) / max(kernel.cycles, FEW)
        errors[kernel.work.kind].append(error)
    return {kind: rounded(float(np.quantile(found, 0.9))) for kind, found in errors.items()}


def untold(machine: Target) -> list[Instruction]:
    """The routines in assembly whose text does not tell what they cost."""
    found = [find_instruction(name, machine) for name in dict.fromkeys(name for name, _ in INSTRUCTIONS)]
    return [one for one in found if one.naked and one.spans and not of_routine(one)]


def report(costs: Costs, all_measured: Sequence[Measured], machine: Target) -> None:
    """The errors of whole nets among those that were drawn."""
    known = Known(costs, machine)
    errors: dict[str, list[float]] = defaultdict(list)
    for m in all_measured:
        runs = np.array([known.run(k.work) for k in m.kernels]).sum(axis=0)
        counted = np.array([[k.instructions, k.cycles] for k in m.kernels]).sum(axis=0)
        for name, ratio in zip(("instructions", "cycles"), runs / counted, strict=True):
            errors[name].append(ratio - 1)
        code = sum(known.code(k.work) for k in m.kernels)
        errors["code of kernels"].append(code / sum(k.code for k in m.kernels) - 1)
        driver = sum(costs.driver.get(n, 0) * t for n, t in m.driver[0].items())
        errors["code of the driver"].append(driver / m.driver[1] - 1)
    for name, found in errors.items():
        print(f"{name}: {np.sqrt(np.mean(np.square(found))):.2%}, at most {max(map(abs, found)):.1%}")


def not_drawn(all_measured: Sequence[Measured], machine: Target) -> dict[str, list[str]]:
    """The routines and the rules of kernels of a target that no kernel of a drawn net has."""
    called = {name for m in all_measured for name in m.called}
    routines = [n for n in dict.fromkeys(n for n, _ in INSTRUCTIONS) if find_instruction(n, machine).naked]
    rules = [rule for (_, isa), rule in KERNEL_RULES.items() if isa in machine.sets]
    places = [place(one) for rule in rules for one in (rule, *variants_of(rule))]
    used = {rule for m in all_measured for rule in m.rules}
    return {"routines": sorted({*routines} - called), "rules": sorted({*places} - used)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("isa", nargs="*", help=f"the instruction sets whose files are written: {', '.join(CORES)}")
    parser.add_argument("--nets", type=int, default=NETS)
    options = parser.parse_args()
    for isa in options.isa or CORES:
        machine = get_target(CORES[isa])
        found = [measured(g, machine, VARIANTS[i % len(VARIANTS)]) for i, g in enumerate(drawn(options.nets))]
        costs = fit(found, machine)
        print(f"{isa}, on {machine.name}")
        report(costs, found, machine)
        for what, names in not_drawn(found, machine).items():
            print(f"{what} not drawn: {', '.join(names) or 'none'}")
        (FOLDER / f"{isa}.json").write_text(json.dumps(vars(costs), indent=1) + "\n")


if __name__ == "__main__":
    main()
