"""Running the plan of an arena, byte by byte: each byte knows which buffer it holds, and each read whose it wants.

The C of a program is printed with every access of a parameter as a macro, and runs here in one arena. A kernel that
reads a byte of another buffer than its operand's, one that was overwritten or never written, ends it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tvm import tirx
from tvm.ir.expr import Call

from graphopt.ir import Graph, Input, Value
from graphopt.ops import Reshape
from graphopt.targets.artifact import headers
from graphopt.targets.c_types import C_TYPES
from graphopt.targets.codegen_c import UNARY, Printer, lower_for_c
from graphopt.targets.instructions import INSTRUCTIONS, Span, definition, used
from graphopt.targets.kernels import Built
from graphopt.targets.lowering import Lowered, Lowering, copy_outputs, lowered_operators
from graphopt.targets.plan import Plan
from graphopt.targets.region import is_elementwise, lowerable
from graphopt.targets.target import Target

PRELUDE = """\
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
static uint8_t arena[{size} + 64] __attribute__((aligned(64)));
static int holds[{size} + 64], *wanted, call;
static size_t at(const void *p, size_t bytes)
{{
    const size_t offset = (size_t)((const uint8_t *)p - arena);
    return (const uint8_t *)p >= arena && offset + bytes <= {size} ? offset : (size_t)-1;
}}
static void read_(const void *p, size_t bytes, int buffer)
{{
    const size_t offset = at(p, bytes);
    for (size_t i = 0; i < bytes && buffer >= 0; ++i)
        if (offset == (size_t)-1 || holds[offset + i] != buffer) {{
            printf("call %d reads byte %zu of buffer %d: it holds %d\\n", call, offset + i, buffer, holds[offset + i]);
            exit(1);
        }}
}}
static void write_(const void *p, size_t bytes, int buffer)
{{
    const size_t offset = at(p, bytes);
    if (buffer >= 0 && offset == (size_t)-1) exit(2);
    for (size_t i = 0; i < bytes && buffer >= 0; ++i) holds[offset + i] = buffer;
}}
#define LOAD(k, p) (read_(&(p), sizeof(p), wanted[k]), (p))
#define STORE(k, p, v) do {{ const __typeof__(p) v_ = (v); (p) = v_; write_(&(p), sizeof(p), wanted[k]); }} while (0)
"""


class TaggedPrinter(Printer):
    """Prints what reads and writes a parameter by the macros."""

    parameters: Sequence[Any] = ()

    def index(self, buffer: Any) -> int | None:
        return next((k for k, p in enumerate(self.parameters) if p.same_as(buffer)), None)

    def element(self, buffer: tirx.Buffer, indices: Sequence[Any]) -> str:
        text, k = super().element(buffer, indices), self.index(buffer)
        return text if k is None else f"LOAD({k}, {text})"

    def statement(self, node: tirx.Stmt, depth: int) -> None:
        if isinstance(node, tirx.BufferStore) and (k := self.index(node.buffer)) is not None:
            place = super().element(node.buffer, node.indices)
            self.emit(depth, f"STORE({k}, {place}, {self.text(node.value)});")
        else:
            super().statement(node, depth)

    def evaluation(self, value: Any, depth: int) -> None:
        """A routine reads and writes what its spans say; in what is written it has read before."""
        if not isinstance(value, Call):
            super().evaluation(value, depth)
            return
        one = INSTRUCTIONS[value.args[0].value, None]
        arguments = dict(zip(one.operands, list(value.args)[1:], strict=True))
        numbers = {name: f"({self.text(given)})" for name, given in arguments.items() if name not in one.spans}
        touched: dict[bool, list[str]] = {True: [], False: []}
        for name, span in one.spans.items():
            place = arguments[name].args[0]
            if (k := self.index(place.source)) is not None:
                reads = one.operands[name].startswith("const")
                start = f"(const char *)&{super().element(place.source, place.indices)}"
                touched[reads].append(touch("read" if reads else "write", start, span, numbers, k))
        for line in touched[True]:
            self.emit(depth, line)
        self.emit(depth, f"{self.text(value)};")
        for line in touched[False]:
            self.emit(depth, line)

    def call(self, node: Any) -> tuple[str, int]:
        """What a pointer points to is read or written by the routine that gets it."""
        if getattr(node.op, "name", "").endswith("address_of"):
            (place,) = node.args
            return f"&{super().element(place.source, place.indices)}", UNARY
        return super().call(node)


def touch(how: str, start: str, span: Span, numbers: Mapping[str, str], k: int) -> str:
    """A statement that reads or writes all bytes of a span of the parameter k."""
    size, *repeats = (
        re.sub(r"[a-z_]\w*", lambda found: numbers[found.group()], text)
        for text in (span.size, *(text for repeat in span.repeats for text in repeat))
    )
    loops = ""
    for i, (count, apart) in enumerate(zip(repeats[::2], repeats[1::2], strict=True)):
        loops += f"for (int i{i} = 0; i{i} < {count}; ++i{i}) "
        start += f" + i{i} * {apart}"
    return f"{loops}{how}_({start}, {size}, wanted[{k}]);"


def tagged(name: str, built: Built) -> str:
    function = lower_for_c(built.function)
    printer = TaggedPrinter(name)
    printer.parameters = list(function.params)
    names = [p.name for p in function.params]
    return printer.function(function, names, names)


def lowered_with_values(graph: Graph, target: Target) -> tuple[Lowering, Lowered]:
    """As ``lower``, with what it gathered on the way."""
    supported = lowered_operators()
    graph = copy_outputs(lowerable(graph, supported, keep=lambda node: is_elementwise(node, supported)))
    lowering = Lowering(graph, target)
    for node in graph.nodes:
        if node.inputs and not isinstance(node.op, Input | Reshape):
            lowering.add(node)
    return lowering, lowering.finish()


def run_tagged(graph: Graph, target: Target, folder: Path, plan: Plan | None = None) -> str:
    """What a run of a program says of the first byte that is not what its reader wants; nothing if all are."""
    lowering, lowered = lowered_with_values(graph, target)
    buffers: dict[Value | str, int] = {}

    def buffer(value: Value | int | tuple[str, int]) -> int:
        """The number of what a value, or scratch, is held in; -1 outside of the arena."""
        if isinstance(value, tuple):
            return buffers.setdefault(value[0], len(buffers))
        held = value if isinstance(value, int) else lowering.held(value)
        return -1 if isinstance(held, int) or not lowering.in_arena(held) else buffers.setdefault(held, len(buffers))

    offsets = (plan or lowered.plan).offsets
    functions = "\n".join(tagged(k, built) for k, built in lowered.kernels.items())
    body = []
    for i, (call, plain) in enumerate(zip(lowered.calls, lowering.calls, strict=True)):
        values = [*plain.arguments, *plain.scratch, plain.result]
        numbers, arguments = [buffer(v) for v in values], []
        for k, (value, number, parameter) in enumerate(
            zip(values, numbers, lowered.kernels[call.kernel].function.params, strict=True)
        ):
            size, kind = int(parameter.shape[0]), C_TYPES[str(parameter.dtype)]
            if number < 0:
                body += [f"    static {kind} other_{i}_{k}[{size}];"]
                arguments += [f"other_{i}_{k}"]
            else:
                assert not isinstance(value, int)
                name = value[0] if isinstance(value, tuple) else lowering.graph.names[lowering.held(value).node]
                arguments += [f"(void *)(arena + {offsets[name]})"]
        body += [f"    wanted = (int[]){{{', '.join(map(str, numbers))}}};", f"    call = {i};"]
        body += [f"    {call.kernel}({', '.join(arguments)});"]
    instructions = used(functions, target)
    parts = [PRELUDE.format(size=(plan or lowered.plan).size)]
    parts += [f"#include <{h}>" for h in headers(functions, instructions)]
    parts += [*map(definition, instructions), functions, "int main(void)", "{", *body, "    return 0;", "}", ""]
    (folder / "tagged.c").write_text("\n".join(parts))
    subprocess.run(["gcc", "-O0", "-w", "tagged.c", "-lm", "-o", "tagged"], cwd=folder, check=True)
    done = subprocess.run([folder / "tagged"], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), "a write outside of the arena"
    return done.stdout
