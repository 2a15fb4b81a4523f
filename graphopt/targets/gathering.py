"""The kernels of a graph and their calls, layer by layer or row by row, the constants, and the buffers to place."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from graphopt.errors import Unsupported
from graphopt.ir import Array, Constant, Graph, Input, Node, Op, Value
from graphopt.ops import Identity
from graphopt.ops.macs import macs_of
from graphopt.targets.calls import BufferPlace, KernelCall, Lowered, Piece, UnplacedCall, looped
from graphopt.targets.debug import Chosen, chosen, tell_kernel
from graphopt.targets.forms import formed
from graphopt.targets.kernels import Built, Kernel, ScratchForm, Task, build, choose_kernel
from graphopt.targets.kernels.elementwise import elementwise_kernel
from graphopt.targets.kernels.row_moves import rows_mover
from graphopt.targets.layout import Layout
from graphopt.targets.lookup import RuleChoice
from graphopt.targets.naming import identifier, unique
from graphopt.targets.parts import WORD, Parts, find_parts
from graphopt.targets.plan import Lifetime, Overlap, occupied_bytes, plan_arena, rounded_up
from graphopt.targets.ports import AS_THEY_ARE, PlacedPort, PortOptions
from graphopt.targets.prepared import dense_layouts, lowered_operators, storage
from graphopt.targets.region import Region, region_of
from graphopt.targets.rows import ROWS, Layer, Stream, Turn, layer_of, row_bytes, with_rows
from graphopt.targets.target import Target
from graphopt.targets.traffic import moved_bytes, products_of

PUSHED = "rows pushed"
"""The buffer of their number."""
PUSHED_BYTES = 4
Kind = tuple[object, ...]
"""What kernels of one kind have in common."""
Forms = tuple[tuple[str, RuleChoice[None]], ...]
"""By which rules operators took forms of the target, as ``formed`` has them."""


@dataclass(frozen=True)
class MadeKernel:
    """The function of a kernel by name, the indices of its constants, and what else of it a call needs."""

    name: str
    constants: tuple[int, ...]
    scratch: tuple[tuple[str, int], ...]
    reads: Mapping[Value, Overlap]
    over: Mapping[str, Mapping[Value, Overlap]]
    how: Chosen
    forms: tuple[ScratchForm, ...] = ()
    rows: int = 1


def kernel_of(task: Task[Op], rule: str = "") -> RuleChoice[Kernel]:
    """The kernel of a task, by a rule if one is named and does not decline."""
    return choose_kernel(task, rule) if task.region.anchor else elementwise_kernel(task)


class Lowering:
    """Gathers kernels and calls, node by node, or turn by turn where layers are in a stream.

    ``rooms`` has for some nodes the bytes of scratch that their kernels get. Values that are ``apart`` are copied into
    concatenations.
    """

    def __init__(
        self,
        graph: Graph,
        target: Target,
        options: PortOptions = AS_THEY_ARE,
        streams: Sequence[Stream] = (),
        parts: Parts | None = None,
        rooms: Mapping[Node, int] | None = None,
        rules: Mapping[str, str] | None = None,
        apart: Collection[Value] = frozenset(),
    ) -> None:
        self.graph, self.target, self.options, self.streams = graph, target, options, streams
        self.rooms = rooms or {}
        self.forms: dict[Node, tuple[ScratchForm, ...]] = {}
        """Of the kernels of whole layers."""
        self.together: dict[Node, int] = {}
        """The rows that they make together."""
        self.apart = apart
        self.rules = rules or {}
        """By the name of a node, the rule that is to make its kernel, if that is not the usual one."""
        self.tasks: dict[str, Task[Op]] = {}
        """What each node that is computed whole was lowered for, by its name."""
        self.regions: dict[Node, tuple[Region, Forms]] = {}
        self.kinds: dict[Node, Kind | None] = {}
        self.dense = dense_layouts(graph, options)
        """The layouts of all values where none is a part of another one."""
        self.parts = parts or find_parts(graph, self.dense, self.fits, WORD if target.codegen == "c" else 1, apart)
        self.layouts = self.parts.layouts
        self.kernels: dict[str, Built] = {}
        self.names: dict[str, str] = {}
        self.constants: dict[tuple[str, bytes], int] = {}
        self.constant_list: list[tuple[str, Array]] = []
        self.calls: list[UnplacedCall] = []
        self.steps = 0
        self.sums: list[Lifetime] = []
        """Of the layers that collect theirs row by row."""
        self.outputs = {storage(v): i for i, v in enumerate(graph.outputs)}
        self.last_reader = {self.parts.place(v).whole: n for n in self.computing for v in n.inputs}
        self.overlaps: dict[tuple[Value, Value], Overlap] = {}
        self.scratch_overlaps: dict[tuple[Value, str], Overlap] = {}
        self.taken: dict[Value, Value] = {}
        """The operand whose place in the arena each result computed in place takes."""
        self.alive: dict[Value, tuple[int, int]] = {}
        """What is held in the arena beyond the steps of its own calls, from and to which."""
        self.held_bytes: dict[Value, int] = {}
        """Of results of which not all rows are held."""
        self.pushed = next((v for v in graph.inputs if graph.names[v.node] == options.pushed), None)
        self.taking = None if self.pushed is None else self.graph.uses[self.pushed][0]
        """The layer that takes the rows of an input that is pushed."""

    @cached_property
    def computing(self) -> list[Node]:
        return [n for n in self.graph.nodes if self.parts.computes(n)]

    def run(self) -> Lowered:
        """All calls, in order, and where their buffers are."""
        streams = {stream.layers[0].region.node: stream for stream in self.streams}
        inside = {layer.region.node for stream in self.streams for layer in stream.layers}
        for node in self.computing:
            if node in streams:
                self.add_stream(streams[node])
            elif node in self.parts.joined:
                self.add_copies(node)
            elif node not in inside:
                self.add(node)
        return self.finish()

    def add(self, node: Node) -> None:
        """Build the kernel of a node and record its call."""
        region, forms = self.region(node)
        out = self.layouts[node.results[0]]
        layouts = tuple(self.layouts[v] for v in region.operands)
        operand = self.operand_to_share(region, node.results[0])
        covered = self.operands_to_cover(region, node.results[0]) if operand is None else {}
        room = self.rooms.get(node)
        task: Task[Op] = Task(region, self.target, layouts, out, operand, frozenset(covered), room)
        self.tasks[self.graph.names[node]] = task
        made = self.made(task, forms)
        self.forms[node], self.together[node] = made.forms, made.rows
        reads = {held: made.reads[inner] for inner, held in covered.items() if inner in made.reads}
        self.overlaps |= {(held, node.results[0]): overlap for held, overlap in reads.items()}
        for name, values in made.over.items():
            self.scratch_overlaps |= {(covered[v], name): o for v, o in values.items() if v in covered}
        read = [Piece(o) for o, v in zip(region.operands, region.body.inputs, strict=True) if v is not operand]
        self.call(made, region, read, Piece(node.results[0]), self.steps)
        self.steps += 1

    def add_copies(self, node: Node) -> None:
        """Copy what of a concatenation could not be written to where its result has it."""
        (result,) = node.results
        for value, layout, start in self.parts.copied(node):
            region = replace(region_of(Identity()(value).node, lowered_operators()), node=node)
            layouts = tuple(self.layouts[v] for v in region.operands)
            made = self.made(Task(region, self.target, layouts, layout), ())
            begin = start * np.dtype(result.type.dtype).itemsize
            self.call(made, region, [Piece(v) for v in region.operands], Piece(result, begin, begin), self.steps)
        self.steps += 1

    def add_stream(self, stream: Stream) -> None:
        """Build the kernels of a stream and record their calls, turn by turn; a step is that of a layer in any turn."""
        first, last = self.steps, self.steps + len(stream.layers) - 1
        known: list[dict[object, MadeKernel]] = [{} for _ in stream.layers]
        for place, layer in enumerate(stream.layers):
            self.held_bytes[layer.result] = stream.held[place] * row_bytes(layer.result)
            if layer.sums is not None:
                name = f"{self.graph.names[layer.region.node]} sums"
                self.sums.append(Lifetime(name, layer.sums.nbytes, first, last))
            whole = [v for v in layer.region.operands if v not in stream.places]
            for value in [*whole, *([layer.result] if stream.kept(place) else [])]:
                held = self.held(value)
                self.alive[held] = min(first, self.alive.get(held, (first, last))[0]), last
        for count, turn in enumerate(stream.turns):
            for place, layer in enumerate(stream.layers):
                self.move_rows(stream, count, place, first + place)
                made = turn.made[place]
                one_by_one = [range(row, row + 1) for row in made]
                for rows in one_by_one if layer.region.node is self.taking else [made] if made else []:
                    self.add_rows(stream, turn, place, rows, first + place, known[place])
        self.cover_rows(stream)
        for place, kernels in enumerate(known):
            self.cover_passing(stream, place, list(kernels.values()))
        self.steps = last + 1

    def add_rows(
        self, stream: Stream, turn: Turn, place: int, rows: range, step: int, known: dict[object, MadeKernel]
    ) -> None:
        """Record the call that makes some rows of a layer in a turn, and build its kernel if it is not ``known``."""
        layer = stream.layers[place]
        needed = [layer.needed(inner, rows) for inner, _ in layer.inputs]
        ends = layer.collects and (rows.start == 0, rows.stop == layer.height)
        key = len(rows), layer.pads(rows), ends, *map(len, needed)
        if key not in known:
            known[key] = self.made(*self.banded(layer, rows, self.passing(stream, place)))
        pieces = [self.piece(stream, turn, v, r) for (_, v), r in zip(layer.inputs, needed, strict=True)]
        result = self.piece(stream, turn, layer.result, rows)
        if layer.collects:
            sums = Piece(f"{self.graph.names[layer.region.node]} sums")
            done = rows.stop == layer.height
            pieces += [sums] if rows.start and done else []
            result = Piece(layer.result) if done else sums
        at = (self.streams.index(stream), turn.cycle)
        self.call(known[key], layer.banded(rows), pieces, result, step, at)

    def passing(self, stream: Stream, place: int) -> int | None:
        """Which operand the result of a layer may come to lie over in a turn, where neither is held on.

        Nothing else reads that operand.
        """
        layer = stream.layers[place]
        if self.target.codegen != "c" or stream.kept(place) or layer.collects:
            return None
        operands = layer.region.operands
        for index, value in enumerate(operands):
            source = stream.places.get(value)
            alone = operands.count(value) == 1 and self.graph.uses[value] == (layer.region.node,)
            if alone and source is not None and not stream.kept(source):
                return index
        return None

    def cover_passing(self, stream: Stream, place: int, kernels: Sequence[MadeKernel]) -> None:
        """The result of a layer may come to lie over an operand that is not held on, if all of its kernels allow it."""
        index = self.passing(stream, place)
        reads = [overlap for made in kernels for overlap in made.reads.values()]
        if index is not None and len(reads) == len(kernels):
            layer, step = stream.layers[place], math.lcm(*(one.step for one in reads))
            gap = rounded_up(max(one.gap for one in reads), step)
            self.overlaps[layer.region.operands[index], layer.result] = Overlap(gap, step)

    def banded(self, layer: Layer, rows: range, passing: int | None = None) -> tuple[Task[Op], Forms]:
        """The task of some rows of a layer; its result may come to lie over the operand that is ``passing``."""
        region, forms = formed(layer.banded(rows), self.target)
        out = self.layouts[layer.result]
        heights = [v.type.static_shape[ROWS] for v in region.body.inputs]
        layouts = tuple(with_rows(self.layouts.get(v, out), h) for v, h in zip(region.operands, heights, strict=True))
        if layer.collects:
            shared = region.body.inputs[1] if rows.start and rows.stop < layer.height else None
            return Task(region, self.target, layouts, out, shared), forms
        covered = frozenset() if passing is None else frozenset([region.body.inputs[passing]])
        room = self.rooms.get(layer.region.node)
        return Task(region, self.target, layouts, with_rows(out, len(rows)), None, covered, room), forms

    def piece(self, stream: Stream, turn: Turn, value: Value, rows: range) -> Piece:
        """Where some rows of a value are in a turn: within the stream, a buffer begins with the first row held."""
        place, first = stream.places.get(value), rows.start * row_bytes(value)
        if place is None or place == len(stream.layers) - 1:
            return Piece(value, first, first)
        return Piece(value, (rows.start - turn.first[place]) * row_bytes(value), first)

    def move_rows(self, stream: Stream, count: int, place: int, step: int) -> None:
        """Move the rows of a result that are held on to where it begins, before new ones are made behind them."""
        turn, value = stream.turns[count], stream.layers[place].result
        distance = turn.first[place] - stream.turns[count - 1].first[place] if count else 0
        rows = range(turn.first[place], turn.made[place].start)
        if place == len(stream.layers) - 1 or not distance or not rows:
            return
        lanes = self.target.lanes if self.target.codegen == "llvm" else 1
        built = rows_mover(value.type.dtype, distance * row_bytes(value), len(rows) * row_bytes(value), lanes)
        old = self.piece(stream, stream.turns[count - 1], value, rows)
        new = self.piece(stream, turn, value, rows)
        how = Chosen("rows that are held on", "", "", ())
        name, node, at = self.named(built), self.graph.names[value.node], (self.streams.index(stream), turn.cycle)
        self.calls.append(UnplacedCall(name, (old,), (), new, node, "move", how, 0, step, at))

    def cover_rows(self, stream: Stream) -> None:
        """The result of a stream may come to lie over operands of its layers that nothing else reads later."""
        result = stream.layers[-1].result
        self.overlaps |= {(held, result): Overlap(gap) for held, gap in self.gaps(stream).items()}

    def gaps(self, stream: Stream) -> dict[Value, int]:
        """By how many bytes the result of a stream must begin below what it may lie over, in C.

        That is operands from outside, and rows that are held, when they were read for the last time.
        """
        if self.target.codegen != "c" or not self.in_arena(stream.layers[-1].result):
            return {}
        nodes, gaps = {layer.region.node for layer in stream.layers}, stream.gaps
        buffers = [self.held(v) for v in gaps]
        outside = {
            held: gap
            for (value, gap), held in zip(gaps.items(), buffers, strict=True)
            if self.gives_way(held)
            and self.last_reader[self.parts.place(value).whole] in nodes
            and buffers.count(held) == 1
        }
        return {**stream.gaps_within, **outside}

    def layer(self, node: Node) -> Layer | None:
        """A node as a layer of streams, if it can be one: what is a part of a larger value goes by no rows."""
        alone = node not in self.parts.joined and all(map(self.parts.alone, (*node.inputs, *node.results)))
        layer = layer_of(self.region(node)[0], self.layouts) if alone else None
        return layer and replace(layer, together=self.together.get(node, 1))

    def region(self, node: Node) -> tuple[Region, Forms]:
        """The region of a node, and what its forms say."""
        if node not in self.regions:
            self.regions[node] = formed(region_of(node, lowered_operators()), self.target)
        return self.regions[node]

    def fits(self, node: Node, layouts: Mapping[Value, Layout]) -> bool:
        """Whether a node has the same kernel in these layouts as where all buffers are whole."""
        if node not in self.kinds:
            self.kinds[node] = self.kind(node, self.dense)
        return self.kinds[node] is not None and self.kind(node, layouts) == self.kinds[node]

    def kind(self, node: Node, layouts: Mapping[Value, Layout]) -> Kind | None:
        """Of a node's kernel the rule, its name and those of its buffers; None if there is none."""
        try:
            region, _ = self.region(node)
            operands = tuple(layouts[v] for v in region.operands)
            choice = kernel_of(Task(region, self.target, operands, layouts[node.results[0]]))
        except Unsupported:
            return None
        kernel = choice.result
        if kernel is None:
            return None
        return (str(choice), kernel.name, kernel.tile is None, *kernel.packed, *kernel.scratch)

    def made(self, task: Task[Op], forms: Forms) -> MadeKernel:
        """Choose and build the kernel of a task; equal kernels are one function."""
        node = self.graph.names[task.region.node]
        choice = kernel_of(task, self.rules.get(node, ""))
        kernel = choice.result
        assert kernel is not None
        built = build(task, kernel)
        how = chosen(task, choice, (*forms, *built.scalars))
        tell_kernel(node, kernel.name, how)
        constants = tuple(self.constant(node, *c) for c in built.constants)
        scratch = tuple((f"{node} {s}", needed.nbytes) for s, needed in built.scratch)
        over = {f"{node} {s}": values for s, values in kernel.over.items()}
        return MadeKernel(self.named(built), constants, scratch, kernel.reads, over, how, kernel.forms, kernel.rows)

    def named(self, built: Built) -> str:
        """The name of a function, which equal ones share."""
        name = self.names.get(built.key)
        if name is None:
            name = unique(identifier(built.name), self.kernels)
            self.names[built.key] = name
            self.kernels[name] = built
        known = self.kernels[name]
        self.kernels[name] = replace(known, overlapping=known.overlapping | built.overlapping)
        return name

    def call(
        self,
        made: MadeKernel,
        region: Region,
        read: Sequence[Piece],
        result: Piece,
        step: int,
        turn: tuple[int, int] | None = None,
    ) -> None:
        text = ", ".join(n.op.name for n in region.compute)
        macs = macs_of(region.node) if turn is None else sum(map(macs_of, region.compute))
        arguments: tuple[Piece | int, ...] = (*read, *made.constants)
        node, takes = self.graph.names[region.node], region.node is self.taking
        how = replace(made.how, others=(*made.how.others, *self.parts.why.get(region.node, ())))
        work = products_of(region), moved_bytes(region)
        self.calls.append(
            UnplacedCall(made.name, arguments, made.scratch, result, node, text, how, macs, step, turn, takes, *work)
        )

    def operand_to_share(self, region: Region, result: Value) -> Value | None:
        """The input of the body whose place the result may take: read point by point, and here for the last time."""
        if not self.parts.alone(result):
            return None
        buffers = [self.held(o) for o in region.operands]
        for inner, operand, held in zip(region.body.inputs, region.operands, buffers, strict=True):
            if (
                inner in region.pointwise_operands
                and self.parts.alone(operand)
                and self.gives_way(held)
                and self.in_arena(result)
                and self.last_reader[self.parts.place(operand).whole] is region.node
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
        if self.target.codegen != "c" or not self.in_arena(result) or not self.parts.alone(result):
            return {}
        buffers = [self.held(o) for o in region.operands]
        return {
            inner: held
            for inner, operand, held in zip(region.body.inputs, region.operands, buffers, strict=True)
            if self.gives_way(held)
            and self.parts.alone(operand)
            and self.last_reader[self.parts.place(operand).whole] is region.node
            and buffers.count(held) == 1
        }

    def held(self, value: Value) -> Value:
        """The value that the buffer of this one was made for."""
        value = self.parts.place(value).whole
        while value in self.taken:
            value = self.parts.place(self.taken[value]).whole
        return value

    def begins(self, value: Value) -> int:
        """How many bytes behind the start of what holds it a value begins."""
        return self.parts.place(value).start * np.dtype(value.type.dtype).itemsize

    def in_arena(self, value: Value) -> bool:
        port = isinstance(value.op, Input) or value in self.outputs
        return not isinstance(value.op, Constant) and (self.options.in_arena or not port) and value is not self.pushed

    def gives_way(self, held: Value) -> bool:
        """Whether a result may lie over a buffer after its last reader; that of an output is the caller's to read.

        An output that was computed in place is in the buffer of another value.
        """
        return self.in_arena(held) and all(self.held(output) is not held for output in self.outputs)

    def constant(self, node: str, name: str, data: Array) -> int:
        """The index of a constant; equal ones are stored once."""
        key = (f"{data.dtype}{data.shape}", data.tobytes())
        if key not in self.constants:
            self.constants[key] = len(self.constant_list)
            # one that is named after its node is not named after it twice
            self.constant_list.append((name if name.startswith(node) else f"{node}_{name}", data))
        return self.constants[key]

    def finish(self) -> Lowered:
        names, last = self.graph.names, max(0, self.steps - 1)
        count = [Lifetime(PUSHED, PUSHED_BYTES, 0, last)] if self.pushed is not None else []
        lifetimes = [*self.lifetimes(), *self.sums, *self.scratch_lifetimes(), *count]
        trimmed = self.target.codegen == "c"
        plan = plan_arena(lifetimes, self.target.alignment, self.named_overlaps(), trimmed)
        live = occupied_bytes(lifetimes, plan.offsets, self.steps)
        calls = [(call.turn, self.placed(call, plan.offsets, live[call.step])) for call in self.calls]
        inputs = tuple(self.port(names[v.node], v, plan.offsets) for v in self.graph.inputs)
        given = zip(self.graph.output_names, self.graph.outputs, strict=True)
        outputs = tuple(self.port(name, v, plan.offsets) for name, v in given)
        constants, pushed = tuple(self.constant_list), plan.offsets.get(PUSHED)
        return Lowered(inputs, outputs, self.kernels, looped(calls), constants, plan, pushed=pushed)

    def named_overlaps(self) -> dict[tuple[str, str], Overlap]:
        names = self.graph.names
        named = {(names[a.node], names[b.node]): overlap for (a, b), overlap in self.overlaps.items()}
        return named | {(names[a.node], b): overlap for (a, b), overlap in self.scratch_overlaps.items()}

    def port(self, name: str, value: Value, offsets: Mapping[str, int]) -> PlacedPort:
        """A port as the caller has it: its axes in the order of its layout, and its place if that is in the arena."""
        order = self.layouts[value].order
        type_ = replace(value.type, shape=tuple(value.type.static_shape[axis] for axis in order))
        at = self.place(value, offsets)
        return PlacedPort(name, type_, offset=at.index if at.kind == "arena" else None)

    def placed(self, call: UnplacedCall, offsets: Mapping[str, int], live: int) -> KernelCall:
        def at(piece: Piece) -> BufferPlace:
            if isinstance(piece.value, str):
                return BufferPlace("arena", offsets[piece.value])
            return self.place(piece.value, offsets).moved(self.begins(piece.value) + piece.start)

        places = [BufferPlace("constant", a) if isinstance(a, int) else at(a) for a in call.arguments]
        weights = sum(self.constant_list[p.index][1].nbytes for p in places if p.kind == "constant")
        places += [BufferPlace("arena", offsets[name]) for name, _ in call.scratch]
        places.append(at(call.result))
        costs, work = (call.macs, weights, live), (call.products, call.moved_bytes)
        return KernelCall(call.kernel, tuple(places), call.node, call.text, call.how, *costs, call.takes, *work)

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
        """What lives in the arena, and when: inputs from the first step on, outputs to the last."""
        last = max(0, self.steps - 1)
        spans = {v: (0, 0) for v in self.graph.inputs if self.in_arena(v)}
        for call in self.calls:
            for value in map(self.held, call.values):
                if self.in_arena(value):
                    first, end = self.alive.get(value, (call.step, call.step))
                    begun, ended = spans.get(value, (first, end))
                    spans[value] = min(begun, first, call.step), max(ended, end, call.step)
        spans |= {v: (spans[v][0], last) for v in map(self.held, self.outputs) if v in spans}
        sizes = {v: self.held_bytes.get(v, v.type.nbytes) for v in spans}
        return [Lifetime(self.graph.names[v.node], sizes[v], *span) for v, span in spans.items()]

    def scratch_lifetimes(self) -> list[Lifetime]:
        """What a kernel needs for itself lives in its step alone; in each turn of a stream it may need other sizes."""
        most: dict[tuple[str, int], int] = {}
        for call in self.calls:
            for name, nbytes in call.scratch:
                most[name, call.step] = max(nbytes, most.get((name, call.step), 0))
        return [Lifetime(name, nbytes, step, step) for (name, step), nbytes in most.items()]
