"""The TIR function of a kernel, and what it takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as builder

from graphopt.errors import InvalidGraph
from graphopt.ir import Array, Constant, Op, Value
from graphopt.targets.kernels.base import Frame, Kernel, Scratch, Task, moved
from graphopt.targets.layout import Layout, row_major
from graphopt.targets.lookup import RuleChoice
from graphopt.targets.tir import Tensor
from graphopt.targets.work import Work, work_of


@dataclass(frozen=True)
class Built:
    """A TIR function and what it takes after its operands: constants, then scratch, then the result."""

    name: str
    function: tirx.PrimFunc
    constants: tuple[tuple[str, Array], ...]
    scalars: tuple[tuple[str, RuleChoice[None]], ...] = ()
    """By which rules its operators on scalars were written, by operator."""
    overlapping: frozenset[str] = frozenset()
    """The parameters that may point into the same memory."""
    scratch: tuple[tuple[str, Scratch], ...] = ()
    loops: tirx.PrimFunc | None = None
    """The function with the loops written out, where a routine has them."""

    @cached_property
    def work(self) -> Work:
        """What a run does, and what is written for that."""
        work = work_of(self.function)
        return work if self.loops is None else work.of_loops(work_of(self.loops))

    @property
    def written(self) -> frozenset[str]:
        """The parameters that it writes to."""
        return frozenset([self.function.params[-1].name, *(name for name, _ in self.scratch)])

    @cached_property
    def key(self) -> str:
        """A key that is equal for kernels with equal code."""
        return f"{self.name} {self.function}"


def constants_of(task: Task[Op], kernel: Kernel) -> list[Value]:
    """The constants of a region that its kernel reads as they are."""
    epilogue = {v for v in task.region.epilogue_operands if v.constant is not None and v.constant.size > 1}
    epilogue -= set(kernel.absorbed)
    read = {*epilogue, *task.region.tables, *(v for v in task.operands if v not in kernel.replaced)}
    return [n.results[0] for n in task.region.body.nodes if isinstance(n.op, Constant) and n.results[0] in read]


def build(task: Task[Op], kernel: Kernel) -> Built:
    """Write the TIR function of a kernel: operands, constants, scratch and the result, all flat buffers."""
    body, plain = task.region.body, constants_of(task, kernel)
    constants = [(v.node.name or "constant", _array(v)) for v in plain]
    constants += [(name, np.ascontiguousarray(data)) for name, data in kernel.packed.items()]
    with IRBuilder() as b:
        with builder.prim_func(s_tir=True):
            builder.func_name("kernel")
            builder.func_attr({"tirx.noalias": True})
            tensors: dict[Value, Tensor] = {}
            for i, (value, layout) in enumerate(zip(body.inputs, task.layouts, strict=True)):
                if value is not task.shared:
                    tensors[value] = _parameter(f"x{i}", layout, value.type.dtype)
            for i, value in enumerate(plain):
                tensors[value] = _parameter(f"c{i}", row_major(value.type.static_shape), value.type.dtype)
            packed = {
                name: _parameter(name, row_major(data.shape), str(data.dtype)) for name, data in kernel.packed.items()
            }
            scratch = {
                name: _parameter(name, row_major((one.size,)), one.dtype) for name, one in kernel.scratch.items()
            }
            out = _parameter("y", task.out, body.outputs[0].type.dtype)
            if task.shared is not None:
                tensors[task.shared] = out
            for move in task.region.moves:
                tensors[move.results[0]] = moved(move, tensors[move.inputs[0]])
            if task.region.lead is not None:
                tensors[task.inputs[0]] = tensors[task.source]
            frame = Frame(task, tensors, packed, task.unturned(out), scratch)
            kernel.emit(frame)
        over = {"y": kernel.reads, **kernel.over}
        inputs = [(f"x{i}", v) for i, v in enumerate(body.inputs) if v in task.covered]
        names = frozenset(n for x, v in inputs for y, values in over.items() if v in values for n in (x, y))
        scalars, scratches = tuple(frame.scalars), tuple(kernel.scratch.items())
        loops = build(task, replace(kernel, emit=kernel.loops, loops=None)).function if kernel.loops else None
        return Built(kernel.name, b.get(), tuple(constants), scalars, names, scratches, loops)


def _array(value: Value) -> Array:
    if value.constant is None:
        raise InvalidGraph(f"{value} is not constant")
    return value.constant


def _parameter(name: str, layout: Layout, dtype: str) -> Tensor:
    buffer = builder.arg(name, builder.buffer((layout.extent,), "uint8" if dtype == "bool" else dtype))
    return Tensor(buffer, dtype, layout.shape, layout.strides)
