"""The interface of a compiled model in C: its errors, its reentrancy, and names that try to escape into the code."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiling import assert_close, check_program, small_net, write_project

from graphopt import compile
from graphopt.ir import Array, Graph, arg, constant
from graphopt.ops import Add, Conv, Relu, Resize
from graphopt.passes.contract import random_inputs
from graphopt.runtime.buffers import aligned
from graphopt.runtime.build import run_tool

OK, ERROR_NULL, ERROR_ALIGNMENT = 0, 1, 2


class Library:
    """A C project as a shared library, called by hand."""

    def __init__(self, graph: Graph, folder: Path) -> None:
        self.program = compile(graph, "cortex-m4")
        write_project(self.program, folder)
        sources = ["model.c", "model_weights.c", "model_static.c"]
        run_tool(["gcc", "-shared", "-fPIC", "-O2", *sources, "-lm", "-o", "model.so"], folder)
        self.manifest = self.program.manifest
        self.run = ctypes.CDLL(str(folder / "model.so")).model_run
        self.inputs = list(random_inputs(graph, 1).values())

    def buffers(self, kind: str) -> list[Array]:
        return [aligned(tuple(p["shape"]), p["dtype"], self.manifest["alignment"]) for p in self.manifest[kind]]

    def given(self, arrays: Sequence[Array]) -> list[Array]:
        buffers = self.buffers("inputs")
        for buffer, data in zip(buffers, arrays, strict=True):
            buffer[...] = data
        return buffers

    def workspace(self) -> Array:
        return aligned((self.manifest["workspace_bytes"],), "uint8", self.manifest["alignment"])


def pointers(arrays: Sequence[Array]) -> Any:
    return (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))


def address(array: Array, offset: int = 0) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data + offset)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return Library(small_net(), tmp_path_factory.mktemp("library") / "p")


def test_null_pointers_are_refused(library: Library) -> None:
    inputs, outputs, workspace = library.given(library.inputs), library.buffers("outputs"), library.workspace()
    a, b, w = pointers(inputs), pointers(outputs), address(workspace)
    assert library.run(a, b, w, None) == OK
    assert library.run(None, b, w, None) == ERROR_NULL
    assert library.run(a, None, w, None) == ERROR_NULL
    assert library.run(a, b, None, None) == ERROR_NULL
    for i in range(len(inputs)):
        broken = pointers(inputs)
        broken[i] = None
        assert library.run(broken, b, w, None) == ERROR_NULL
    for i in range(len(outputs)):
        broken = pointers(outputs)
        broken[i] = None
        assert library.run(a, broken, w, None) == ERROR_NULL


def test_misaligned_pointers_are_refused(library: Library) -> None:
    inputs, outputs, workspace = library.given(library.inputs), library.buffers("outputs"), library.workspace()
    for offset in (1, library.manifest["alignment"] // 2):
        assert library.run(pointers(inputs), pointers(outputs), address(workspace, offset), None) == ERROR_ALIGNMENT
        for i in range(len(inputs)):
            broken = pointers(inputs)
            broken[i] += offset
            assert library.run(broken, pointers(outputs), address(workspace), None) == ERROR_ALIGNMENT
        for i in range(len(outputs)):
            broken = pointers(outputs)
            broken[i] += offset
            assert library.run(pointers(inputs), broken, address(workspace), None) == ERROR_ALIGNMENT


def test_a_model_without_a_workspace_takes_any_pointer_for_it(tmp_path: Path) -> None:
    x = arg("x", "float32", (2, 3))
    lib = Library(Graph((x,), (Relu()(x),)), tmp_path / "p")
    assert lib.manifest["workspace_bytes"] == 0
    inputs, outputs = lib.given(lib.inputs), lib.buffers("outputs")
    for workspace in (None, ctypes.c_void_p(1)):
        assert lib.run(pointers(inputs), pointers(outputs), workspace, None) == OK


def test_threads_with_workspaces_of_their_own_do_not_disturb_each_other(library: Library) -> None:
    """ctypes lets go of the interpreter's lock, so the calls do overlap."""
    failures: list[str] = []

    def work(seed: int) -> None:
        graph = small_net()
        arrays = list(random_inputs(graph, seed).values())
        wanted = graph(*arrays)
        inputs, workspace = library.given(arrays), library.workspace()
        workspace[...] = seed  # what the workspace holds before does not matter
        for _ in range(200):
            outputs = library.buffers("outputs")
            if library.run(pointers(inputs), pointers(outputs), address(workspace), None) != OK:
                failures.append(f"status of {seed}")
            try:
                assert_close(wanted, outputs)
            except AssertionError as error:
                failures.append(f"{seed}: {error}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_inputs_are_not_written(library: Library) -> None:
    inputs, outputs, workspace = library.given(library.inputs), library.buffers("outputs"), library.workspace()
    library.run(pointers(inputs), pointers(outputs), address(workspace), None)
    for data, want in zip(inputs, library.inputs, strict=True):
        np.testing.assert_array_equal(data, want)


HOSTILE = [
    '*/ system("touch escaped"); /*',
    'a"b\\n',
    "x" * 300,
    "y" * 5000,
    "größe/µ 漢字 🎉",
    "int",
    "return",
    "??/",
    "\n#error escaped\n",
    "%s%n",
    "a.b",
    "a_b",
    "a b",
    "a-b",
    "1",
    "",
    "model_run",
    "run_static",
    "exp",
    "main",
    "../../etc/passwd",
    "{{ 7 * 7 }}",
    "${CMAKE}",
    "$(shell touch escaped)",
    "|",
    "`",
]


def hostile_graph() -> Graph:
    """Inputs, nodes, weights and outputs of every hostile name, some of which collide once they are cleaned."""
    inputs, outputs = [], []
    rng = np.random.default_rng(0)
    for i, name in enumerate(HOSTILE):
        x = arg(name, "float32", (1, 2, 3, 3))
        inputs.append(x)
        weight = constant(rng.standard_normal((2, 2, 2, 2)).astype("float32"), name=name)
        bias = constant(rng.standard_normal(2).astype("float32"), name=name)
        shift = constant(rng.standard_normal((2, 1, 1)).astype("float32"), name=name)
        y = Add()(Conv()(x, weight, bias, name=name), shift, name=name)
        outputs.append(Resize(sizes=(3, 5))(y, name=name) if i % 2 else y)
    return Graph(tuple(inputs), tuple(outputs), tuple(f"{name}!" for name in HOSTILE), name='*/ "graph')


def test_hostile_names_stay_out_of_the_c(tmp_path: Path) -> None:
    program = compile(hostile_graph(), "cortex-m4")
    folder = write_project(program, tmp_path / "p")
    text = "".join(c.decode() for n, c in program.files.items() if n != "manifest.json")
    assert not any(trick in text for trick in ("system(", "$(shell", "${CMAKE}", "{{", "??", "passwd/", "../"))
    assert "\n#error" not in text
    assert not any(ord(c) > 126 for c in text)
    run_tool(["make"], folder)
    assert run_tool(["./example"], folder).count(":") >= len(HOSTILE)
    assert not list(tmp_path.rglob("escaped"))
    manifest = program.manifest
    assert [p["name"] for p in manifest["outputs"]] == [f"{n}!" for n in HOSTILE]


@pytest.mark.parametrize("target", ["host", "aarch64", "cortex-m4"])
def test_hostile_names_do_not_change_results(target: str) -> None:
    check_program(hostile_graph(), target)
