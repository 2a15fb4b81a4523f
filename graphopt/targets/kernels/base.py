"""Kernels: the result of a rule for a region, and its TIR function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, Generic, Protocol, TypeVar, cast

import numpy as np
from tvm import tirx

from graphopt.errors import Unsupported
from graphopt.ir import Array, Node, Op, Value
from graphopt.ir.registry import Table
from graphopt.ops import Transpose
from graphopt.rewrite import Decline
from graphopt.targets.layout import Layout, row_major
from graphopt.targets.lookup import RuleChoice, choose, every
from graphopt.targets.plan import Overlap, rounded_up
from graphopt.targets.region import Region, elements_of, tables_of
from graphopt.targets.scalars import scalar
from graphopt.targets.schedule import RegisterTile
from graphopt.targets.target import Target
from graphopt.targets.tir import Expr, Places, Tensor
from graphopt.targets.views import permuted, view

OpT = TypeVar("OpT", bound=Op, covariant=True)
OtherT = TypeVar("OtherT", bound=Op)

View = Callable[[Tensor], Tensor | None]
"""Views a tensor of the head's shape with other axes; None if its strides do not allow that."""


@dataclass(frozen=True)
class Task(Generic[OpT]):
    """A region around an ``OpT`` to lower for a target; a region of only elementwise operators is a ``Task[Op]``.

    ``layouts`` has the layout of every operand, ``out`` is that of the result. If ``shared`` is given, the result
    overwrites this operand; it may come to lie over one of ``covered``. If ``room`` is given, a kernel that has several
    forms takes the fastest whose scratch fits so many bytes, or the one of the least.
    """

    region: Region
    target: Target
    layouts: tuple[Layout, ...]
    out: Layout
    shared: Value | None = None
    covered: frozenset[Value] = frozenset()
    room: int | None = None

    @property
    def op(self) -> OpT:
        """The operator of the anchor."""
        assert self.region.anchor is not None
        return cast(OpT, self.region.anchor.op)  # the rule was looked up by this class

    @property
    def dense(self) -> bool:
        """Whether the result and all operands have buffers of their own."""
        return all(layout.dense for layout in (*self.layouts, self.out))

    @property
    def inputs(self) -> tuple[Value, ...]:
        """The operands of the anchor, inside the body."""
        assert self.region.anchor is not None
        return self.region.anchor.inputs

    @property
    def source(self) -> Value:
        """The input of the body that the anchor reads first, perhaps through a table."""
        assert self.region.source is not None
        return self.region.source

    @property
    def operands(self) -> tuple[Value, ...]:
        """The operands of the anchor, if there is one."""
        return self.inputs if self.region.anchor is not None else ()

    @property
    def result(self) -> Value:
        """The result of the anchor, inside the body."""
        assert self.region.anchor is not None
        return self.region.anchor.results[0]

    def strided(self, value: Value) -> Tensor:
        """A value that the region reads, as a tensor without a buffer: constants are row-major."""
        if value.node in self.region.moves:
            return moved(value.node, self.strided(value.node.inputs[0]))
        if value.node is self.region.lead:
            return replace(self.strided(self.source), dtype=value.type.dtype)
        layouts = dict(zip(self.region.body.inputs, self.layouts, strict=True))
        layout = layouts.get(value) or row_major(value.type.static_shape)
        return Tensor(None, value.type.dtype, layout.shape, layout.strides)

    @property
    def place(self) -> Tensor:
        """Where the head's result is stored, as a tensor without a buffer, unless the region ends in a pooling."""
        return self.unturned(Tensor(None, self.region.head.type.dtype, self.out.shape, self.out.strides))

    def unturned(self, out: Tensor) -> Tensor:
        """The result of the region, with the axes of the head."""
        match self.region.turn and self.region.turn.op:
            case Transpose(perm=perm):
                return permuted(out, tuple(np.argsort(perm).tolist()))
            case _:
                return out

    def allows(self, view: View) -> bool:
        """Whether a view works for the result and for every operand of the epilogue."""
        shape = self.region.head.type.static_shape
        tensors = [self.strided(v).broadcast(shape) for v in self.region.epilogue_operands]
        if self.region.tail is None:
            tensors.append(self.place)
        return all(view(t) is not None for t in tensors)


@dataclass(frozen=True)
class Scratch:
    """A buffer of a kernel: so many elements of a dtype, which hold anything before it runs and after."""

    dtype: str
    size: int

    @property
    def nbytes(self) -> int:
        return self.size * np.dtype(self.dtype).itemsize


def scratch_bytes(scratch: Mapping[str, Scratch], alignment: int) -> int:
    """What buffers take of the arena, each of them aligned."""
    return sum(rounded_up(one.nbytes, alignment) for one in scratch.values())


class HasScratch(Protocol):
    """A form of a kernel; the ``effort`` of one against that of another says about the instructions that it adds."""

    @property
    def scratch(self) -> Mapping[str, Scratch]: ...

    @property
    def effort(self) -> float: ...


