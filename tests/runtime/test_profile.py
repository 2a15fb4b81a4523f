"""What a profile gives of a program that runs here: a time for each kernel, and the results of the program."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from compiling import NATIVE, Weights
from targets import test_cache_rows

from graphopt import Program, compile
from graphopt.errors import InvalidInput
from graphopt.ir import Array, Batch, Graph, arg
from graphopt.ops import Linear, Relu
from graphopt.report import profile_program
from graphopt.runtime.profile import LONG, seconds_of


def net() -> Graph:
    """The same kernel twice, and another one; two ports, one of which no alignment divides."""
    g = Weights()
    x, y = arg("x", "float32", (Batch(), 9)), arg("y", "float32", (Batch(), 5))
    first = Linear()(x, g.w(9, 9), g.w(9), name="first")
    second = Linear()(first, g.w(9, 9), g.w(9), name="second")
    return Graph((x, y), (second, Linear()(y, g.w(7, 5), g.w(7), name="third")))


@pytest.fixture(scope="module")
def program() -> Program:
    return compile(net(), "host")


@pytest.fixture(scope="module")
def inputs() -> list[Array]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype("float32") for shape in ((1, 9), (1, 5))]


@pytest.mark.parametrize("repeats", [1, 7])
def test_the_kernels_and_the_results_are_those_of_the_program(
    program: Program, inputs: list[Array], repeats: int
) -> None:
    rows = program.manifest["kernels"]
    assert len({row["kernel"] for row in rows}) < len(rows) == 3
    run = program.profile(inputs, repeats)
    assert run.seconds is not None and run.seconds > 0
    assert run.seconds_per_kernel is not None and len(run.seconds_per_kernel) == len(rows)
    assert min(run.seconds_per_kernel) >= 0
    for got, wanted in zip(run.outputs[0], program.run(*inputs), strict=True):
        assert np.array_equal(got, wanted)


def test_repeats_are_chosen_by_time(program: Program, inputs: list[Array], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphopt.runtime.profile.SECONDS", 1e-9)
    assert program.profile(inputs).seconds_per_kernel


def test_long_kernels_go_by_the_clock_of_the_cpu() -> None:
    monotonic = np.array([[20, 20 + 3 * LONG, 20 + LONG // 2]] * 2)
    cpu = np.array([[500, 500 + 2 * LONG, 500], [500, 500 + 2 * LONG, 500], [500, 0, 0]])
    assert seconds_of([monotonic, cpu], np.ones(3, int)) == pytest.approx([0, 2 * LONG / 1e9, LONG / 2e9])


def test_the_first_sample_runs(program: Program, inputs: list[Array]) -> None:
    two = [np.concatenate([x, 2 * x]) for x in inputs]
    (outputs,) = program.profile(two, 1).outputs
    assert np.array_equal(outputs[1], program.run(*inputs)[1])


def test_a_program_without_weights() -> None:
    x = arg("x", "float32", (4,))
    run = compile(Graph((x,), (Relu()(x),)), "host").profile([np.array([-1, 0, 1, 2], np.float32)], 2)
    assert run.outputs[0][0].tolist() == [0, 0, 1, 2]


def test_nothing_of_it_is_in_the_artifact(program: Program, inputs: list[Array], tmp_path: Path) -> None:
    before = dict(program.files)
    program.profile(inputs, 1)
    assert program.files == before and not any("profile" in name or name.endswith(".o") for name in before)
    program.save(tmp_path / "saved")
    for other in (Program.load(tmp_path / "saved"), pickle.loads(pickle.dumps(program))):
        assert other == program
        with pytest.raises(InvalidInput, match=r"not compiled here(.|\n)*compile it again"):
            other.profile(inputs)


def test_what_is_refused(program: Program, inputs: list[Array]) -> None:
    with pytest.raises(InvalidInput, match="repeats = 0"):
        program.profile(inputs, 0)
    with pytest.raises(InvalidInput):
        program.profile(inputs[:1])
    for target, advice in (("cortex-m4", "--layers"), ("armv7", "counts the instructions of a run")):
        with pytest.raises(InvalidInput, match=rf"{target} is emulated here(.|\n)*{advice}"):
            compile(net(), target).profile(inputs)


def test_layers_that_go_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their kernels are called in several turns: a layer has one row, of all that it computes."""
    graph = test_cache_rows.net()
    whole, cut = (test_cache_rows.compiled(graph, NATIVE[-1], monkeypatch, cache) for cache in (1 << 20, 1 << 12))
    turns = cut.manifest["loops"]
    assert any(often > 1 for often, _ in turns)
    x = np.ones((1, 5, 23, 19), "float32")
    run = cut.profile([x], 3)
    assert run.seconds_per_kernel is not None
    assert (
        len(run.seconds_per_kernel) == sum(count for _, count in turns) < sum(often * count for often, count in turns)
    )
    layers = [profile_program(program, [x], repeats=3).kernels for program in (whole, cut)]
    macs, by_rows = ({kernel.node: kernel.macs for kernel in kernels if kernel.macs} for kernels in layers)
    assert by_rows == macs and len(by_rows) == sum(kernel.macs is not None for kernel in layers[1])
