"""The C project: clean under strict compilers, free of undefined behaviour, the same every time, without malloc."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from compiling import FLOAT32_BOUND, Weights, assert_close, lowerable_graphs, small_net, write_project
from hypothesis import given, settings
from hypothesis import strategies as st

from graphopt import compile
from graphopt.errors import InvalidInput
from graphopt.ir import REGISTRY, Graph, arg, bind_batch, constant
from graphopt.ops import Add, Cast, LayerNorm, Linear, Mul, Relu, ShiftLeft, ShiftRight, Sigmoid, Softmax, Tanh, math
from graphopt.passes import Fuse, Quantize, optimize
from graphopt.passes.contract import random_inputs
from graphopt.runtime.build import BOARDS, run_tool
from graphopt.runtime.execute import port_context, read_outputs, write_samples
from graphopt.runtime.templates import render

STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-ffp-contract=off"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1"]
ALLOWED = re.compile(r"(expf?|tanhf?|sqrtf?|powf?|fabsf?|fmaf?|memset|memcpy|memmove|__stack_chk_fail)$")
"""What the objects may take from outside: mathematics, and what compilers make of loops that clear or copy."""


def build(folder: Path, sources: list[str], *options: str, compiler: str = "gcc", out: str = "program") -> Path:
    run_tool([compiler, *options, "-I.", f"-I{BOARDS}", *sources, "-lm", "-o", out], folder)
    return folder / out


def run_natively(graph: Graph, folder: Path, batch: int = 1) -> None:
    """Build the project of a graph with the sanitizers, run it here, and compare."""
    program = compile(graph, "cortex-m4", batch=batch, io="float32")
    write_project(program, folder)
    ports = {k: [port_context(p) for p in program.manifest[k]] for k in ("inputs", "outputs")}
    (folder / "harness.c").write_text(render("harness.c", notice="", p="model", P="MODEL", **ports))
    sources = ["harness.c", str(BOARDS / "posix.c"), "model.c", "model_weights.c"]
    executable = build(folder, sources, *SANITIZE)
    bound = bind_batch(graph, batch)
    inputs = random_inputs(bound, seed=3)
    write_samples(folder / "inputs.bin", [list(inputs.values())] * 2)
    done = subprocess.run([executable], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    first, second = read_outputs(folder / "outputs.bin", program.manifest, 2)
    assert_close(bound(**inputs), first)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("level", ["-O0", "-O3"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_compiles_without_a_warning(compiler: str, level: str, tmp_path: Path) -> None:
    folder = write_project(compile(small_net(), "cortex-m4"), tmp_path / "p")
    sources = ["model.c", "model_weights.c", "model_static.c", "main.c"]
    build(folder, sources, *STRICT, level, compiler=compiler)


def test_functions_of_the_library_are_declared(tmp_path: Path) -> None:
    """Each in a program of its own: what another includes would hide it."""
    for name in math.__all__:
        x = arg("x", "float32", (1, 2))
        program = compile(Graph((x,), (REGISTRY[name.lower()]()(x),)), "cortex-m4")
        folder = write_project(program, tmp_path / name)
        run_tool(["gcc", *STRICT, "-c", "model.c", "-o", "object.o"], folder)


@settings(max_examples=8)
@given(graph=lowerable_graphs(), optimized=st.booleans())
def test_drawn_projects_compile_without_a_warning(
    tmp_path_factory: pytest.TempPathFactory, graph: Graph, optimized: bool
) -> None:
    folder = write_project(
        compile(optimize(graph) if optimized else graph, "cortex-m4"), tmp_path_factory.mktemp("c") / "p"
    )
    for compiler in ("gcc", "clang"):
        for source in ("model.c", "model_weights.c", "main.c"):
            run_tool([compiler, *STRICT, "-Os", "-c", source, "-o", "object.o"], folder)


def test_the_example_runs_by_make_and_by_cmake(tmp_path: Path) -> None:
    graph = small_net()
    folder = write_project(compile(graph, "cortex-m4"), tmp_path / "p")
    run_tool(["make"], folder)
    printed = run_tool(["./example"], folder)
    ones = {n: a * 0 + 1 for n, a in random_inputs(graph, 0).items()}
    wanted = graph(**ones)[0].ravel()
    line = re.search(r"output_0:(.*)", printed)
    assert line is not None
    assert [float(v) for v in line[1].split()] == pytest.approx(wanted.tolist(), rel=1e-3, abs=1e-6)
    run_tool(["make", "clean"], folder)
    assert not (folder / "example").exists()


@settings(max_examples=12)
@given(graph=lowerable_graphs(), optimized=st.booleans(), batch=st.sampled_from([1, 3]))
def test_no_undefined_behaviour(
    tmp_path_factory: pytest.TempPathFactory, graph: Graph, optimized: bool, batch: int
) -> None:
    run_natively(optimize(graph) if optimized else graph, tmp_path_factory.mktemp("sanitized") / "p", batch)


def test_no_undefined_behaviour_at_borders(tmp_path: Path) -> None:
    run_natively(small_net(), tmp_path / "p")


def test_shifts_of_negative_numbers_are_defined(tmp_path: Path) -> None:
    g, outputs = Weights(), []
    for dtype in ("int8", "int16", "int32", "int64"):
        x = Cast(to=dtype)(Mul()(g.x(2, 8), constant(np.float32(100))))
        most = np.iinfo(dtype).bits - 1
        counts = constant(np.array([0, 1, 2, 3, 4, 5, 6, most], dtype))
        outputs += [ShiftLeft()(x, counts), ShiftRight()(x, counts)]
    run_natively(g.graph(*outputs), tmp_path / "p")


@pytest.mark.slow
@settings(max_examples=300)
@given(graph=lowerable_graphs(max_ops=10), optimized=st.booleans(), batch=st.sampled_from([1, 3]))
def test_no_undefined_behaviour_in_many(
    tmp_path_factory: pytest.TempPathFactory, graph: Graph, optimized: bool, batch: int
) -> None:
    run_natively(optimize(graph) if optimized else graph, tmp_path_factory.mktemp("sanitized") / "p", batch)


def test_an_operand_that_vanishes_is_no_unused_parameter(tmp_path: Path) -> None:
    g = Weights()
    x, y = g.x(2, 3), g.x(2, 3)
    graph = Fuse()(g.graph(Add()(Mul()(x, constant(np.float32(0))), y)))
    folder = write_project(compile(graph, "cortex-m4"), tmp_path / "p")
    build(folder, ["model.c", "model_weights.c", "model_static.c", "main.c"], *STRICT)


@pytest.mark.parametrize("make", [lambda g: g.w(3), lambda g: Add()(g.w(3), g.w(3))], ids=["constant", "sum"])
def test_a_model_without_inputs_compiles_and_runs(make: object, tmp_path: Path) -> None:
    g = Weights()
    folder = write_project(compile(g.graph(make(g)), "cortex-m4"), tmp_path / "p")  # type: ignore[operator]
    run_tool(["make"], folder)
    assert run_tool(["./example"], folder).startswith("output_0:")


PRINT_FILES = """
import hashlib
from compiling import small_net
from graphopt import compile
for target in ("cortex-m4", "x86-64-v2"):
    for name, content in sorted(compile(small_net(), target).files.items()):
        print(name, hashlib.sha256(content).hexdigest())