FormT = TypeVar("FormT", bound=HasScratch)


@dataclass(frozen=True)
class ScratchForm:
    """The bytes of scratch of a form of a kernel, and about the instructions that it takes more than the fastest."""

    nbytes: int
    slower: int


def fitting(task: Task[Op], forms: Sequence[FormT]) -> tuple[FormT, tuple[ScratchForm, ...]]:
    """The fastest form whose scratch fits the room of a task, or the one of the least, and all that are worth having.

    The first is the one without a limit.
    """
    fastest = [forms[0], *sorted(forms[1:], key=lambda form: form.effort)]
    sizes = [scratch_bytes(form.scratch, task.target.alignment) for form in fastest]
    worth = [at for at, size in enumerate(sizes) if size < min(sizes[:at], default=size + 1)]
    fits = (at for at in worth if task.room is None or sizes[at] <= task.room)
    offered = (ScratchForm(sizes[at], max(0, int(fastest[at].effort - forms[0].effort))) for at in worth)
    return fastest[next(fits, worth[-1])], tuple(offered)


@dataclass(frozen=True)
class Kernel:
    """The kernel that a rule makes for a task.

    ``packed`` are constants in the form that the kernel reads, by name; ``replaced`` are the constants of the anchor
    that they replace, ``absorbed`` those of the epilogue. ``emit`` writes the loops. ``tile`` is the register tile if
    there is one; it is for reports only. ``reads`` has the operands whose place the result may take, and how far below
    them it must then begin; other operands are still read while the result is written. ``scratch`` are buffers of its
    own for one run, by name. ``over`` has for some of them what they may take the place of, in the same way.
    ``forms`` are those that it has for less scratch, the fastest first. ``notes`` are for reports. It makes so many
    ``rows`` of the result together: fewer take as long. ``lead`` is that of the region, if it reads through the table.
    """

    name: str
    emit: Callable[[Frame], None]
    packed: Mapping[str, Array]
    replaced: tuple[Value, ...] = ()
    tile: RegisterTile | None = None
    reads: Mapping[Value, Overlap] = field(default_factory=dict)
    scratch: Mapping[str, Scratch] = field(default_factory=dict)
    absorbed: tuple[Value, ...] = ()
    over: Mapping[str, Mapping[Value, Overlap]] = field(default_factory=dict)
    forms: tuple[ScratchForm, ...] = ()
    notes: tuple[str, ...] = ()
    rows: int = 1
    loops: Callable[[Frame], None] | None = None
    """What ``emit`` stands for, where that calls a routine that has the loops: for what it costs."""
    lead: Node | None = None


@dataclass(frozen=True)
class Frame:
    """The tensors of a kernel while its loops are written."""

    task: Task[Op]
    tensors: Mapping[Value, Tensor]
    packed: Mapping[str, Tensor]
    out: Tensor
    scratch: Mapping[str, Tensor] = field(default_factory=dict)
    scalars: dict[tuple[str, RuleChoice[None]], None] = field(default_factory=dict)
    """Which rules the operators on scalars got, by operator, gathered while it is written."""

    def scalar(self, op: Op, *operands: Any) -> Expr:
        """What an elementwise operator computes of TIR operands on the target."""
        choice = scalar(op, self.task.target, *operands)
        self.tell(op, choice)
        if choice.result is None:
            raise no_rule(op, self.task.target, choice)
        return choice.result

    def tell(self, op: Op, choice: RuleChoice[Any]) -> None:
        """Note by which rule an operator on scalars is written."""
        if choice.rule or choice.declined:
            self.scalars[op.name, replace(choice, result=None)] = None

    def epilogue(self, view: View = lambda tensor: tensor, done: int = 0) -> Callable[[Expr, Places], Expr]:
        """A function from the anchor's result at a point to the value of the head at this point.

        Points index the head's result through ``view``; ``Task.allows(view)`` must hold. If the kernel itself has
        ``done`` the first nodes of the epilogue, it is a function from the result of the last of these.
        """
        region = self.task.region
        shape = region.head.type.static_shape
        seen = {v: view(self.tensors[v].broadcast(shape)) for v in region.epilogue_operands if v in self.tensors}

        def read(value: Value, at: Places) -> Expr:
            data = value.constant
            if data is not None and data.size == 1:
                dtype = value.type.dtype if at.lanes == 1 else f"{value.type.dtype}x{at.lanes}"
                return tirx.const(data.item(), dtype)
            tensor = seen[value]
            assert tensor is not None
            return tensor.load(at)

        def apply(result: Expr, at: Places) -> Expr:
            values: dict[Value, Expr] = {}
            if done:
                values[region.epilogue[done - 1].results[0]] = result
            elif region.anchor is not None:
                values[region.anchor.results[0]] = result
            for node in region.epilogue[done:]:
                elements = [values[v] if v in values else read(v, at) for v in elements_of(node)]
                tables = [self.tensors[v] for v in tables_of(node)]
                values[node.results[0]] = self.scalar(node.op, *elements, *tables)
            return values[region.head]

        return apply


