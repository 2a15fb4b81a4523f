"""Ports as the caller wishes them: channels last, and in the workspace."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from mlperf import quantized

import graphopt
from graphopt.errors import InvalidInput
from graphopt.ir import Graph, arg, constant
from graphopt.ops import Abs, Add, Conv, MaxPool, Neg, Relu, Reshape
from graphopt.passes import Fuse
from graphopt.runtime.build import run_tool

TARGETS = ["host", "cortex-m4"]


def net() -> Graph:
    """Two inputs; one output is computed in place of an input, the other is a plane."""
    rng = np.random.default_rng(0)
    x, y = arg("image", "float32", (1, 3, 6, 5)), arg("row", "float32", (1, 7))
    w = constant(rng.uniform(-1, 1, (4, 3, 3, 3)).astype(np.float32))
    plane = Relu()(Conv(pads=(1, 1, 1, 1))(x, w, constant(np.zeros(4, np.float32))))
    pooled = MaxPool(kernel=(2, 1), strides=(2, 1))(plane)
    return Fuse()(Graph((x, y), (pooled, Relu()(Add()(y, y))), ("plane", "row_twice")))


def feed() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.uniform(-1, 1, (1, 3, 6, 5)).astype(np.float32), rng.uniform(-1, 1, (1, 7)).astype(np.float32)]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("in_arena", [False, True])
def test_channels_last(target: str, in_arena: bool) -> None:
    x, row = feed()
    want = net()(x, row)
    program = graphopt.compile(net(), target, layout={"image": "nhwc", "plane": "nhwc"}, io_in_arena=in_arena)
    assert [port["shape"] for port in program.manifest["inputs"]] == [[1, 6, 5, 3], [1, 7]]
    plane, twice = program.run(np.ascontiguousarray(x.transpose(0, 2, 3, 1)), row)
    np.testing.assert_allclose(plane.transpose(0, 3, 1, 2), want[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(twice, want[1])


@pytest.mark.parametrize("target", TARGETS)
def test_channels_last_beside_reshapes(target: str) -> None:
    """Of an input that is flattened, of an output that is flattened too, and of one that a reshape makes."""
    x = arg("image", "int8", (1, 4, 3, 4))
    plane, shuffled = Neg()(x), Reshape(shape=(1, 6, 8))(Abs()(x))
    flat = Neg()(Reshape(shape=(1, 48))(x)), Abs()(Reshape(shape=(1, 48))(plane))
    graph = Graph((x,), (plane, shuffled, *flat), ("plane", "shuffled", "flat", "plane_flat"))
    sample = np.arange(48, dtype=np.int8).reshape(1, 4, 3, 4)
    program = graphopt.compile(graph, target, layout=dict.fromkeys(("image", "plane", "shuffled"), "nhwc"))
    got = program.run(np.ascontiguousarray(np.moveaxis(sample, 1, -1)))
    want = graph(sample)
    for y, expected in zip([*(np.moveaxis(y, -1, 1) for y in got[:2]), *got[2:]], want, strict=True):
        np.testing.assert_array_equal(y, expected)


def test_a_port_that_there_is_not() -> None:
    with pytest.raises(InvalidInput, match="no port is called 'x'"):
        graphopt.compile(net(), "cortex-m4", layout={"x": "nhwc"})
    with pytest.raises(InvalidInput, match="'nwhc' is none of nchw, nhwc"):
        graphopt.compile(net(), "cortex-m4", layout={"image": "nwhc"})
    with pytest.raises(InvalidInput, match="has no channels to put last"):
        graphopt.compile(net(), "cortex-m4", layout={"row": "nhwc"})


def test_a_caller_that_writes_into_the_workspace(tmp_path: Path) -> None:
    """The same outputs at its places as through buffers of the caller's own; run natively, by a main of its own."""
    program = graphopt.compile(net(), "cortex-m4", io_in_arena=True)
    for name in ("model.h", "model.c", "model_weights.c"):
        (tmp_path / name).write_bytes(program.files[name])
    x, row = feed()
    (tmp_path / "data.h").write_text(
        "".join(
            f"static const float {n}[] = {{{', '.join(f'{v!r}f' for v in map(float, data.ravel()))}}};\n"
            for n, data in (("image", x), ("row", row))
        )
    )
    (tmp_path / "main.c").write_text(
        """\
#include <stdio.h>
#include <string.h>
#include "model.h"
#include "data.h"
static uint8_t workspace[MODEL_WORKSPACE_SIZE] __attribute__((aligned(16)));
int main(void)
{
    const void *inputs[] = {model_input(workspace, 0), model_input(workspace, 1)};
    void *outputs[] = {model_output(workspace, 0), model_output(workspace, 1)};
    memcpy(model_input(workspace, 0), image, sizeof image);
    memcpy(model_input(workspace, 1), row, sizeof row);
    if (model_run(inputs, outputs, workspace, NULL)) return 1;
    for (int i = 0; i < MODEL_OUTPUT_0_SIZE; ++i) printf("%a\\n", ((float *)outputs[0])[i]);
    for (int i = 0; i < MODEL_OUTPUT_1_SIZE; ++i) printf("%a\\n", ((float *)outputs[1])[i]);
    return 0;
}
"""
    )
    options = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off"]
    run_tool(["gcc", *options, "main.c", "model.c", "model_weights.c", "-lm", "-o", "main"], tmp_path)
    got = np.array([float.fromhex(line) for line in run_tool([str(tmp_path / "main")], tmp_path).split()], np.float32)
    want = net()(x, row)
    np.testing.assert_allclose(got, np.concatenate([w.ravel() for w in want]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "most"), [("kws", 8_610), ("resnet8", 21_600)])