"""


def test_the_same_files_in_every_process() -> None:
    """Twice here, and in a process that hashes differently."""
    path = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run(
        [sys.executable, "-c", PRINT_FILES], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    here = io.StringIO()
    with contextlib.redirect_stdout(here):
        exec(PRINT_FILES, {})
    assert done.stdout == here.getvalue() != ""
    assert compile(small_net(), "cortex-m4").files == compile(small_net(), "cortex-m4").files


@pytest.mark.parametrize("level", ["-O0", "-O3"])
def test_no_malloc_no_io_no_recursion(level: str, tmp_path: Path) -> None:
    folder = write_project(compile(small_net(), "cortex-m4"), tmp_path / "p")
    run_tool(["gcc", "-std=c99", level, "-c", "model.c", "model_weights.c"], folder)
    names = run_tool(["nm", "-u", "model.o", "model_weights.o"], folder)
    undefined = {line.split()[-1] for line in names.splitlines() if " U " in line}
    foreign = {n for n in undefined if not ALLOWED.match(n) and not n.startswith("model__")}
    assert foreign == set()
    # nothing calls itself: each function's body names only functions that were defined before it
    source = (folder / "model.c").read_text()
    bodies = re.split(r"\nstatic void (\w+)\(", source)[1:]
    for name, body in zip(bodies[::2], bodies[1::2], strict=True):
        assert not re.search(rf"\b{name}\(", body.split("\n}\n")[0])
    # no state: nothing that can be written outlives a call
    writable = re.findall(r" [dDbBcC] (\w+)", run_tool(["nm", "model.o", "model_weights.o"], folder))
    assert writable == []


def test_integer_code_takes_no_mathematics_of_the_library(tmp_path: Path) -> None:
    """Neither does it link them, nor is anything but weights and the interface seen from outside, each named once."""
    g = Weights()
    y = Linear()(LayerNorm()(g.x(1, 4, 8), g.w(8), g.w(8)), g.w(8, 8), g.w(8), name="fc")
    graph = g.graph(Softmax()(Mul()(Sigmoid()(y), Tanh()(y))))
    data = [random_inputs(graph, seed) for seed in range(3)]
    folder = write_project(compile(Fuse()(Quantize(calibration=data)(graph)), "cortex-m4"), tmp_path / "p")
    assert not any("math.h" in (folder / file).read_text() for file in ("model.c", "model_weights.c"))
    run_tool(["gcc", "-std=c99", "-c", "model.c", "model_weights.c"], folder)
    seen = re.findall(r" ([TtRrU]) (\w+)", run_tool(["nm", "model.o", "model_weights.o"], folder))
    assert {name for kind, name in seen if kind == "T"} == {"model_run"}
    weights = [name for kind, name in seen if kind == "R"]
    assert {name for kind, name in seen if kind == "U"} <= {*weights, "memset", "memcpy", "__stack_chk_fail"}
    assert all(name.startswith("model__") and name.count("fc") <= 1 for name in weights)


def test_the_header_is_cpp_and_agrees_with_the_manifest(tmp_path: Path) -> None:
    program = compile(small_net(), "cortex-m4", name="my_net")
    folder = write_project(program, tmp_path / "p")
    header, manifest = (folder / "my_net.h").read_text(), json.loads((folder / "manifest.json").read_text())

    def defined(name: str) -> str:
        found = re.search(rf"^#define MY_NET_{name} (.*)$", header, re.MULTILINE)
        assert found is not None, name
        return found[1]

    assert int(defined("WORKSPACE_SIZE")) == manifest["workspace_bytes"] > 0
    assert int(defined("ALIGNMENT")) == manifest["alignment"]
    assert int(defined("ABI_VERSION")) == manifest["abi_version"]
    for kind in ("INPUT", "OUTPUT"):
        ports = manifest[f"{kind.lower()}s"]
        assert int(defined(f"{kind}_COUNT")) == len(ports)
        for i, port in enumerate(ports):
            assert json.loads(defined(f"{kind}_{i}_NAME")) == port["name"]
            assert [int(d) for d in re.findall(r"\d+", defined(f"{kind}_{i}_SHAPE"))] == port["shape"]
            assert defined(f"{kind}_{i}_TYPE") == {"float32": "float"}[port["dtype"]]
            assert int(defined(f"{kind}_{i}_RANK")) == len(port["shape"])
    (folder / "use.cpp").write_text('#include "my_net.h"\nint main() { return my_net_run(0, 0, 0, 0) - 1; }')
    run_tool(["gcc", "-std=c99", "-c", "my_net.c", "my_net_weights.c", "my_net_static.c"], folder)
    objects = ["my_net.o", "my_net_weights.o", "my_net_static.o"]
    run_tool(["g++", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "use.cpp", *objects, "-o", "use"], folder)
    run_tool(["./use"], folder)


FIRMWARE = """
#include <stdio.h>
#include "a.h"
#include "a_run.h"
#include "b.h"

