"""Running the plan of an arena, byte by byte: each byte knows what it is, and each read what it wants.

The C of a program is printed with every access of a parameter as a macro, and runs here in one arena. A kernel that
reads another byte than that of its operand, one that was overwritten or never written, ends it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tvm import tirx
from tvm.ir.expr import Call

from graphopt.ir import Graph, Value
from graphopt.targets.artifact import headers
from graphopt.targets.c_types import C_TYPES
from graphopt.targets.calls import Lowered, Piece
from graphopt.targets.codegen_c import UNARY, Printer, lower_for_c
from graphopt.targets.gathering import Lowering
from graphopt.targets.instructions import INSTRUCTIONS, Span, definition, used
from graphopt.targets.kernels import Built
from graphopt.targets.parts import regrouped
from graphopt.targets.plan import Plan
from graphopt.targets.ports import AS_THEY_ARE, PortOptions
from graphopt.targets.prepared import copy_outputs, lowered_operators
from graphopt.targets.region import is_elementwise, lowerable
from graphopt.targets.rows import Stream
from graphopt.targets.target import Target

Streams = Callable[[Graph], Sequence[Stream]]


def no_streams(graph: Graph) -> Sequence[Stream]:
    return ()


PRELUDE = """\
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
static uint8_t arena[{size} + 64] __attribute__((aligned(64)));
static int64_t holds[{size} + 64], *wanted;
static uint8_t *from[64];
static const uint8_t *within[64];
static int call;
static size_t at(const void *p, size_t bytes)
{{
    const size_t offset = (size_t)((const uint8_t *)p - arena);
    return (const uint8_t *)p >= arena && offset + bytes <= {size} ? offset : (size_t)-1;
}}
static void read_(const void *p, size_t bytes, int k)
{{
    const size_t offset = at(p, bytes);
    for (size_t i = 0; i < bytes && wanted[k] >= 0; ++i) {{
        const int64_t tag = wanted[k] + ((const uint8_t *)p - from[k]) + (int64_t)i;
        if (offset == (size_t)-1 || holds[offset + i] != tag) {{
            printf("call %d reads byte %zu of the arena for byte %lld of value %lld\\n", call, offset + i,
                   (long long)(tag & 0xffffffff), (long long)(tag >> 32));
            exit(1);
        }}
    }}
}}
static void write_(const void *p, size_t bytes, int k)
{{
    const size_t offset = at(p, bytes);
    if (wanted[k] >= 0 && offset == (size_t)-1) exit(2);
    for (size_t i = 0; i < bytes && within[k]; ++i)
        if (!within[k][(const uint8_t *)p - from[k] + (int64_t)i]) exit(3);
    for (size_t i = 0; i < bytes && wanted[k] >= 0; ++i)
        holds[offset + i] = wanted[k] + ((const uint8_t *)p - from[k]) + (int64_t)i;
}}
#define LOAD(k, p) (read_(&(p), sizeof(p), k), (p))
#define STORE(k, p, v) do {{ const __typeof__(p) v_ = (v); (p) = v_; write_(&(p), sizeof(p), k); }} while (0)
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
    return f"{loops}{how}_({start}, {size}, {k});"


def tagged(name: str, built: Built) -> str:
    function = lower_for_c(built.function)
    printer = TaggedPrinter(name)
    printer.parameters = list(function.params)
    names = [p.name for p in function.params]
    return printer.function(function, names, names)


def lowered_with_values(
    graph: Graph,
    target: Target,
    streams: Streams = no_streams,
    room: int | None = None,
    options: PortOptions = AS_THEY_ARE,
) -> tuple[Lowering, Lowered]:
    """As ``lower``, with what it gathered on the way; ``streams`` gives those of a graph.

    Every kernel gets a ``room`` for its scratch.
    """
    supported = lowered_operators()
    graph = regrouped(copy_outputs(lowerable(graph, supported, keep=lambda node: is_elementwise(node, supported))))
    rooms = {} if room is None else dict.fromkeys(graph.nodes, room)
    lowering = Lowering(graph, target, options, streams(graph), rooms=rooms)
    return lowering, lowering.run()