KernelRule = Callable[[Task[OpT]], Kernel]
KERNEL_RULES: Table[tuple[type[Op], str | None], KernelRule[Any]] = Table("a kernel rule")
"""The rules by anchor operator and instruction set; None means all instruction sets."""


def kernel_rule(
    op: type[OpT], *others: type[OtherT], isa: str | None = None, strided: bool = False
) -> Callable[[KernelRule[OpT | OtherT]], KernelRule[OpT | OtherT]]:
    """Register the kernel of anchor operators; a kernel with ``isa`` is preferred on targets that have it.

    One that is ``strided`` reads and writes by the strides of layouts alone, so that operands and result may be parts
    of larger values; any other is not asked for these. A rule that does not suit a task raises ``Decline`` with the
    reason, and the next rule is asked. For type checkers, ``others`` count as their common base class:
    ``kernel_rule(SumPool, MaxPool, AveragePool)`` is for a rule of ``Task[SumPool | Pool]``.
    """

    def register(rule: KernelRule[OpT | OtherT]) -> KernelRule[OpT | OtherT]:
        KERNEL_RULES.enter(rule if strided else of_dense(rule), *((kind, isa) for kind in (op, *others)))
        return rule

    return register


def of_dense(rule: KernelRule[OpT]) -> KernelRule[OpT]:
    """A rule that declines parts of larger values."""

    @wraps(rule)
    def dense_alone(task: Task[OpT]) -> Kernel:
        kernel = rule(task)
        if not task.dense:
            raise Decline("it takes no parts of larger values")
        return kernel

    return dense_alone


KERNEL_VARIANTS: Table[tuple[KernelRule[Any], str], KernelRule[Any]] = Table("a variant of a kernel rule")
"""Other ways in which a rule makes its kernel, by the rule and a name."""


def kernel_variant(rule: KernelRule[OpT], name: str) -> Callable[[KernelRule[OpT]], KernelRule[OpT]]:
    """Register another way to make the kernel of a rule: in fewer bytes or instructions, or in less scratch.

    It is a candidate behind the rule itself, where a target chooses by costs (``graphopt.targets.candidates``).
    """

    def register(variant: KernelRule[OpT]) -> KernelRule[OpT]:
        KERNEL_VARIANTS.enter(variant, (rule, name))
        return variant

    return register


def variants_of(rule: KernelRule[Any]) -> list[KernelRule[Any]]:
    return [variant for (known, _), variant in KERNEL_VARIANTS.items() if known is rule]


def made_by(rule: KernelRule[Any], task: Task[Any]) -> Kernel:
    """The kernel that a rule makes; it declines where this leaves out a table in front."""
    kernel = rule(task)
    if kernel.lead is not task.region.lead:
        raise Decline("it reads its operand through no table")
    return kernel


def has_kernel() -> set[type[Op]]:
    """The operators that can be the anchor of a kernel."""
    return {op for op, _ in KERNEL_RULES}


def every_kernel(task: Task[Op]) -> Iterator[RuleChoice[Kernel]]:
    """The kernels of a task that has an anchor, by each rule and variant that does not decline; the first is usual."""
    return every(KERNEL_RULES, type(task.op), task.target, lambda rule: made_by(rule, task), variants_of)


def choose_kernel(task: Task[Op], rule: str = "") -> RuleChoice[Kernel]:
    """The kernel of a task that has an anchor, by the most special rule of the target's that does not decline.

    If the name of a rule is given and it does not decline, it is that one.
    """
    if rule:
        wished = next((choice for choice in every_kernel(task) if choice.rule == rule), None)
        if wished is not None:
            return wished
    choice = choose(KERNEL_RULES, type(task.op), task.target, lambda rule: made_by(rule, task))
    if choice.result is None:
        raise no_rule(task.op, task.target, choice)
    return choice


def no_rule(op: Op, target: Target, choice: RuleChoice[Any]) -> Unsupported:
    """The error where every rule declined."""
    why = "; ".join(map(str, choice.declined)) or None
    return Unsupported(f"no rule for {op.name} on {target.name}", why=why)


def moved(move: Node, x: Tensor) -> Tensor:
    """The result of a move in a region, where its operand is."""
    tensor = view(move.op, x)
    if tensor is None:
        what = f"a kernel of {move.op.name} behind {move.inputs[0].op.name}, as strides of one memory"
        raise Unsupported(what, where=move.name or None, advice="do not fuse it with what reads its result")
    return tensor


def physical_loops(shape: Sequence[int], strides: Sequence[int]) -> list[int]:
    """The axes in the order of memory, outermost first."""
    return sorted(range(len(shape)), key=lambda axis: (-strides[axis], axis))