static double x[4], y[4]; /* double: aligned to 8 */

int main(void)
{
    const void *const inputs[] = { x };
    void *const outputs[] = { y };
    for (int i = 0; i < 4; ++i) {
        ((float *)x)[i] = 1.0f;
    }
    int (*const models[])(const void *const *, void *const *) = { a_run_static, a_run_run_static, b_run_static };
    for (int i = 0; i < 3; ++i) {
        if (models[i](inputs, outputs)) {
            return 1;
        }
        printf("%.9g\\n", (double)((float *)y)[2]);
    }
    return 0;
}
"""


def test_models_link_into_one_firmware(tmp_path: Path) -> None:
    """Prefixes and node names chosen so that careless symbols would meet: a + run_x against a_run + x."""
    sources, wanted = ["firmware.c"], []
    for prefix, node in (("a", "run_x"), ("a_run", "x"), ("b", "run_static")):
        x, g = arg("x", "float32", (1, 4)), Weights(len(prefix))
        graph = Graph((x,), (Relu()(Linear()(x, g.w(3, 4), constant(np.float32([5, 5, 5])), name=node)),))
        wanted.append(float(graph(np.ones((1, 4), "float32"))[0][0, 2]))
        files = compile(graph, "cortex-m4", name=prefix).files
        for name in (f"{prefix}.c", f"{prefix}.h", f"{prefix}_weights.c", f"{prefix}_static.c"):
            (tmp_path / name).write_bytes(files[name])
            sources += [name] if name.endswith(".c") else []
    (tmp_path / "firmware.c").write_text(FIRMWARE)
    build(tmp_path, sources, "-std=c99", "-Wall", "-Werror", "-fno-strict-aliasing")
    printed = [float(v) for v in run_tool(["./program"], tmp_path).split()]
    assert printed == pytest.approx(wanted, rel=FLOAT32_BOUND)


BAD_NAMES = ["", "Model", "1net", "a-b", "a.b", "a b", "_a", "a_", "a__b", "x" * 32, "é", "main", "harness"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_cannot_be_a_prefix_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="C prefix"):
        compile(small_net(), "cortex-m4", name=name)
