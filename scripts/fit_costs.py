"""What kernels cost on a core, fitted to drawn nets that run in QEMU: writes graphopt/targets/costs/ISA.json.

    python scripts/fit_costs.py dsp cortex-m4

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from graphopt.ir import Graph, Value, arg, bind_batch, constant
from graphopt.ops import Add, AveragePool, Conv, Linear, MaxPool, ReduceMean, Relu, Sigmoid
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
from graphopt.targets.costs import Costs, Known  # noqa: E402
from graphopt.targets.gathering import Lowering, copy_outputs, lowered_operators  # noqa: E402
from graphopt.targets.instructions import INSTRUCTIONS, Instruction, find_instruction  # noqa: E402
from graphopt.targets.kernels.base import every_kernel  # noqa: E402
from graphopt.targets.ports import native_io  # noqa: E402
from graphopt.targets.predict import driver_work  # noqa: E402
from graphopt.targets.region import is_elementwise, lowerable  # noqa: E402
from graphopt.targets.routine_text import of_routine  # noqa: E402
from graphopt.targets.work import Work, work_of  # noqa: E402

FOLDER = Path(__file__).parents[1] / "graphopt" / "targets" / "costs"
NETS = 40
MOST_VARIANTS = 4
"""Each layer by its usual kernel in some nets, in others by the first of its other candidates, and so on."""
DIGITS = 5


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
        out = int(self.pick(8, 12, 16, 20, 24, 32, 40, 48, 64))
        stride = self.pick(1, 1, 2) if min(height, width) >= 6 else 1
        kind = self.pick("1x1", "1x1", "3x3", "depthwise", "depthwise", "block", "residual", "pool", "odd", "sigmoid")
        if kind == "1x1":
            return self.conv(x, out, (1, 1), 1)
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
            return self.pick(MaxPool, AveragePool)(kernel=(2, 2), strides=(2, 2))(x)
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
        return Graph((x,), (y,), ("y",))

    def dense(self) -> Graph:
        """Matrix products of one row, or of some."""
        rows = self.pick(1, 1, 1, 2, 5)
        x = y = arg("x", "float32", (rows, int(self.rng.integers(4, 400))))
        for _ in range(int(self.rng.integers(3, 7))):
            out = int(self.rng.integers(3, 200))
            y = Linear()(y, self.weight(out, y.type.static_shape[1]), self.bias(out))
            y = Relu()(y) if self.pick(True, True, False) else y
        return Graph((x,), (y,), ("y",))


def drawn(count: int) -> Iterator[Graph]:
    """Quantized nets, and some in float32."""
    for seed in range(count):
        drawing = Drawing(np.random.default_rng(seed))
        graph = drawing.dense() if seed % 4 == 3 else drawing.image()
        if seed % 8 == 6:
            yield optimize(graph)
            continue
        samples = drawing.rng.standard_normal((8, *graph.inputs[0].type.static_shape)).astype(np.float32)
        calibration = [{"x": sample} for sample in samples]
        yield optimize(Fuse()(Quantize(calibration=calibration)(graph)))


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
    called: set[str]
    routines: dict[str, int]
    driver: tuple[Counter[str], int]


def measured(graph: Graph, machine: Target, variant: int) -> Measured:
    """One net, each layer by its kernel of that number; the last where there are fewer."""
    graph, _, _ = native_io(graph)
    supported = lowered_operators()
    graph = copy_outputs(lowerable(graph, supported, keep=lambda node: is_elementwise(node, supported)))
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
    works = {name: work_of(built.function) for name, built in lowered.kernels.items()}
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
    return Measured(kernels, called, routines, (driver_work(lowered), rest))


def function_bytes(program: Program) -> tuple[dict[str, int], int]:
    """The bytes of the functions of a program, and of all of its code."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_files(program.files, folder)
        manifest = program.manifest
        toolchain = toolchain_of(manifest)
        whole = code_bytes(folder, manifest["name"], toolchain, manifest["cflags"], manifest["codegen"])
        return {name: end - start for name, (start, end) in symbols(folder / "size.o", toolchain).items()}, whole


def fitted(rows: Sequence[tuple[Mapping[str, float], float]], least: int = 2) -> dict[str, float]:
    """The coefficients of least relative errors, by name; what is in fewer than ``least`` rows has none."""
    seen = Counter(name for features, _ in rows for name in features)
    names = sorted(name for name, count in seen.items() if count >= least)
    whole = np.array([[features.get(name, 0.0) for name in names] for features, _ in rows])
    wanted = np.array([max(amount, 0.0) for _, amount in rows])
    weights = 1 / np.maximum(wanted, 40)
    scale = np.maximum(np.abs(whole * weights[:, None]).max(axis=0), 1e-12)
    found = nnls(whole * weights[:, None] / scale, wanted * weights, maxiter=100 * len(names))[0] / scale
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

    def rows(of: Callable[[Counted], int], column: int) -> list[tuple[Mapping[str, float], float]]:
        """What is not known of each kernel, and what of its count is left for that."""
        found = []
        for kernel in kernels:
            done = kernel.work.done
            rest = {n: t for n, t in done.items() if n not in alone[0] and known.line(n) is None}
            routines_alone = Work({n: t for n, t in done.items() if n not in rest})
            found.append((rest, of(kernel) - known.run(routines_alone)[column]))
        return found

    code = [({n: t for n, t in k.work.written.items() if not known.shares(n)}, float(k.code)) for k in kernels]
    return Costs(
        alone[0] | fitted(rows(lambda k: k.instructions, 0)),
        alone[1] | fitted(rows(lambda k: k.cycles, 1)),
        fitted(code),
        dict(sorted(routines.items())),
        fitted([(features, float(size)) for features, size in (m.driver for m in all_measured)]),
    )


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("isa", help="the instruction set whose file is written")
    parser.add_argument("target", help="a core that has it")
    parser.add_argument("--nets", type=int, default=NETS)
    options = parser.parse_args()
    machine = get_target(options.target)
    found = [measured(g, machine, i // 4 % MOST_VARIANTS) for i, g in enumerate(drawn(options.nets))]
    costs = fit(found, machine)
    report(costs, found, machine)
    (FOLDER / f"{options.isa}.json").write_text(json.dumps(vars(costs), indent=1) + "\n")


if __name__ == "__main__":
    main()
