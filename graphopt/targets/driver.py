"""Compile a graph to a program."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import replace

from graphopt.errors import InvalidInput
from graphopt.ir import Graph, bind_batch, verify
from graphopt.runtime.build import build_library
from graphopt.runtime.manifest import sealed
from graphopt.runtime.profile import Parts
from graphopt.runtime.program import Program
from graphopt.targets.import_tvm import import_tvm
from graphopt.targets.port import Port, checked_ports
from graphopt.targets.reserved import RESERVED
from graphopt.targets.simulated import warn_of_simulated
from graphopt.targets.target import OPTIMIZE, Target, get_target

IO = ("native", "float32")
"""The choices for the inputs and outputs of a quantized program."""


def check_name(name: str) -> None:
    """Raise ``InvalidInput`` if a name cannot be the prefix of the C symbols and the stem of the files."""
    if len(name) > 31 or not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        advice = "use at most 31 lower-case letters, digits and single underscores between them, a letter first"
        raise InvalidInput(f"{name!r} cannot be the C prefix", advice=advice)
    if name in RESERVED:
        advice = f"choose a name of the model's own, {name}_net for one"
        raise InvalidInput(f"{name!r} cannot be the C prefix", why=RESERVED[name], advice=advice)


def compile(
    graph: Graph,
    target: str | Target = "host",
    *,
    name: str = "model",
    batch: int = 1,
    io: str = "native",
    ports: Mapping[str, Port] | None = None,
    layout: Mapping[str, str] | None = None,
    io_in_arena: bool = False,
    ram: int | None = None,
    optimize: str | None = None,
    stack: bool = False,
) -> Program:
    """Compile a graph for a target, with N bound to ``batch``.

    ``name`` is the C prefix and the stem of the files, so that several models link into one firmware. A quantized
    program takes and gives its integers (``io="native"``), whose scales are in the header, or float32
    (``io="float32"``). ``ports={"input": Port(layout="nhwc", dtype="uint8", scale=1/255)}`` takes what a camera gives:
    channels last, and bytes that stand for reals; ``layout={"input": "nhwc"}`` is short for the first alone. With
    ``io_in_arena`` inputs and outputs are places in the workspace, where buffers of the model lie over them: the header
    says where (``<name>_input``, ``<name>_output``), and pointers to elsewhere are copied from and to. ``ram`` is a
    budget in bytes for the workspace, in place of the target's: the smaller, the more layers of a C project go by rows
    (docs/microcontrollers.md), at the price that the manifest names. ``optimize`` says what the kernels of a C project
    are chosen for, where their costs are known: "size", the fewest bytes of flash; "balanced", the fewest cycles for at
    most a quarter more of it; "speed", the fewest cycles. The target's own is "balanced", unless it says otherwise.
    With ``stack`` the compiler of a C project is asked how much stack a run takes, for the header and the manifest. No
    C compiler is needed. If the linker of a Linux target is missing, the program has an object file and C sources in
    place of its library; they are linked when it first runs, or by their Makefile. Raises ``Unsupported`` with every
    node that cannot be lowered, ``InvalidInput`` for what a port cannot be, ``BudgetExceeded`` if the program does not
    fit, and ``ToolFailed`` if a compiler fails.
    """
    check_name(name)
    import_tvm()
    from graphopt.targets.artifact import library_files, library_sources, measured_project, project_files
    from graphopt.targets.codegen_llvm import compile_object
    from graphopt.targets.lowering import lower
    from graphopt.targets.pixels import with_pixels
    from graphopt.targets.ports import native_io, port_options, with_meaning
    from graphopt.targets.samples import samples_apart

    machine = get_target(target)
    if ram is not None and ram < 0:
        raise InvalidInput(f"ram = {ram} is negative")
    if optimize is not None:
        if optimize not in OPTIMIZE:
            raise InvalidInput(f"optimize = {optimize!r} is none of {', '.join(OPTIMIZE)}")
        machine = replace(machine, optimize=optimize)
    if io not in IO:
        raise InvalidInput(f"io = {io!r} is none of {', '.join(IO)}")
    verify(graph)
    warn_of_simulated(graph)
    wished = checked_ports(graph, ports, layout)
    graph = with_pixels(graph, wished)
    graph, taken, given = native_io(graph) if io == "native" else (graph, {}, {})
    batched = samples_apart(graph)
    lowered = lower(bind_batch(graph, batch), machine, port_options(wished, io_in_arena), ram)
    inputs, outputs = with_meaning(lowered.inputs, taken, wished), with_meaning(lowered.outputs, given, {})
    lowered = replace(lowered, inputs=inputs, outputs=outputs)
    if machine.codegen == "c":
        project = measured_project if stack else project_files
        return Program(sealed(project(lowered, machine, name, batched)))
    linked = shutil.which(machine.toolchain.compiler) is not None
    kernels = {f"{name}_{k}": built for k, built in lowered.kernels.items()}
    files = library_files(lowered, machine, name, batched, linked)
    sources = library_sources(lowered, machine, name, compile_object(kernels, machine))
    if not linked:
        return Program(sealed({**sources, **files}))
    library = build_library({**files, **sources}, name, machine.toolchain)
    parameters = {symbol: len(built.function.params) for symbol, built in kernels.items()}
    return Program(sealed({f"lib{name}.so": library, **files}), Parts.of(sources, parameters, library, name))
