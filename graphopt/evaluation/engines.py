"""What computes the outputs: the reference evaluator, a program on this machine, or on an emulator of its target."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphopt.errors import InvalidInput, ToolFailed, Unsupported
from graphopt.frontends import load
from graphopt.ir import Array, Batch, Graph, Value
from graphopt.ops.macs import count_macs
from graphopt.runtime import Program
from graphopt.runtime.program import join
from graphopt.targets import Target, compile, get_target
from graphopt.targets.target import host_name

Model = Graph | Program | str | Path
"""A graph, a program, an .onnx or .gopt file, or the folder of an artifact."""

REFERENCE = "reference"
"""The name of the reference evaluator, in place of a target's."""
WORK = 10**10
"""Multiply-accumulates over all samples; a graph that takes more is compiled for this machine."""
EVALUATED, NATIVE, EMULATED = 32, 256, 100
"""Samples in one call; for a program that makes up for writing and building it."""


@dataclass(frozen=True)
class Engine:
    """Something that computes: what it is, the dtypes of its inputs, and its outputs for a batch of them.

    Samples come in multiples of ``batch``, and best ``chunk`` at once. A quantized input takes float32, or its
    integers.
    """

    name: str
    inputs: Mapping[str, str]
    integers: Mapping[str, str]
    batch: int
    chunk: int
    compute: Callable[[dict[str, Array]], tuple[Array, ...]]
    notes: tuple[str, ...] = ()

    def run(self, given: Mapping[str, Array]) -> tuple[Array, ...]:
        """The outputs, dequantized, their first axis counting samples. Inputs are taken by name, or else in order."""
        if len(given) != len(self.inputs):
            what = f"{len(given)} inputs given, {len(self.inputs)} needed: {', '.join(self.inputs)}"
            raise InvalidInput(what, where=self.name)
        if set(given) != set(self.inputs):
            given = dict(zip(self.inputs, given.values(), strict=True))
        return self.compute({name: self.taken(name, data) for name, data in given.items()})

    def taken(self, name: str, data: Array) -> Array:
        """An array as an input takes it: floats of any width and small integers are floats to an input of floats."""
        wanted = self.inputs[name]
        if str(data.dtype) in (wanted, self.integers.get(name)):
            return data
        if wanted.startswith("float") and data.dtype.kind in "fiub":
            with np.errstate(over="ignore"):
                return data.astype(wanted)
        raise InvalidInput(f"{data.dtype} given, {wanted} needed", where=f"input {name!r}")


def read_model(model: Model) -> Graph | Program:
    """The graph of a file, the program of a folder; raises ``InvalidInput`` for anything that is none."""
    if isinstance(model, Graph | Program):
        return model
    if not isinstance(model, str | Path):
        advice = "give a graph (graphopt.trace makes one of a module), a program, a file or a folder"
        raise InvalidInput(f"a {type(model).__name__} cannot be evaluated", advice=advice)
    return Program.load(model) if Path(model).is_dir() else load(model)


def engine_of(model: Graph | Program, target: str | Target | None, samples: int) -> Engine:
    """What computes a model. A graph is compiled for the target given; without one it is evaluated, or, where that
    takes long, compiled for this machine if it can be.
    """
    if isinstance(model, Program):
        own = model.manifest["target"]
        if target is not None and (target == REFERENCE or machine(get_target(target).name) != machine(own)):
            what = f"the program was compiled for {own}"
            raise InvalidInput(what, where=f"target {target}", advice="compile the model for that target")
        return program_engine(model)
    if target == REFERENCE:
        return evaluator(model)
    if target is not None:
        return program_engine(compile(model, machine(target) if isinstance(target, str) else target))
    if count_macs(model) * samples // (fixed_batch(model) or 1) <= WORK:
        return evaluator(model)
    try:
        return program_engine(compile(model, host_name()))
    except (Unsupported, ToolFailed) as error:
        return evaluator(model, (f"it could not be compiled for this machine, and is slower: {error.what}",))


def machine(name: str) -> str:
    """The name of a target; of this machine that of its instruction set."""
    return host_name() if name == "host" else name


def fixed_batch(graph: Graph) -> int | None:
    """The size of the first axis of the inputs, None where the batch is free."""
    if graph.is_symbolic:
        return None
    sizes = [v.type.static_shape[0] for v in graph.inputs if v.type.rank]
    return sizes[0] if sizes else 1


def evaluator(graph: Graph, notes: tuple[str, ...] = ()) -> Engine:
    """The reference evaluator."""
    size = fixed_batch(graph)

    def compute(inputs: dict[str, Array]) -> tuple[Array, ...]:
        runs = [graph(**part) for part in split(inputs, size)]
        return tuple(joined(v, [run[i] for run in runs]) for i, v in enumerate(graph.outputs))

    inputs = {graph.names[v.node]: v.type.dtype for v in graph.inputs}
    return Engine("reference evaluator", inputs, {}, size or 1, max(EVALUATED, size or 1), compute, notes)


def joined(output: Value, runs: Sequence[Array]) -> Array:
    """The results of several runs for one output, the axis that counts samples first."""
    axis = next((i for i, d in enumerate(output.type.shape) if isinstance(d, Batch)), 0)
    return np.moveaxis(np.concatenate([np.atleast_1d(y) for y in runs], axis), axis, 0)


def program_engine(program: Program) -> Engine:
    """A program, here or on its emulator."""
    manifest = program.manifest
    ports = manifest["inputs"]
    size = next((port["shape"][0] for port in ports if port["shape"]), 1)

    def compute(inputs: dict[str, Array]) -> tuple[Array, ...]:
        if manifest["batched"]:
            outputs = program.run(**inputs)
        else:
            samples = [sample for part in split(inputs, size) for sample in program.samples(part)]
            outputs = join(program.measure_batches(samples, count=False).outputs)
        reals = program.dequantize(*(outputs if isinstance(outputs, tuple) else (outputs,)))
        return reals if isinstance(reals, tuple) else (reals,)

    native = manifest["runner"]["kind"] == "native"
    name = f"{manifest['target']} program" if native else f"QEMU {manifest['target']}"
    inputs = {p["name"]: "float32" if "scale" in p else p["dtype"] for p in ports}
    integers = {p["name"]: p["dtype"] for p in ports if "scale" in p}
    return Engine(name, inputs, integers, size, max(NATIVE if native else EMULATED, size), compute)


def split(inputs: dict[str, Array], size: int | None) -> Iterator[dict[str, Any]]:
    """Batches of so many samples; all at once where the size is free."""
    total = len(next(iter(inputs.values())))
    for start in range(0, total, size or total):
        yield {name: data[start : start + (size or total)] for name, data in inputs.items()}


def common_step(engines: Sequence[Engine]) -> int:
    """The number of samples of whose multiples all of them take."""
    return math.lcm(*(engine.batch for engine in engines))
