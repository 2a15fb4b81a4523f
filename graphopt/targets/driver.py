"""The way from a graph to a program."""

from __future__ import annotations

import re

from graphopt.errors import InvalidInput
from graphopt.ir import Batch, Graph, bind_batch, verify
from graphopt.runtime.build import build_library
from graphopt.runtime.program import Program
from graphopt.targets.target import Target, get_target


def compile(graph: Graph, target: str | Target = "host", *, name: str = "model", batch: int = 1) -> Program:
    """Compile a graph for a target, with N bound to ``batch``.

    ``name`` is the C prefix and the stem of the files, so that several models link into one firmware.
    Raises ``Unsupported`` naming every node that cannot be lowered, ``BudgetExceeded`` where the
    program does not fit, ``ToolFailed`` where a compiler is missing.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", name):
        raise InvalidInput(f"{name!r} cannot be the C prefix", advice="use lower-case letters, digits and underscores")
    from graphopt.targets.artifact import artifact_files
    from graphopt.targets.codegen_llvm import compile_object
    from graphopt.targets.lowering import lower

    machine = get_target(target)
    verify(graph)
    ports = (*graph.inputs, *graph.outputs)
    batched = all(v.type.rank > 0 and isinstance(v.type.shape[0], Batch) for v in ports)
    lowered = lower(bind_batch(graph, batch), machine)
    if machine.codegen == "c":
        return Program(artifact_files(lowered, machine, name, batched, None))
    kernels = {f"{name}_{k}": built for k, built in lowered.kernels.items()}
    files = artifact_files(lowered, machine, name, batched, compile_object(kernels, machine))
    library = build_library(files, name, machine.toolchain)
    kept = {f: files[f] for f in (f"{name}.h", "manifest.json")}
    return Program({f"lib{name}.so": library, **kept})