def bytes_within(lowering: Lowering, result: Piece, k: int, call: int) -> str:
    """C that says which bytes from its first on are those of a result among those of a larger value."""
    layout = lowering.layouts[result.value] if isinstance(result.value, Value) else None
    none = "    for (int k = 0; k < 64; ++k) within[k] = 0;"
    if layout is None or layout.dense or result.start:
        return none
    size = np.dtype(result.value.type.dtype).itemsize if isinstance(result.value, Value) else 1
    own = np.zeros((layout.extent, size), np.uint8)
    axes = np.indices(layout.shape).reshape(len(layout.shape), -1)
    own[np.dot(layout.strides, axes)] = 1
    listed = ", ".join(map(str, own.ravel().tolist()))
    return f"    static const uint8_t within_{call}[] = {{{listed}}};\n{none}\n    within[{k}] = within_{call};"


def run_tagged(
    graph: Graph,
    target: Target,
    folder: Path,
    plan: Plan | None = None,
    streams: Streams = no_streams,
    room: int | None = None,
    options: PortOptions = AS_THEY_ARE,
) -> str:
    """What a run of a program says of the first byte that is not what its reader wants; nothing if all are."""
    lowering, lowered = lowered_with_values(graph, target, streams, room, options)
    buffers: dict[str, int] = {}
    offsets = (plan or lowered.plan).offsets
    functions = "\n".join(tagged(f"model_{k}", built) for k, built in lowered.kernels.items())
    body = []
    for i, plain in enumerate(lowering.calls):
        tags, places = [], []
        operands = [*plain.arguments, *plain.scratch, plain.result]
        for k, (operand, parameter) in enumerate(
            zip(operands, lowered.kernels[plain.kernel].function.params, strict=True)
        ):
            name = operand[0] if isinstance(operand, tuple) else None
            if isinstance(operand, Piece):
                held = lowering.held(operand.value) if isinstance(operand.value, Value) else None
                name = operand.value if held is None else lowering.graph.names[held.node]
                name = name if held is None or lowering.in_arena(held) else None
            if name is not None:
                first, start = (operand.first, operand.start) if isinstance(operand, Piece) else (0, 0)
                if isinstance(operand, Piece) and isinstance(operand.value, Value):
                    first, start = (at + lowering.begins(operand.value) for at in (first, start))
                tags += [(buffers.setdefault(name, len(buffers)) << 32) + first]
                places += [f"arena + {offsets[name] + start}"]
            else:
                body += [f"    static {C_TYPES[str(parameter.dtype)]} other_{i}_{k}[{int(parameter.shape[0])}];"]
                tags, places = [*tags, -1], [*places, f"other_{i}_{k}"]
        body += [f"    wanted = (int64_t[]){{{', '.join(map(str, tags))}}};", f"    call = {i};"]
        body += [f"    from[{k}] = (uint8_t *)({place});" for k, place in enumerate(places)]
        body += [bytes_within(lowering, plain.result, len(places) - 1, i)]
        body += [f"    model_{plain.kernel}({', '.join(f'(void *)({place})' for place in places)});"]
    instructions = used(functions, target)
    parts = [PRELUDE.format(size=(plan or lowered.plan).size)]
    parts += [f"#include <{h}>" for h in headers(functions, instructions)]
    parts += [*map(definition, instructions), functions, "int main(void)", "{", *body, "    return 0;", "}", ""]
    (folder / "tagged.c").write_text("\n".join(parts))
    subprocess.run(["gcc", "-O0", "-w", "tagged.c", "-lm", "-o", "tagged"], cwd=folder, check=True)
    done = subprocess.run([folder / "tagged"], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), "a write outside of the arena, or of a part of a larger value"
    return done.stdout
