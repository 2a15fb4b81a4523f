"""Integer graphs, compiled in any setting: programs must give what the evaluator does, bit for bit."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from graphopt.errors import BudgetExceeded, Unsupported
from graphopt.ir import Array, Graph, Value
from graphopt.passes import Fuse
from graphopt.runtime import Program
from graphopt.targets import Port, compile, get_target
from graphopt.targets.target import OPTIMIZE
from graphopt.testing.findings import Finding, Kind
from graphopt.testing.integers import integer_graph

TARGETS = ("cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "x86-64-v3")
PREFIX = "int8-"
"""Of ways: the rest is the target."""
SAMPLES = 3
WIDE = 1 << 20
"""What lies within int32 and int64 that a reduction made inputs of, as accumulators do."""
PIXELS = Port(layout="nhwc", dtype="uint8", scale=1 / 32, mean=4.0)


@dataclass(frozen=True)
class Setting:
    """The options of ``compile`` beside the target; ``ram`` is a share of what the arena takes without a budget."""

    optimize: str
    io: str
    io_in_arena: bool
    channels_last: bool
    pixels: bool
    ram: float | None


def setting_of(seed: int) -> Setting:
    rng = np.random.default_rng((seed, 1))
    return Setting(
        optimize=str(rng.choice(OPTIMIZE)),
        io=str(rng.choice(["native", "native", "float32"])),
        io_in_arena=bool(rng.random() < 0.3),
        channels_last=bool(rng.random() < 0.4),
        pixels=bool(rng.random() < 0.15),
        ram=float(rng.choice([0.8, 0.6, 0.4])) if rng.random() < 0.35 else None,
    )


def ports_for(graph: Graph, setting: Setting) -> dict[str, Port]:
    """The ports that are not as the model has them: those with axes behind the channels."""
    inputs = {graph.names[v.node]: v for v in graph.inputs}
    outputs = {name: v for name, v in zip(graph.output_names, graph.outputs, strict=True) if name not in inputs}
    ports = {n: Port(layout="nhwc") for n, v in (inputs | outputs).items() if setting.channels_last and v.type.rank > 2}
    return ports | {n: PIXELS for n, v in inputs.items() if setting.pixels and v.type.rank > 2 and v.type.is_float}


def compiled(graph: Graph, target: str, setting: Setting) -> Program:
    """The program; with a budget of RAM where the setting has one and the graph can do with so little."""

    def made(ram: int | None) -> Program:
        return compile(
            graph,
            target,
            io=setting.io,
            ports=ports_for(graph, setting),
            io_in_arena=setting.io_in_arena,
            optimize=setting.optimize,
            ram=ram,
        )

    program = made(None)
    if setting.ram is None or get_target(target).codegen != "c":
        return program
    try:
        return made(int(setting.ram * program.manifest["workspace_bytes"]))
    except BudgetExceeded:
        return program


def drawn_input(value: Value, rng: np.random.Generator, style: int) -> Array:
    """Of integers: the whole range, its ends, or about zero; of reals: some magnitude. ``style`` counts from 0."""
    shape, dtype = value.type.static_shape, np.dtype(value.type.dtype)
    if dtype.kind == "f":
        return np.asarray(rng.standard_normal(shape) * (1.0, 8.0, 0.1)[style]).astype(dtype)
    if dtype.kind == "b":
        return np.asarray(rng.integers(0, 2, shape)).astype(dtype)
    low, high = max(np.iinfo(dtype).min, -WIDE), min(np.iinfo(dtype).max, WIDE)
    data = (
        rng.integers(low, high, shape, endpoint=True),
        rng.choice([low, high], shape),
        np.clip(rng.normal(0, 20, shape), low, high),
    )
    return np.asarray(data[style]).astype(dtype)


def drawn_samples(graph: Graph, seed: int, ports: dict[str, Port]) -> tuple[list[list[Array]], list[list[Array]]]:
    """Inputs as the evaluator takes them, and as the program does."""
    rng = np.random.default_rng((seed, 2))
    plain, placed = [], []
    for kind in range(SAMPLES):
        plain.append([drawn_input(v, rng, kind) for v in graph.inputs])
        placed.append(list(plain[-1]))
        for i, v in enumerate(graph.inputs):
            port = ports.get(graph.names[v.node])
            if port is not None and port.dtype is not None:
                pixels = rng.integers(0, 256, v.type.static_shape).astype(np.uint8)
                plain[-1][i] = pixels.astype(np.float32) / np.float32(1 / port.factor) - np.float32(port.means[0])
                placed[-1][i] = pixels
            if port is not None:
                placed[-1][i] = np.moveaxis(placed[-1][i], 1, -1)
    return plain, placed


def outputs_of(program: Program, graph: Graph, ports: dict[str, Port], samples: list[list[Array]]) -> list[list[Array]]:
    """What the program gives, as the graph does: reals in the place of integers that stand for such."""
    taken = [program.arrays(sample) for sample in samples]
    if program.native:
        session = program.session()
        runs = [[np.array(y) for y in as_tuple(session.run(*sample))] for sample in taken]
    else:
        runs = program.measure_batches(taken, count=False).outputs
    reals = [as_tuple(program.dequantize(*run)) for run in runs]
    names = graph.output_names
    return [[np.moveaxis(y, -1, 1) if n in ports else y for n, y in zip(names, run, strict=True)] for run in reals]


def as_tuple(given: Array | tuple[Array, ...]) -> tuple[Array, ...]:
    return given if isinstance(given, tuple) else (given,)


def examine(graph: Graph, way: str, seed: int) -> Finding | None:
    """What is wrong with the program for a target, in the setting of the seed; None if nothing is.

    Raises ``Unsupported`` or ``BudgetExceeded`` where the target refuses the graph.
    """
    setting = setting_of(seed)
    ports = ports_for(graph, setting)
    plain, placed = drawn_samples(graph, seed, ports)
    try:
        want = [graph(*sample) for sample in plain]
        got = outputs_of(compiled(Fuse()(graph), way.removeprefix(PREFIX), setting), graph, ports, placed)
    except (Unsupported, BudgetExceeded):
        raise
    except Exception as error:  # a crash of any sort is what this looks for
        return Finding(way, seed, type(error).__name__, f"{error}; {setting}", graph)
    for i, (outputs, wanted) in enumerate(zip(got, want, strict=True)):
        for name, g, w in zip(graph.output_names, outputs, wanted, strict=True):
            if kind := difference(g, w):
                what, detail = kind
                return Finding(way, seed, what, f"{name} {detail} in sample {i}; {setting}", graph)
    return None


def difference(got: Array, want: Array) -> tuple[str, str] | None:
    """What kind of difference there is between arrays, and which; None if they are equal."""
    if got.dtype != want.dtype or got.shape != want.shape:
        return "type", f"is {got.dtype}{got.shape} instead of {want.dtype}{want.shape}"
    if np.array_equal(got, want):
        return None
    first = tuple(int(i) for i in np.argwhere(got != want)[0])
    count = int((got != want).sum())
    return "differs", f"at {list(first)} is {got[first]} instead of {want[first]}, {count} of {want.size} are wrong"


def available(target: str) -> bool:
    machine = get_target(target)
    return all(shutil.which(tool) for tool in (machine.toolchain.compiler, machine.runner.emulator) if tool)


def integers(targets: Sequence[str] = TARGETS) -> Kind:
    """Quantized nets, each for two of the targets in turn."""
    usable = [name for name in targets if available(name)]

    def ways(count: int) -> Iterator[str]:
        yield from dict.fromkeys(PREFIX + usable[(2 * count + i) % len(usable)] for i in range(2))

    return Kind(integer_graph, ways, examine)
