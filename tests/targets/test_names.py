"""Names: of a model, which its files, headers and symbols have, and of what is inside it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from compiling import write_project

from graphopt import compile
from graphopt.errors import InvalidInput
from graphopt.ir import Graph, Value, arg, constant
from graphopt.ops import Add, Exp, Linear, Mul, Softmax

MADE_UP = ["", "9net", "_net", "net_", "a__b", "Net", "MAIN", "Main", "math.h", "my net", "a-b", "n" * 32, "näme"]
HEADERS = ["math", "stdint", "stddef", "stdio", "string", "float", "limits", "features", "newlib", "unistd", "arm_neon"]
FILES = ["main", "harness", "semihosting", "posix", "con", "nul", "com1"]
BUILD = ["test", "all", "clean", "install", "example", "m", "x", "r"]
KEYWORDS = [
    "int",
    "double",
    "while",
    "class",
    "namespace",
    "template",
    "exp",
    "tanh",
    "expf",
    "sin",
    "malloc_it",
    "uint8",
]


def small() -> Graph:
    x = arg("x", "float32", (1, 4))
    weight = constant(np.eye(3, 4, dtype="float32"), "weight")
    return Graph((x,), (Softmax()(Linear()(x, weight, constant(np.zeros(3, "float32")))), Exp()(x)))


@pytest.mark.parametrize("name", [*MADE_UP, *HEADERS, *FILES, *BUILD])
def test_names_that_would_break_the_build_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be the C prefix") as caught:
        compile(small(), "cortex-m4", name=name)
    assert caught.value.advice


def test_names_of_the_headers_of_this_compiler_are_refused() -> None:
    """Whatever <math.h>, <stdint.h>, <stddef.h>, <stdio.h> or <string.h> include here, in no folder of its own."""
    headers = "".join(f"#include <{h}.h>\n" for h in ("math", "stdint", "stddef", "stdio", "string", "stdlib"))
    for compiler in filter(shutil.which, ("gcc", "arm-none-eabi-gcc")):
        done = subprocess.run([compiler, "-M", "-xc", "-"], input=headers, capture_output=True, text=True, check=True)
        included = [Path(f) for f in done.stdout.replace("\\\n", " ").split()[1:] if f.endswith(".h")]
        for stem in {p.stem for p in included if p.parent.name in ("include", "include-fixed")}:
            with pytest.raises(InvalidInput):
                compile(small(), "cortex-m4", name=stem)


@pytest.mark.parametrize("name", KEYWORDS)
def test_keywords_and_functions_are_names_like_others(name: str, tmp_path: Path) -> None:
    """They stand before an underscore only. Strictly compiled, with the headers of the system in view."""
    folder = write_project(compile(small(), "cortex-m4", name=name), tmp_path / "project")
    (folder / "all.c").write_text(f'#include "{name}.c"\n#include "{name}_weights.c"\n#include <unistd.h>\n')
    command = ["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-I.", "-fsyntax-only", "all.c"]
    subprocess.run(command, cwd=folder, check=True)


def clashing() -> Graph:
    """Inputs, outputs and weights whose names are one in C, and some that are no names at all."""
    names = ["a.b", "a_b", "a b", "int", "9", "x" * 5000, "x" * 5000 + "y", '"*/', ""]
    inputs = [arg(n or "i", "float32", (1, 3)) for n in dict.fromkeys(names)]
    made: list[Value] = []
    for i, (name, x) in enumerate(zip(names, inputs, strict=True)):
        weight = constant(np.full((1, 3), i + 1, "float32"), name)
        made.append(Add()(Mul()(x, weight, name=name), weight, name=name))
    return Graph(tuple(inputs), tuple(made), tuple(f"o{'.' * (i % 2)}{'_' * (i // 2)}" for i in range(len(made))))


def test_names_that_are_one_in_c_stay_apart(tmp_path: Path) -> None:
    graph = clashing()
    inputs = [np.full((1, 3), i, "float32") for i in range(len(graph.inputs))]
    program = compile(graph, "cortex-m4")
    data = {graph.names[v.node]: x for v, x in zip(graph.inputs, inputs, strict=True)}
    got = program.measure(data, count=False).outputs[0]
    for want, y in zip(graph(*inputs), got, strict=True):
        np.testing.assert_array_equal(y, want)
    folder = write_project(program, tmp_path / "project")
    longest = max(
        len(word) for f in folder.glob("*.[ch]") for line in f.read_text().splitlines() for word in line.split()
    )
    assert longest < 600
