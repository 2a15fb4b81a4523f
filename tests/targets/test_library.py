"""What is saved with a shared library: an example, its header, and how pkg-config, CMake and the loader find it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from compiling import in_long_runs, small_net

from graphopt import Program, compile
from graphopt.errors import InvalidInput, ToolFailed
from graphopt.runtime.build import run_tool

STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]


@pytest.fixture(scope="module")
def program() -> Program:
    return compile(small_net(), "host", name="my_net")


@pytest.fixture
def folder(program: Program, tmp_path: Path) -> Path:
    return program.save(tmp_path / "a folder").folder


def ones(program: Program) -> str:
    """What the example prints, which runs on ones and shows six digits of sixteen elements."""
    ports = program.manifest["inputs"]
    outputs = program.measure([np.ones(p["shape"], p["dtype"]) for p in ports], count=False).outputs[0]
    names = [p["name"] for p in program.manifest["outputs"]]
    rows = ((name, y.ravel()[:16].tolist()) for name, y in zip(names, outputs, strict=True))
    return "".join(f"{name}: {' '.join(f'{v:g}' for v in values)}\n" for name, values in rows)


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


def test_the_example_runs_by_make(program: Program, folder: Path) -> None:
    run_tool(["make"], folder)
    assert run_tool(["./example"], folder) == ones(program)
    moved = folder.rename(folder.with_name("elsewhere"))
    assert run_tool([str(moved / "example")]) == ones(program), "the library is found beside it"


@needs("pkg-config")
def test_the_example_runs_by_pkg_config(program: Program, tmp_path: Path) -> None:
    folder = program.save(tmp_path / "net").folder
    environment = {**os.environ, "PKG_CONFIG_PATH": str(folder)}
    command = f"gcc {' '.join(STRICT)} {folder}/main.c $(pkg-config --cflags --libs my_net) -o example"
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    environment["LD_LIBRARY_PATH"] = str(folder)
    run = subprocess.run(["./example"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert run.stdout == ones(program)


CONSUMER = """
cmake_minimum_required(VERSION 3.13)
project(consumer C)
find_package(my_net CONFIG REQUIRED)
find_package(my_net CONFIG REQUIRED) # twice is once
add_executable(consumer "${my_net_DIR}/main.c")
target_link_libraries(consumer PRIVATE my_net::my_net)
"""


@needs("cmake")
def test_the_example_runs_by_cmake(program: Program, folder: Path, tmp_path: Path) -> None:
    """As the folder's own project, and in another project that finds it."""
    run_tool(["cmake", "-S", str(folder), "-B", "own"], tmp_path)
    run_tool(["cmake", "--build", "own"], tmp_path)
    assert run_tool(["own/example"], tmp_path) == ones(program)
    (tmp_path / "CMakeLists.txt").write_text(CONSUMER)
    run_tool(["cmake", "-S", ".", "-B", "build", f"-DCMAKE_PREFIX_PATH={folder}"], tmp_path)
    run_tool(["cmake", "--build", "build"], tmp_path)
    assert run_tool(["build/consumer"], tmp_path) == ones(program)


@pytest.mark.parametrize("target", ["host", *in_long_runs("aarch64", "armv7")])
def test_a_library_has_its_name_and_exports_its_interface_alone(target: str, tmp_path: Path) -> None:
    folder = compile(small_net(), target, name="my_net").save(tmp_path / "out").folder
    dynamic = run_tool(["readelf", "-d", "libmy_net.so"], folder)
    assert re.findall(r"\(SONAME\).*\[(.*)\]", dynamic) == ["libmy_net.so"]
    symbols = run_tool(["readelf", "--dyn-syms", "-W", "libmy_net.so"], folder)
    exported = {line.split()[-1] for line in symbols.splitlines() if re.search(r"GLOBAL +DEFAULT +\d+ ", line)}
    functions = {"my_net_run", "my_net_run_static", "my_net_run_batch"}
    assert exported == {*functions, "my_net_sizes", "my_net_batch_workspace_size"}


@pytest.mark.parametrize("compiler", [["gcc", *STRICT], ["g++", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]])
def test_the_header_is_c_and_cpp(compiler: list[str], folder: Path) -> None:
    source = "use.c" if compiler[0] == "gcc" else "use.cpp"
    (folder / source).write_text('#include "my_net.h"\nint main(void) { return my_net_run(0, 0, 0, 0) - 1; }\n')
    run_tool([*compiler, source, "-L.", "-lmy_net", "-Wl,-rpath,$ORIGIN", "-o", "use"], folder)
    run_tool(["./use"], folder)


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_texts_name_only_files_that_are_there(target: str, tmp_path: Path) -> None:
    program = compile(small_net(), target, name="my_net")
    for file in ("my_net.h", "README.md", "main.c", "CMakeLists.txt", "Makefile"):
        text = program.files[file].decode()
        named = set(re.findall(r"\b(?:my_net|libmy_net|main)[\w-]*\.[a-zA-Z]+\b", text))
        assert named <= set(program.files), file
    assert ("my_net_static.c" in program.files["my_net.h"].decode()) == (target == "cortex-m4")


def test_edits_are_kept_or_refused(program: Program, folder: Path) -> None:
    for name in ("main.c", "Makefile", "CMakeLists.txt", "README.md"):
        (folder / name).write_text("mine")
    assert program.save(folder).kept == ("CMakeLists.txt", "Makefile", "README.md", "main.c")
    assert (folder / "main.c").read_text() == "mine"
    (folder / "my_net.pc").write_text("mine")
    with pytest.raises(InvalidInput, match=r"my_net\.pc: was edited"):
        program.save(folder)


@pytest.mark.parametrize("target", ["host", "aarch64"])
def test_what_cannot_be_linked_here_is_saved_to_be_linked(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = compile(small_net(), target)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        program = compile(small_net(), target)
        with pytest.raises(ToolFailed, match="is not installed\n  sudo apt-get install"):
            program.sizes  # noqa: B018
    assert program.unlinked and not linked.unlinked
    folder = program.save(tmp_path / "out").folder
    loaded = Program.load(folder)
    inputs = [np.ones(p["shape"], p["dtype"]) for p in program.manifest["inputs"]]
    for got, wanted in zip(loaded.run(*inputs), linked.run(*inputs), strict=True):
        np.testing.assert_array_equal(got, wanted)
    named = re.findall(r"`(model[\w.-]+)`", (folder / "README.md").read_text())
    assert {n for n in named if "." in n} <= set(program.files)
    run_tool(["make"], folder)
    assert (folder / "libmodel.so").read_bytes() == linked.files["libmodel.so"]
    assert Program.load(folder).files == program.files, "what was linked by hand is the user's"
    (folder / "model_kernels.o").write_bytes(program.files["model_kernels.o"][:-1] + b"!")
    with pytest.raises(InvalidInput, match=r"model_kernels\.o: is not what was compiled"):
        Program.load(folder)
