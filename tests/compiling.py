"""What the tests of targets, runtime and command line share: graphs to lower, and how programs are compared."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from graphopt import compile
from graphopt.errors import InvalidGraph, Unsupported
from graphopt.ir import REGISTRY, Array, Graph, Op, TensorType, Value, arg, bind_batch, constant, worst_difference
from graphopt.ops import (
    Conv,
    Exp,
    Linear,
    MaxPool,
    Pow,
    ReduceMean,
    Relu,
    Reshape,
    Resize,
    Sigmoid,
    Softmax,
    rounded_to_half,
)
from graphopt.passes import Fuse
from graphopt.passes.contract import random_inputs
from graphopt.runtime import Program
from graphopt.targets import Target
from graphopt.targets.lowering import check_types
from graphopt.targets.prepared import lowered_operators
from graphopt.targets.region import lowerable
from graphopt.targets.target import host_name, native_targets
from graphopt.testing import MOTIFS, Drawing
from graphopt.testing.drawing import ATTEMPTS, attempt, named, outputs

FLOAT32_BOUND = 1e-4
"""Of max|y|. A sum of n float32 products in another order moves by up to n * 6e-8 of the sum of magnitudes, which for
the graphs drawn here, and for nets of some hundred layers, stays below this; a wrong index or weight moves it by 1."""

NOISE = 1e-6
"""Added, in absolute terms: outputs that cancel to nothing (x - x by two ways) have no magnitude to compare with."""

FLOAT64_BOUND = 1e-9
"""Of max|y|, as the contracts of passes have it."""

NATIVE = list(native_targets()[: native_targets().index(host_name()) + 1])
"""The targets that this machine runs itself."""


def in_long_runs(*names: str) -> list[Any]:
    """Parameters of tests that ``make test-all`` alone takes."""
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


KINDS_OF_CODE = ["host", "aarch64", "cortex-m4", *in_long_runs("armv7", "cortex-m0")]
"""A target for each kind of code: vectors for this machine and for ARM, C, and where floats are done in software."""

SAMPLE_TYPES = [(2, 6), (2, 3, 5), (1, 4, 7, 6), (2, 2, 4, 5), (1, 6, 3, 3), (3, 1, 8)]


def sampled_graph(op: type[Op], samples: int = 3) -> Graph | None:
    """A graph whose outputs are applications of an operator to inputs of several ranks, always the same ones.

    None if the operator does not say how to sample it.
    """
    if inspect.unwrap(op.sample).__func__ is Op.sample.__func__:  # type: ignore[attr-defined]
        return None
    rng = np.random.default_rng(7)
    draw = Drawing(lambda low, high: int(rng.integers(low, high + 1)))
    made: list[Value] = []
    for attempt_ in range(20 * samples):
        x = draw.value(TensorType("float32", SAMPLE_TYPES[attempt_ % len(SAMPLE_TYPES)]))
        try:
            value = op.sample(draw, x)
        except InvalidGraph:
            continue
        made += [] if value is None else [value]
        if len(made) == samples:
            break
    assert len(made) == samples, f"{op.name} could not be sampled"
    return Graph(tuple(draw.inputs), tuple(made))


def joined(graphs: Iterable[Graph]) -> Graph:
    """Graphs side by side, as one."""
    parts = list(graphs)
    return Graph(tuple(v for g in parts for v in g.inputs), tuple(v for g in parts for v in g.outputs))


@cache
def lowered_ops() -> tuple[str, ...]:
    """The operators with a kernel or a scalar rule, and those that decompose into such."""
    found = []
    for name, op in sorted(REGISTRY.items()):
        graph = sampled_graph(op)
        try:
            if graph is not None:
                lowerable(graph, lowered_operators())
                check_types(graph)
                found.append(name)
        except Unsupported:
            pass
    return tuple(found)


@st.composite
def lowerable_graphs(draw: st.DrawFn, max_ops: int = 6) -> Graph:
    """Graphs as ``graphopt.testing.strategies.graphs`` draws them, of operators that have a lowering."""
    drawing = Drawing(lambda low, high: draw(st.integers(low, high)), symbolic=draw(st.booleans()))
    x = drawing.input(drawing.input_type())
    if not drawing.symbolic and drawing.chance(15):  # to go on from a value without axes
        drawing.keep(ReduceMean(axes=tuple(range(x.type.rank)), keepdims=False)(x))
    names = lowered_ops()
    for _ in range(drawing.integer(1, max_ops)):
        for _ in range(ATTEMPTS):
            op = REGISTRY[drawing.choice(names)]
            if attempt(drawing, drawing.choice(MOTIFS) if drawing.chance(60) else op.sample):
                break
    return named(Graph(tuple(drawing.inputs), outputs(drawing)), drawing)


class Weights:
    """Inputs and constants of a seed: for graphs written by hand."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.inputs: list[Value] = []

    def x(self, *shape: int, dtype: str = "float32") -> Value:
        """A new input."""
        self.inputs.append(arg(f"x{len(self.inputs)}", dtype, shape))
        return self.inputs[-1]

    def w(self, *shape: int) -> Value:
        """A new constant."""
        return constant(self.rng.uniform(-1, 1, shape).astype("float32"))

    def graph(self, *outputs: Value) -> Graph:
        return Graph(tuple(self.inputs), outputs)


