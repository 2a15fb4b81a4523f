"""From a bound graph to a program: kernels, the calls that run them, constants, and an arena plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from graphopt.errors import BudgetExceeded, Unsupported
from graphopt.ir import Array, Constant, Graph, Input, Node, Op, Value, verify
from graphopt.ir.registry import place
from graphopt.ops import Identity, Reshape
from graphopt.ops.macs import macs_of
from graphopt.targets.absorb import absorb_moves
from graphopt.targets.debug import Chosen, chosen, tell_kernel
from graphopt.targets.forms import formed
from graphopt.targets.kernels import Built, Task, build, choose_kernel, has_kernel
from graphopt.targets.kernels.nest import elementwise_nest
from graphopt.targets.layout import assign_layouts
from graphopt.targets.lookup import RuleChoice
from graphopt.targets.naming import identifier, unique
from graphopt.targets.plan import Lifetime, Overlap, Plan, occupied_bytes, plan_arena
from graphopt.targets.ports import AS_THEY_ARE, Port, PortOptions
from graphopt.targets.region import Region, is_elementwise, lowerable, region_of
from graphopt.targets.scalars import SCALARS
from graphopt.targets.stepwise import stepwise
from graphopt.targets.target import Target


@dataclass(frozen=True)
class BufferPlace:
    """Where an argument of a call is: ``kind`` is input, output, constant or arena; ``index`` counts within it.

    For the arena, ``index`` is the offset in bytes.
    """

    kind: str
    index: int


@dataclass(frozen=True)
class KernelCall:
    """One kernel run; ``node`` is the name of what it computes, ``text`` its operators in words, ``how`` its choice.

    ``macs`` are its multiply-accumulates, ``weight_bytes`` those of the constants that it reads, which others may read
    too, ``live_bytes`` those of the arena that hold something while it runs.
    """

    kernel: str
    arguments: tuple[BufferPlace, ...]
    node: str
    text: str
    how: Chosen
    macs: int
    weight_bytes: int
    live_bytes: int


@dataclass(frozen=True)
class UnplacedCall:
    """A call of a kernel before the arena is planned: its arguments are values, or indices of constants.

    ``scratch`` are the names and bytes of what it needs beside these, for itself.
    """

    kernel: str
    arguments: tuple[Value | int, ...]
    scratch: tuple[tuple[str, int], ...]
    result: Value
    text: str
    how: Chosen

    @property
    def values(self) -> tuple[Value, ...]:
        """The result and the arguments that are no constants of the kernel."""
        return (self.result, *(a for a in self.arguments if isinstance(a, Value)))


@dataclass(frozen=True)
class Lowered:
    """All that code generation needs. ``kernels`` has each distinct function once."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    kernels: dict[str, Built]
    calls: tuple[KernelCall, ...]
    constants: tuple[tuple[str, Array], ...]
    plan: Plan

    @property
    def constant_bytes(self) -> int:
        return sum(data.nbytes for _, data in self.constants)


def lowered_operators() -> set[type[Op]]:
    """The operators that need not be decomposed."""
    return {*(op for op, _ in SCALARS), *has_kernel()}


def lower(graph: Graph, target: Target, options: PortOptions = AS_THEY_ARE) -> Lowered:
    """Lower a bound graph for a target.

    Raises ``Unsupported`` naming every node without a lowering, and ``BudgetExceeded`` naming the
    layers that need the memory.
    """
    supported = lowered_operators()
    graph = copy_outputs(lowerable(graph, supported, keep=lambda node: is_elementwise(node, supported)))
    graph = stepwise(graph) if target.codegen == "c" else absorb_moves(graph)
    verify(graph)
    check_types(graph)
    lowering = Lowering(graph, target, options)
    for node in graph.nodes:
        if not isinstance(node.op, Input | Constant | Reshape):
            lowering.add(node)
    lowered = lowering.finish()
    check_budget(lowered, target)
    return lowered


def check_types(graph: Graph) -> None:
    """Raise ``Unsupported`` naming the values of types that no kernel has."""
    values = [v for node in graph.nodes for v in node.results]
    for what, found in (
        ("no elements", [v for v in values if 0 in v.type.shape]),
        ("a dtype without kernels", [v for v in values if v.type.dtype == "float16"]),
    ):
        if found:
            names = ", ".join(f"{graph.names[v.node]} ({v.type})" for v in found[:5])
            raise Unsupported(f"tensors of {what}: {names}", where=graph.name)


def storage(value: Value) -> Value:
    """The value whose buffer holds this one: a reshape has its operand's."""
    while isinstance(value.op, Reshape):
        value = value.node.inputs[0]
    return value


