"""The table of rules, operator class -> ONNX nodes, and what a rule sees.

A rule writes the nodes that stand for one node of the graph, the last of them by ``result``. What has no rule is
decomposed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from onnx import helper

from graphopt.exporters.onnx.writer import Writer
from graphopt.ir import Array, Batch, Dim, Node, Op
from graphopt.ir.registry import Table
from graphopt.rewrite.legalize import Parts

O = TypeVar("O", bound=Op)  # noqa: E741
ONNX_WRITERS: Table[type[Op], Callable[[Any, At], None]] = Table("a rule that writes it")
"""The rules by operator class."""

PARTS: Table[type[Op], Parts] = Table("parts that are written for it")
"""Of operators with a rule: the parts that are written instead of some nodes, or None for the others."""


def export_rule(*kinds: type[O]) -> Callable[[Callable[[O, At], None]], Callable[[O, At], None]]:
    """Register the rule that writes these operators."""

    def register(rule: Callable[[O, At], None]) -> Callable[[O, At], None]:
        ONNX_WRITERS.enter(rule, *kinds)
        return rule

    return register


def export_parts(*kinds: type[Op]) -> Callable[[Parts], Parts]:
    """Register what is written instead of nodes of these operators that their rule cannot express."""

    def register(parts: Parts) -> Parts:
        PARTS.enter(parts, *kinds)
        return parts

    return register


class At:
    """One node of the graph, as a rule sees it. Tensors are named by strings."""

    def __init__(self, node: Node, name: str, writer: Writer) -> None:
        self.node, self.name, self.writer = node, name, writer
        self.types = [v.type for v in node.inputs]

    @property
    def inputs(self) -> list[str]:
        """The names of all operands."""
        return [self.input(i) for i in range(len(self.node.inputs))]

    def input(self, index: int) -> str:
        return self.writer.read(self.node.inputs[index])

    def bias(self, index: int) -> list[str]:
        """An optional operand: nothing where it is a constant of zeros."""
        data = self.node.inputs[index].constant
        return [] if data is not None and not data.any() else [self.input(index)]

    def derived(self, index: int, how: str, make: Callable[[Array], Array]) -> str | None:
        """An initializer made of a constant operand, as ``Writer.derived`` makes it."""
        return self.writer.derived(self.node.inputs[index], how, make)

    def constant(self, data: Any, dtype: str = "int64") -> str:
        """An initializer of this node's own: a shape, a limit."""
        return self.writer.initializer(f"{self.name}/constant", np.asarray(data, dtype))

    def emit(self, kind: str, *inputs: str, part: str = "", **attributes: Any) -> str:
        """A helper node of one result."""
        name = self.writer.fresh(f"{self.name}/{part or kind}")
        self.writer.add(kind, inputs, [name], name, attributes)
        return name

    def emit_all(self, kind: str, *inputs: str, results: int, **attributes: Any) -> list[str]:
        """A helper node of several results."""
        names = [self.writer.fresh(f"{self.name}/{kind}.{i}") for i in range(results)]
        self.writer.add(kind, inputs, names, names[0], attributes)
        return names

    def result(self, kind: str, *inputs: str, **attributes: Any) -> None:
        """The node that gives the results."""
        self.writer.add(kind, inputs, [self.writer.tensors[v] for v in self.node.results], self.name, attributes)

    def shape(self, dims: Sequence[Dim]) -> str:
        """A tensor of dimensions, N taken from the input that has it."""
        if not any(isinstance(d, Batch) for d in dims):
            return self.constant(dims)
        return self.emit("Concat", *(self.dimension(d) for d in dims), part="shape", axis=0)

    def dimension(self, dim: Dim) -> str:
        if not isinstance(dim, Batch):
            return self.constant([dim])
        name, axis, factor = self.writer.batch_source()
        size = self.emit("Shape", name, part="batch", start=axis, end=axis + 1)
        if dim.factor % factor:
            size, factor = self.emit("Div", size, self.constant([factor]), part="n"), 1
        times = dim.factor // factor
        return size if times == 1 else self.emit("Mul", size, self.constant([times]), part="times")


def onnx_dtype(dtype: str) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def filled(op: Op) -> dict[str, Any]:
    """The attributes of an operator, without empty tuples."""
    fields = {f.name: getattr(op, f.name) for f in dataclasses.fields(op)}
    return {name: int(v) if isinstance(v, bool) else v for name, v in fields.items() if v != ()}