def test_ports_share_the_memory_of_the_model(name: str, most: int, shared: Path) -> None:
    """The same bytes as with ports apart, in less memory in all."""
    graph = quantized(shared, name)
    apart, within = (graphopt.compile(graph, "cortex-m4", io_in_arena=inside) for inside in (False, True))
    ports = sum(int(np.prod(p["shape"])) for kind in ("inputs", "outputs") for p in apart.manifest[kind])
    assert within.sizes.workspace <= most < apart.sizes.workspace + ports
    shape = apart.manifest["inputs"][0]["shape"]
    samples = [[x] for x in np.random.default_rng(0).integers(-128, 128, (2, *shape)).astype(np.int8)]
    got, want = (p.measure_batches(samples).outputs for p in (within, apart))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
    assert re.search(r"static inline void \*model_input\(void \*workspace", within.files["model.h"].decode())


@pytest.mark.parametrize("kernel", [1, 3])
def test_an_output_that_is_read_again_stays(kernel: int) -> None:
    """With a place in the arena, it is written over neither by what reads it, nor in place."""
    x = arg("x", "float32", (1, 4, 6, 6))
    w, b = constant(np.full((4, 1, kernel, kernel), 0.5, np.float32)), constant(np.zeros(4, np.float32))
    a = Conv(group=4, pads=(kernel // 2,) * 4)(x, w, b)
    y = Conv(group=4, pads=(kernel // 2,) * 4)(a, w, b)
    graph = Graph((x,), (a, y, Relu()(y)), ("a", "y", "z"))
    program = graphopt.compile(graph, "cortex-m4", io_in_arena=True)
    sample = np.random.default_rng(0).normal(size=(1, 4, 6, 6)).astype(np.float32)
    for got, want in zip(program.run(sample), graph(sample), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("target", ["cortex-m4", "host"])
def test_outputs_that_were_computed_in_place_stay(target: str) -> None:
    """Each is read by the next one, and could give way to it if the caller did not want it too."""
    x = arg("x", "float32", (1, 9))
    first = Neg()(x)
    second = Relu()(first)
    graph = Graph((x,), (Neg()(second), first, second))
    program = graphopt.compile(graph, target, io_in_arena=True)
    data = np.arange(-4, 5, dtype=np.float32)[None]
    for got, want in zip(program.run(data), graph(data), strict=True):
        np.testing.assert_array_equal(got, want)