def copy_outputs(graph: Graph) -> Graph:
    """Put a copy before every output without a buffer of its own: an input, a constant, one shared with another."""
    taken: set[Value] = set()
    outputs = []
    for output in graph.outputs:
        held = storage(output)
        if held in taken or isinstance(held.op, Input | Constant):
            output = Identity()(output, name=graph.names[output.node] + ".copy", origins=output.node.origins)
        taken.add(held)
        outputs.append(output)
    return Graph(graph.inputs, tuple(outputs), graph.output_names, graph.name)


class Lowering:
    """Gathers kernels and calls, node by node."""

    def __init__(self, graph: Graph, target: Target, options: PortOptions = AS_THEY_ARE) -> None:
        self.graph, self.target, self.options = graph, target, options
        ports = [(graph.names[v.node], v) for v in graph.inputs]
        ports += zip(graph.output_names, graph.outputs, strict=True)
        self.layouts = assign_layouts(graph, {v for name, v in ports if name in options.channels_last})
        self.kernels: dict[str, Built] = {}
        self.names: dict[str, str] = {}
        self.constants: dict[tuple[str, bytes], int] = {}
        self.constant_list: list[tuple[str, Array]] = []
        self.calls: list[UnplacedCall] = []
        self.outputs = {storage(v): i for i, v in enumerate(graph.outputs)}
        computing = [n for n in graph.nodes if not isinstance(n.op, Reshape)]
        self.last_reader = {storage(v): n for n in computing for v in n.inputs}
        self.overlaps: dict[tuple[Value, Value], Overlap] = {}
        self.taken: dict[Value, Value] = {}
        """The operand whose place in the arena each result computed in place takes."""

    def add(self, node: Node) -> None:
        """Build the kernel of a node and record its call; equal kernels are one function."""
        region, forms = formed(region_of(node, lowered_operators()), self.target)
        out = self.layouts[node.results[0]]
        layouts = tuple(self.layouts[v] for v in region.operands)
        operand = self.operand_to_share(region, node.results[0])
        covered = self.operands_to_cover(region, node.results[0]) if operand is None else {}
        task: Task[Op] = Task(region, self.target, layouts, out, operand, frozenset(covered))
        choice = (
            choose_kernel(task) if region.anchor else RuleChoice(elementwise_nest(task), place(elementwise_nest), None)
        )
        kernel = choice.result
        assert kernel is not None
        built = build(task, kernel)
        reads = {held: kernel.reads[inner] for inner, held in covered.items() if inner in kernel.reads}
        self.overlaps |= {(held, node.results[0]): overlap for held, overlap in reads.items()}
        how = chosen(task, choice, (*forms, *built.scalars))
        tell_kernel(self.graph.names[node], kernel.name, how)
        name = self.names.get(built.key)
        if name is None:
            name = unique(identifier(built.name), self.kernels)
            self.names[built.key] = name
            self.kernels[name] = built
        known = self.kernels[name]
        self.kernels[name] = replace(known, overlapping=known.overlapping | built.overlapping)
        constants = tuple(self.constant(self.graph.names[node], *c) for c in built.constants)
        text = ", ".join(n.op.name for n in region.compute)
        read = [o for o, v in zip(region.operands, region.body.inputs, strict=True) if v is not operand]
        scratch = tuple((f"{self.graph.names[node]} {s}", needed.nbytes) for s, needed in built.scratch)
        self.calls.append(UnplacedCall(name, (*read, *constants), scratch, node.results[0], text, how))

    def operand_to_share(self, region: Region, result: Value) -> Value | None:
        """The input of the body whose place the result may take: read point by point, and here for the last time."""
        buffers = [self.held(o) for o in region.operands]
        for inner, operand, held in zip(region.body.inputs, region.operands, buffers, strict=True):
            if (
                inner in region.pointwise_operands
                and self.in_arena(held)
                and self.in_arena(result)
                and self.last_reader[storage(operand)] is region.node
                and buffers.count(held) == 1
                and self.layouts[operand] == self.layouts[result]
            ):
                self.taken[result] = operand
                return inner
        return None

    def operands_to_cover(self, region: Region, result: Value) -> dict[Value, Value]:
        """The inputs of the body that the result may come to lie over, in C, and in what they are held.

        They are read by this kernel, last, and by no other name. LLVM is told that no two parameters overlap.
        """
        if self.target.codegen != "c" or not self.in_arena(result):
            return {}
        buffers = [self.held(o) for o in region.operands]
        return {
            inner: held
            for inner, operand, held in zip(region.body.inputs, region.operands, buffers, strict=True)
            if self.in_arena(held) and self.last_reader[storage(operand)] is region.node and buffers.count(held) == 1
        }

    def held(self, value: Value) -> Value:
        """The value that the buffer of this one was made for."""
        value = storage(value)
        while value in self.taken:
            value = storage(self.taken[value])
        return value

    def in_arena(self, value: Value) -> bool:
        port = isinstance(value.op, Input) or value in self.outputs
        return not isinstance(value.op, Constant) and (self.options.in_arena or not port)

    def constant(self, node: str, name: str, data: Array) -> int:
        """The index of a constant; equal ones are stored once."""
        key = (f"{data.dtype}{data.shape}", data.tobytes())
        if key not in self.constants:
            self.constants[key] = len(self.constant_list)
            # one that is named after its node is not named after it twice
            self.constant_list.append((name if name.startswith(node) else f"{node}_{name}", data))
        return self.constants[key]

    def finish(self) -> Lowered:
        lifetimes = [*self.lifetimes(), *self.scratch_lifetimes()]
        names = self.graph.names
        overlaps = {(names[a.node], names[b.node]): overlap for (a, b), overlap in self.overlaps.items()}
        plan = plan_arena(lifetimes, self.target.alignment, overlaps)
        live = occupied_bytes(lifetimes, plan.offsets, len(self.calls))
        calls = [self.placed(call, plan.offsets, bytes_) for call, bytes_ in zip(self.calls, live, strict=True)]
        inputs = tuple(self.port(names[v.node], v, plan.offsets) for v in self.graph.inputs)
        given = zip(self.graph.output_names, self.graph.outputs, strict=True)
        outputs = tuple(self.port(name, v, plan.offsets) for name, v in given)
        return Lowered(inputs, outputs, self.kernels, tuple(calls), tuple(self.constant_list), plan)

    def port(self, name: str, value: Value, offsets: Mapping[str, int]) -> Port:
        """A port as the caller has it: its axes in the order of its layout, and its place if that is in the arena."""
        order = self.layouts[value].order
        type_ = replace(value.type, shape=tuple(value.type.shape[axis] for axis in order))
        at = self.place(value, offsets)
        return Port(name, type_, offset=at.index if at.kind == "arena" else None)

    def placed(self, call: UnplacedCall, offsets: Mapping[str, int], live: int) -> KernelCall:
        places = [BufferPlace("constant", a) if isinstance(a, int) else self.place(a, offsets) for a in call.arguments]
        weights = sum(self.constant_list[p.index][1].nbytes for p in places if p.kind == "constant")
        node = call.result.node
        places += [BufferPlace("arena", offsets[name]) for name, _ in call.scratch]
        places.append(self.place(call.result, offsets))
        costs = macs_of(node), weights, live
        return KernelCall(call.kernel, tuple(places), self.graph.names[node], call.text, call.how, *costs)

    def place(self, value: Value, offsets: Mapping[str, int]) -> BufferPlace:
        held = self.held(value)
        if self.in_arena(held):
            return BufferPlace("arena", offsets[self.graph.names[held.node]])
        if isinstance(held.op, Input):
            return BufferPlace("input", self.graph.inputs.index(held))
        if held.constant is not None:
            return BufferPlace("constant", self.constant(self.graph.names[held.node], "value", held.constant))
        return BufferPlace("output", self.outputs[held])

    def lifetimes(self) -> list[Lifetime]:
        """What lives in the arena, and when, one step a call: inputs from the first on, outputs to the last."""
        last = max(0, len(self.calls) - 1)
        spans: dict[Value, list[int]] = {v: [0, 0] for v in self.graph.inputs if self.in_arena(v)}
        for step, call in enumerate(self.calls):
            for value in call.values:
                held = self.held(value)
                if self.in_arena(held):
                    spans.setdefault(held, [step, step])[1] = step
        for value in map(self.held, self.outputs):
            if value in spans:
                spans[value][1] = last
        return [Lifetime(self.graph.names[v.node], v.type.nbytes, *span) for v, span in spans.items()]

    def scratch_lifetimes(self) -> list[Lifetime]:
        """What a kernel needs for itself lives in its step alone."""
        needed = [(step, *one) for step, call in enumerate(self.calls) for one in call.scratch]
        return [Lifetime(name, nbytes, step, step) for step, name, nbytes in needed]


def check_budget(lowered: Lowered, target: Target) -> None:
    """Raise ``BudgetExceeded`` if the arena or the constants exceed the memories of the target."""
    for memory, budget, needed, parts in (
        ("RAM", target.ram, lowered.plan.size, [(b.size, b.name) for b in lowered.plan.peak]),
        ("flash", target.flash, lowered.constant_bytes, [(d.nbytes, n) for n, d in lowered.constants]),
    ):
        if budget is not None and needed > budget:
            worst = ", ".join(f"{name} ({size:,} bytes)" for size, name in sorted(parts, reverse=True)[:5])
            raise BudgetExceeded(
                f"{needed:,} bytes of {memory} needed, {target.name} has {budget:,}",
                why=f"the most is taken by {worst}",
                advice="prune or quantize these layers, or choose a bigger target",
            )