def small_net() -> Graph:
    """A bit of everything that prints differently: tiles, borders, tables, divisions, calls, selects."""
    g = Weights()
    x = g.x(1, 3, 7, 9)
    y = Relu()(Conv(pads=(1, 1, 1, 1))(x, g.w(8, 3, 3, 3), g.w(8)))
    y = Sigmoid()(Conv(pads=(2, 0, 0, 2), strides=(2, 1), group=8)(y, g.w(8, 1, 3, 3), g.w(8)))
    y = Resize(sizes=(5, 7), coordinates="half_pixel")(MaxPool(kernel=(2, 2), pads=(1, 0, 0, 1))(y))
    z = Reshape(shape=(1, 8))(ReduceMean(axes=(2, 3))(y))
    weight = g.w(5, 8).constant
    assert weight is not None
    result = Linear()(z, constant(rounded_to_half(weight), compact=True), g.w(5))
    return Fuse()(g.graph(Softmax()(result), Pow()(Exp()(y), g.w(1)), x))


def assert_close(want: Sequence[Array], got: Sequence[Array], where: str = "") -> None:
    """Hold arrays to those of the reference, to the bound of their dtype; integers are equal."""
    assert len(want) == len(got)
    for position, (reference, data) in enumerate(zip(want, got, strict=True)):
        assert reference.shape == data.shape, where
        assert reference.dtype == data.dtype, where
        bound = {"float32": FLOAT32_BOUND, "float64": FLOAT64_BOUND}.get(str(reference.dtype), 0.0)
        error = worst_difference(data, reference)
        finite = np.abs(reference[np.isfinite(reference)]).astype(np.float64)
        scale = float(finite.max(initial=0.0)) or 1.0
        allowed = bound + NOISE / scale if bound else 0.0
        assert error <= allowed, f"{where}: output {position} is off by {error:.3g} of max|y|, allowed {allowed:.3g}"


def check_program(graph: Graph, target: str | Target, reference: Graph | None = None, batch: int = 1) -> Program:
    """Compile, run on random inputs, compare with the evaluation of ``reference`` (the graph itself if none)."""
    program = compile(graph, target, batch=batch, io="float32")
    bound = bind_batch(reference or graph, batch)
    inputs = random_inputs(bound, seed=batch)
    (got,) = program.measure(inputs, count=False).outputs
    assert_close(bound(**inputs), got, f"{target} at batch {batch}")
    return program


def write_project(program: Program, folder: Path) -> Path:
    """The files of a C project in a new folder."""
    folder.mkdir(parents=True)
    for name, content in program.files.items():
        (folder / name).write_bytes(content)
    return folder
