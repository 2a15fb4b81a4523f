"""The stack that a program takes: through its call graph, by its own compiler, in header, manifest and tables."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from compiling import Weights, small_net

from graphopt import compile
from graphopt.ir import Graph
from graphopt.ops import Relu
from graphopt.report import describe_program
from graphopt.runtime.stack import deepest, taken
from graphopt.targets import get_target


def graph(sizes: dict[str, str], *calls: str) -> str:
    """A call graph as GCC writes it."""
    nodes = [f'node: {{ title: "m.c:{f}" label: "{f}\\nm.c:1:5\\n{size}" }}' for f, size in sizes.items()]
    edges = ['edge: {{ sourcename: "m.c:{}" targetname: "{}" label: "m.c:2:5" }}'.format(*c.split(">")) for c in calls]
    outside = 'node: { title: "expf" label: "expf\\n<built-in>" shape : ellipse }'
    return "\n".join(['graph: { title: "m.c"', *nodes, outside, *edges, "}"])


PLAIN = {"run": "40 bytes (static)", "a": "8 bytes (static)", "b": "16 bytes (static)", "c": "100 bytes (static)"}


@pytest.mark.parametrize(
    ("sizes", "calls", "most"),
    [
        (PLAIN, (), 40),
        (PLAIN, ("run>m.c:a", "run>m.c:b"), 56),
        (PLAIN, ("run>m.c:a", "run>m.c:b", "a>m.c:c"), 148),
        (PLAIN, ("run>m.c:a", "a>expf"), 48),
        (PLAIN, ("run>m.c:a", "a>m.c:run"), None),
        ({**PLAIN, "b": "16 bytes (dynamic)"}, ("run>m.c:b",), None),
        ({**PLAIN, "b": "16 bytes (dynamic,bounded)"}, ("run>m.c:b",), 56),
        ({"a": "8 bytes (static)"}, (), None),
    ],
)
def test_the_deepest_way_through_a_call_graph(sizes: dict[str, str], calls: tuple[str, ...], most: int | None) -> None:
    assert deepest(graph(sizes, *calls), "m.c:run") == most


ASSEMBLY = """\
naked:
	push {r4-r11, lr}
	vpush {d8-d15}
	sub sp, sp, #28
1:
	bne 1b
	pop {r4-r11, pc}
other:
	push	{r4, lr}
"""


def test_functions_of_assembly_alone_take_what_they_push() -> None:
    """GCC says that they take nothing."""
    assert taken(ASSEMBLY) == {"naked": 36 + 64 + 28, "other": 8}
    sizes = {"run": "40 bytes (static)", "naked": "0 bytes (static)", "other": "16 bytes (static)"}
    called = graph(sizes, "run>m.c:naked", "run>m.c:other")
    assert deepest(called, "m.c:run", taken(ASSEMBLY)) == 40 + 128


def test_it_is_in_header_manifest_and_report() -> None:
    program = compile(small_net(), "cortex-m4", stack=True)
    stack = program.manifest["stack_bytes"]
    assert 64 <= stack <= 1024
    assert f"#define MODEL_STACK_SIZE {stack}\n" in program.files["model.h"].decode()
    assert re.search(rf"\| stack, by arm-none-eabi-gcc -O2 \| {stack} \|", program.files["README.md"].decode())
    assert describe_program(program).stack_bytes == stack


def tiny() -> Graph:
    g = Weights()
    return g.graph(Relu()(g.x(1, 4)))


def test_where_nobody_asks_or_can_tell_it_is_left_out() -> None:
    target = get_target("cortex-m4")
    missing = replace(target, toolchain=replace(target.toolchain, compiler="no-such-gcc"))
    clang = replace(target, toolchain=replace(target.toolchain, compiler="clang", flags=()))
    for program in (compile(tiny(), target), *(compile(tiny(), t, stack=True) for t in (missing, clang))):
        assert "stack_bytes" not in program.manifest and "STACK" not in program.files["model.h"].decode()
