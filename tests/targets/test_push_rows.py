"""Inputs whose rows are pushed: the same bits as of whole inputs, on cores and natively, and what cannot be so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlperf import quantized
from tagged import run_tagged
from targets.test_overlap import conv
from targets.test_rows import drawn_net, residual

import graphopt
from graphopt import Port
from graphopt.errors import BudgetExceeded, InvalidInput, Unsupported
from graphopt.ir import Array, Graph, arg, constant
from graphopt.ops import Conv, Linear, MaxPool, Relu, Reshape
from graphopt.passes import Fuse, Quantize
from graphopt.runtime.build import run_tool
from graphopt.targets import get_target
from graphopt.targets.gathering import Lowering
from graphopt.targets.ports import PortOptions
from graphopt.targets.prepared import with_taking
from graphopt.targets.rows import Stream
from graphopt.targets.streams import Choice

M4 = get_target("cortex-m4")
ROWS = {"x": Port(layout="nhwc", push_rows=True)}


def camera(dtype: str = "int8", height: int = 17) -> Graph:
    """Strided windows, a residual block and a head, of three channels."""
    x = arg("x", dtype, (1, 3, height, 14))
    y = conv(x, 8, 3, 2, (1, 1, 1, 1), depthwise=False)
    y = residual(y, lambda low, high: 1 if (low, high) != (1, 5) else 3)
    return Fuse()(Graph((x,), (conv(y, 4, 3, 2, (0,) * 4, depthwise=False),), ("y",)))


def sample(graph: Graph, seed: int = 0) -> Array:
    type_ = graph.inputs[0].type
    rng = np.random.default_rng(seed)
    return rng.integers(-99, 99, type_.static_shape).astype(type_.dtype)


def last(x: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def least(graph: Graph, **options: Any) -> int:
    with pytest.raises(BudgetExceeded) as caught:
        graphopt.compile(graph, "cortex-m4", ram=0, **options)
    return int(caught.value.what.partition(" ")[0].replace(",", ""))


@pytest.mark.parametrize(
    ("target", "dtype"),
    [("cortex-m0", "float32"), ("cortex-m0", "int8"), ("cortex-m4", "int8"), ("cortex-m55", "int8")],
)
def test_rows_give_what_the_whole_gives(target: str, dtype: str) -> None:
    graph = camera(dtype)
    program = graphopt.compile(graph, target, ports=ROWS)
    assert program.manifest["pushed_rows"] == 17
    np.testing.assert_allclose(program.run(last(sample(graph))), graph(sample(graph))[0], rtol=1e-5)


def test_with_the_least_ram_the_input_never_lies_there() -> None:
    graph = camera(height=64)
    whole, pushed = least(graph, layout={"x": "nhwc"}, io_in_arena=True), least(graph, ports=ROWS)
    program = graphopt.compile(graph, "cortex-m4", ports=ROWS, ram=pushed)
    assert program.manifest["workspace_bytes"] == pushed < min(whole, sample(graph).nbytes)
    np.testing.assert_array_equal(program.run(last(sample(graph))), graph(sample(graph))[0])
    header = program.files["model.h"].decode()
    assert "#define MODEL_ROWS 64" in header and "#define MODEL_ROW_SIZE 42" in header and "model_input(" not in header


MAIN = """\
#include <stdio.h>
#include "model.h"
#include "data.h"
static uint8_t workspace[MODEL_WORKSPACE_SIZE] __attribute__((aligned(16)));
int main(void)
{
    for (int run = 0; run < 2; ++run) {
        model_start(workspace);
        if (run == 0) model_push_row(workspace, image);  /* a run that is given up */
        model_start(workspace);
        for (int row = 0; row < MODEL_ROWS; ++row) {
            const int missing = model_push_row(workspace, (const char *)image + row * MODEL_ROW_SIZE);
            if (missing != MODEL_ROWS - 1 - row) return 1;
        }
        if (model_push_row(workspace, image) != MODEL_NO_ROW) return 2;
        if (model_push_row(workspace, 0) != MODEL_NO_ROW || model_push_row(0, image) != MODEL_NO_ROW) return 3;
    }
    for (int i = 0; i < MODEL_OUTPUT_0_SIZE; ++i) printf("%d\\n", ((int8_t *)model_output(workspace, 0))[i]);
    return 0;
}
"""


@pytest.mark.parametrize("ram", [False, True])
def test_a_caller_that_pushes_rows(ram: bool, tmp_path: Path) -> None:
    """Natively, with warnings as errors and with sanitizers; and the example of the project runs."""
    graph = camera()
    program = graphopt.compile(graph, "cortex-m4", ports=ROWS, ram=least(graph, ports=ROWS) if ram else None)
    program.save(tmp_path / "project")
    run_tool(["make", "-s"], tmp_path / "project")
    assert "y:" in run_tool(["./example"], tmp_path / "project")
    for name in ("model.h", "model.c", "model_weights.c"):
        (tmp_path / name).write_bytes(program.files[name])
    x = last(sample(graph)).ravel()
    (tmp_path / "data.h").write_text(f"static const int8_t image[] = {{{', '.join(map(str, x))}}};\n")
    (tmp_path / "main.c").write_text(MAIN)
    options = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsanitize=address,undefined"]
    run_tool(["gcc", *options, "main.c", "model.c", "model_weights.c", "-lm", "-o", "main"], tmp_path)
    got = np.array(run_tool([str(tmp_path / "main")], tmp_path).split(), np.int8)
    assert (got == graph(sample(graph))[0].ravel()).all()
    assert "model_push_row" in program.files["README.md"].decode()


def test_pixels_are_pushed() -> None:
    """Bytes of a camera that stand for reals, and each row of them is narrowed as it comes."""
    x = arg("x", "float32", (1, 3, 12, 10))
    rng = np.random.default_rng(0)
    w = constant(rng.uniform(-1, 1, (8, 3, 3, 3)).astype(np.float32))
    y = Relu()(Conv(pads=(1, 1, 1, 1))(x, w, constant(np.zeros(8, np.float32))))
    pixels = rng.integers(0, 256, (2, 12, 10, 3)).astype(np.uint8)
    reals = (pixels.astype(np.float32) / np.float32(255)).transpose(0, 3, 1, 2)
    graph = Fuse()(Quantize(calibration=reals)(Graph((x,), (MaxPool(kernel=(2, 2), strides=(2, 2))(y),), ("y",))))
    port = Port(layout="nhwc", dtype="uint8", scale=1 / 255, push_rows=True)
    program = graphopt.compile(graph, "cortex-m4", ports={"x": port})
    got = program.dequantize(np.asarray(program.run(pixels[:1])))
    np.testing.assert_array_equal(got, graph(reals[:1])[0])


def options(graph: Graph) -> PortOptions:
    (name,) = (graph.names[v.node] for v in graph.inputs)
    return PortOptions(frozenset([name]), True, name)


@settings(max_examples=4)
@given(data=st.data(), bound=st.integers(0, 3))
def test_drawn_nets(data: st.DataObject, bound: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each byte of each row is there until it was read, whichever layers go by rows."""
    graph = with_taking(drawn_net(lambda low, high: data.draw(st.integers(low, high))), "x")

    def streams(found: Graph) -> list[Stream]:
        whole = Lowering(found, M4, options(found))
        whole.run()
        choice = Choice(whole)
        low, high = (max(part.nbytes for part in choice.least(most)) for most in (float("inf"), 0.0))
        parts = choice.cheapest(low + (high - low) * bound // 3) or choice.least(float("inf"))
        return [part.stream for part in parts if part.stream is not None]

    assert run_tagged(graph, M4, tmp_path_factory.mktemp("tagged"), streams=streams, options=options(graph)) == ""


def flat() -> Graph:
    x = arg("x", "float32", (1, 3, 6, 5))
    w = constant(np.ones((2, 90), np.float32))
    y = Reshape(shape=(1, 90))(x)
    return Fuse()(Graph((x,), (Linear()(y, w, constant(np.zeros(2, np.float32))),)))


def test_inputs_whose_rows_cannot_be_pushed() -> None:
    graph, rows = camera(), {"x": Port(push_rows=True)}
    with pytest.raises(Unsupported, match=r"a row of .* is not one piece of memory"):
        graphopt.compile(graph, "cortex-m4", ports=rows)
    with pytest.raises(Unsupported, match="rows pushed into a library for"):
        graphopt.compile(graph, "host", ports=ROWS)
    with pytest.raises(InvalidInput, match="rows are pushed into inputs over planes"):
        graphopt.compile(graph, "cortex-m4", ports={"y": Port(push_rows=True)})
    x, other = graph.inputs[0], arg("other", "int8", (1, 4))
    both = Graph((x, other), (*graph.outputs, Relu()(other)))
    with pytest.raises(Unsupported, match=r"rows pushed into one of several inputs .*other"):
        graphopt.compile(both, "cortex-m4", ports=ROWS)
    with pytest.raises(Unsupported, match=r"cannot go by rows"):
        graphopt.compile(flat(), "cortex-m4", ports=ROWS)


def test_keyword_spotting_in_less_than_its_planes(shared: Path) -> None:
    graph = quantized(shared, "kws")
    (name,) = (graph.names[v.node] for v in graph.inputs)
    ports = {name: Port(layout="nhwc", push_rows=True)}
    program = graphopt.compile(graph, "cortex-m4", ports=ports, ram=4_800)
    whole = graphopt.compile(graph, "cortex-m4", layout={name: "nhwc"})
    shape = whole.manifest["inputs"][0]["shape"]
    x = np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)
    np.testing.assert_array_equal(program.run(x), whole.run(x))
    assert re.search(r"int model_push_row\(void \*workspace, const void \*row\);", program.files["model.h"].decode())


@pytest.mark.slow
def test_what_a_refusal_says_is_enough(shared: Path) -> None:
    graph = quantized(shared, "resnet8")
    ports = {graph.names[v.node]: Port(layout="nhwc", push_rows=True) for v in graph.inputs}
    with pytest.raises(BudgetExceeded) as caught:
        graphopt.compile(graph, "cortex-m4", ports=ports, ram=1)
    found = re.search(r"allow ram=([0-9]+)", str(caught.value))
    assert found is not None
    assert graphopt.compile(graph, "cortex-m4", ports=ports, ram=int(found[1])).sizes.workspace == int(found[1])
