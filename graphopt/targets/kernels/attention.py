"""The kernels of an attention in bands of rows: one after the other in a band, with what lies between in scratch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from graphopt.ir import Array, Graph, Node, Op, Value, arg, rebuild
from graphopt.ops import Fused, Softmax
from graphopt.targets.attention import PRODUCTS, Attention
from graphopt.targets.forms import formed
from graphopt.targets.kernels.base import (
    Frame,
    Kernel,
    Scratch,
    Task,
    choose_kernel,
    kernel_rule,
    physical_loops,
)
from graphopt.targets.kernels.built import constants_of
from graphopt.targets.kernels.elementwise import elementwise_kernel
from graphopt.targets.layout import Layout, row_major
from graphopt.targets.region import Region
from graphopt.targets.schedule import spread
from graphopt.targets.tir import Expr, Tensor, loop

BAND_BYTES = 1 << 19
"""Of what lies between the products for a band: what the second cache holds beside their operands."""
LEAST_ROWS = 96
"""Of a band, for each of them packs the right operands again."""

Shape = tuple[int, ...]


@kernel_rule(Attention, isa="llvm", strided=True)
def attention_by_bands(task: Task[Attention]) -> Kernel:
    """Products of a batch one after the other, each in bands of rows."""
    *batch, rows, _ = task.result.type.static_shape
    a_row = sum(one.nbytes for one in between(task.op.body, 1).values())
    sizes = spread(rows, max(LEAST_ROWS, BAND_BYTES // a_row))
    steps = {size: steps_of(task, size) for _, _, size in sizes}

    def emit(frame: Frame) -> None:
        with ExitStack() as loops:
            lead = [loops.enter_context(loop(f"product{axis}", 0, size)) for axis, size in enumerate(batch)]
            for start, count, size in sizes:
                with loop("band", 0, count) as i:
                    for step in steps[size]:
                        step.emit(frame, lead, start + i * size)

    band = max(steps)
    scratch, packed = between(task.op.body, band), dict[str, Array]()
    for step in (one for size in steps for one in steps[size]):
        packed |= step.packed
        for name, one in step.scratch.items():
            scratch[name] = max(one, scratch.get(name, one), key=lambda s: s.size)
    return Kernel("attention", emit, packed, tile=steps[band][0].kernel.tile, scratch=scratch)


def between(body: Graph, rows: int) -> dict[str, Scratch]:
    """Buffers of so many rows for what lies between the products, by the names of ``slots``."""
    return {
        name: Scratch(value.type.dtype, math.prod(cut(value.type.static_shape, rows)))
        for value, name in slots(body).items()
    }


def slots(body: Graph) -> dict[Value, str]:
    """The buffer of each value but the last; a softmax overwrites what nothing else reads."""
    named = dict[Value, str]()
    for node in body.nodes:
        (value,) = node.results
        if not isinstance(node.op, Fused) or value in body.outputs:
            continue
        (source, *others) = node.inputs
        alone = isinstance(node.op.body.outputs[0].op, Softmax) and not others and body.use_count(source) == 1
        in_place = alone and source in named and source.type == value.type
        named[value] = named[source] if in_place else f"between{len(named)}"
    return named


def cut(shape: Shape, rows: int) -> Shape:
    """Of one product of a batch, so many rows; axes of one element are for all rows."""
    return shape if len(shape) < 2 else (*(1,) * (len(shape) - 2), rows if shape[-2] > 1 else 1, shape[-1])


@dataclass(frozen=True)
class Part:
    """Where a band of an operand or result is: of one product of a batch, and unless it is ``whole``, some rows."""

    shape: Shape
    whole: bool = False

    def layout(self, tensor: Tensor) -> Layout:
        """Of a band of a tensor of all products."""
        order = tuple(physical_loops(self.shape, tensor.strides))
        dense = Layout(self.shape, order)
        same = all(n == 1 or a == b for n, a, b in zip(self.shape, tensor.strides, dense.strides, strict=True))
        return dense if same else replace(dense, apart=tensor.strides)

    def of(self, tensor: Tensor, lead: Sequence[Expr], row: Expr) -> Tensor:
        """The band of the product at ``lead`` that begins at a row."""
        offset, rank = tensor.offset, len(tensor.shape)
        for place, size, stride in zip(lead[::-1], tensor.shape[-3::-1], tensor.strides[-3::-1], strict=False):
            offset = offset + place * stride if size > 1 else offset
        if not self.whole and rank > 1 and tensor.shape[-2] > 1:
            offset = offset + row * tensor.strides[-2]
        return replace(tensor, shape=self.shape, offset=offset)


@dataclass(frozen=True)
class Step:
    """A node of an attention, for a band of rows.

    ``sources`` has for each operand the operand of the attention or the buffer that it is in, ``result`` the buffer of
    the result, if that is not the one of the attention.
    """

    prefix: str
    task: Task[Op]
    kernel: Kernel
    parts: tuple[Part, ...]
    sources: tuple[Value | str, ...]
    result: str | None

    @property
    def packed(self) -> dict[str, Array]:
        """The constants of the kernel."""
        plain = {f"{self.prefix}c{i}": v.constant for i, v in enumerate(constants_of(self.task, self.kernel))}
        named = {self.prefix + name: data for name, data in self.kernel.packed.items()}
        return named | {name: data for name, data in plain.items() if data is not None}

    @property
    def scratch(self) -> dict[str, Scratch]:
        return {f"{self.prefix}{name}_{one.dtype}": one for name, one in self.kernel.scratch.items()}

    def emit(self, frame: Frame, lead: Sequence[Expr], row: Expr) -> None:
        tensors = dict[Value, Tensor]()
        for inner, part, source in zip(self.task.region.body.inputs, self.parts, self.sources, strict=True):
            if isinstance(source, str):
                tensors[inner] = dense(frame.scratch[source], part.shape)
            else:
                tensors[inner] = part.of(frame.tensors[source], lead, row)
        for i, value in enumerate(constants_of(self.task, self.kernel)):
            tensors[value] = frame.packed[f"{self.prefix}c{i}"]
        packed = {name: frame.packed[self.prefix + name] for name in self.kernel.packed}
        scratch = {name: frame.scratch[f"{self.prefix}{name}_{one.dtype}"] for name, one in self.kernel.scratch.items()}
        if self.result is None:
            out = Part(self.task.out.shape).of(frame.out, lead, row)
        else:
            out = dense(frame.scratch[self.result], self.task.out.shape)
        self.kernel.emit(Frame(self.task, tensors, packed, out, scratch, frame.scalars))


def dense(buffer: Tensor, shape: Shape) -> Tensor:
    return replace(buffer, shape=shape, strides=row_major(shape).strides)


def steps_of(task: Task[Attention], rows: int) -> list[Step]:
    """The nodes of an attention for a band of so many rows."""
    body, target = task.op.body, task.target
    outer, buffers = dict(zip(body.inputs, task.inputs, strict=True)), slots(body)
    steps = list[Step]()
    for node in body.nodes:
        if not isinstance(node.op, Fused):
            continue
        region = Region(node, node.op.body, node.inputs)
        parts = tuple(part_of(region, inner, rows) for inner in region.body.inputs)
        layouts = tuple(
            part.layout(task.strided(outer[v])) if v in outer else row_major(part.shape)
            for part, v in zip(parts, region.operands, strict=True)
        )
        (result,) = node.results
        banded, _ = formed(of_parts(region, parts), target)
        shape = cut(result.type.static_shape, rows)
        out = row_major(shape) if result in buffers else Part(shape).layout(task.place)
        inside: Task[Op] = Task(banded, target, layouts, out)
        choice = choose_kernel(inside) if banded.anchor else elementwise_kernel(inside)
        assert choice.result is not None
        sources = tuple(outer[v] if v in outer else buffers[v] for v in region.operands)
        prefix = f"s{len(steps)}r{rows}_"
        steps.append(Step(prefix, inside, choice.result, parts, sources, buffers.get(result)))
    return steps


def part_of(region: Region, inner: Value, rows: int) -> Part:
    """What of an input of a body is needed for so many rows: all of the right operand of a product."""
    shape, anchor = inner.type.static_shape, region.anchor
    if anchor is not None and isinstance(anchor.op, PRODUCTS) and inner is anchor.inputs[1]:
        return Part((*(1,) * (len(shape) - 2), *shape[-2:]), whole=True)
    return Part(cut(shape, rows))


def of_parts(region: Region, parts: Sequence[Part]) -> Region:
    """The region of such parts of its operands."""
    shapes: Mapping[Value, Shape] = {v: part.shape for v, part in zip(region.body.inputs, parts, strict=True)}

    def narrowed(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        (value,) = node.results
        return (arg(node.name, value.type.dtype, shapes[value]),) if value in shapes else None

    return replace(region, body=rebuild(region.body, narrowed))
