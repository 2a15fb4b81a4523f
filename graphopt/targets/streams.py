"""Which layers go by rows: a shortest path through the layers of a graph, over single layers and streams of several.

Each has the bytes that are held while its layers run, and the instructions that going by rows adds. Where kernels have
forms of less scratch, these are taken where the others do not fit, and their instructions are added. Under a bound on
the bytes the path that adds the fewest instructions is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

from graphopt.ir import Node
from graphopt.ops import Conv, ConvInteger
from graphopt.ops.macs import macs_of
from graphopt.targets.gathering import Lowering
from graphopt.targets.kernels import ScratchForm, choose_kernel
from graphopt.targets.kernels.base import scratch_bytes
from graphopt.targets.plan import Lifetime, Overlap, rounded_up, step_bytes
from graphopt.targets.rows import Layer, Stream, row_bytes
from graphopt.targets.target import Target

HEIGHTS = tuple(Fraction(2) ** power for power in (4, 3, 2, 1, 0, -1, -2, -3))
"""Rows that the last layer of a stream may make in a turn."""
MOST_LAYERS = 10
"""Of a stream."""
FREE = 0.01
"""The part of all instructions that going by rows may add unasked."""
LESS_SCRATCH = (0.02, 0.03)
"""The parts that less scratch alone may add unasked, where at least such a part of the bytes is saved."""
GRAIN = 16
"""Bytes to which the least bound is searched."""

CALL = 60
"""Instructions of a call, with what its kernel does before its loops."""
MOVED = 0.75
"""Instructions for a byte that is moved."""
CHANNEL = 150
"""Instructions by which a depthwise convolution begins a channel."""
COPIED = 3
"""Instructions for an element that it copies again."""
PER_MAC = {"mve": 0.2, "dsp": 1.0, "armv7-m": 2.0, "armv6-m": 4.0}
"""Instructions for a multiply-accumulate, by instruction set; of others 1, which is few."""


@dataclass(frozen=True)
class Part:
    """Some steps of a program, from ``first`` up to ``stop``: a layer, or a stream of several.

    ``nbytes`` are held while they run, ``instructions`` are those that going by rows adds, and less scratch: ``rooms``
    are the bytes that kernels get of it, where not all that they wish.
    """

    first: int
    stop: int
    nbytes: int
    instructions: int = 0
    stream: Stream | None = None
    rooms: tuple[tuple[Node, int], ...] = ()


class Choice:
    """The ways to cut the layers of a graph into streams; ``whole`` is its lowering without any."""

    def __init__(self, whole: Lowering) -> None:
        self.whole = whole
        self.layers = [whole.layer(node) for node in whole.computing]
        self.buffers, self.scratch = whole.lifetimes(), whole.scratch_lifetimes()
        lifetimes = [*self.buffers, *self.scratch]
        steps = step_bytes(lifetimes, self.sizes(lifetimes), whole.named_overlaps())
        self.steps = steps + [0] * (len(self.layers) - len(steps))
        self.known: dict[tuple[int, int, Fraction], tuple[Stream, list[int]]] = {}
        self.banded: dict[tuple[Node, int], tuple[ScratchForm, ...]] = {}

    def sizes(self, lifetimes: list[Lifetime]) -> dict[str, int]:
        return {b.name: rounded_up(b.size, self.whole.target.alignment) for b in lifetimes}

    @cached_property
    def total(self) -> float:
        """About the instructions of the whole program."""
        return sum(map(macs_of, self.whole.computing)) * per_mac(self.whole.target)

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """The steps, from the first up to a last one, that may be streams: no other step reads what is between."""
        found, count = list[tuple[int, int]](), len(self.layers)
        outputs = set(self.whole.graph.outputs)
        for first in range(count):
            inside = set[Node]()
            most = MOST_LAYERS + (self.whole.taking is not None and first == 0)
            for stop in range(first + 1, min(first + most, count) + 1):
                layer = self.layers[stop - 1]
                if layer is None:
                    break
                inside.add(layer.region.node)
                between = [inner.result for inner in self.layers[first : stop - 1] if inner is not None]
                uses = self.whole.graph.uses
                if stop - first > 1 and all(v not in outputs and inside.issuperset(uses[v]) for v in between):
                    found.append((first, stop))
                if layer.collects:  # nothing of its result is there before the end
                    break
        return found

    def floor(self, first: int, stop: int) -> int:
        """Bytes that a stream surely holds: its operands or its result, and of what is between a row each."""
        layers = [layer for layer in self.layers[first:stop] if layer is not None]
        made = {layer.result for layer in layers}
        held = {self.whole.held(v) for layer in layers for v in layer.region.operands if v not in made}
        operands = sum(v.type.nbytes for v in held if self.whole.in_arena(v))
        result = layers[-1].result.type.nbytes if self.whole.in_arena(layers[-1].result) else 0
        return max(operands, result) + sum(row_bytes(layer.result) for layer in layers[:-1])

    def streamed(self, first: int, stop: int, rows: Fraction, bound: int) -> Part | None:
        """Layers as a stream, if it holds no more than so many bytes."""
        if (first, stop, rows) not in self.known:
            stream = Stream(tuple(layer for layer in self.layers[first:stop] if layer is not None), rows)
            self.known[first, stop, rows] = stream, self.held(first, stream)
        stream, held = self.known[first, stop, rows]
        most, instructions, rooms = 0, added(stream, self.whole.target), list[tuple[Node, int]]()
        for place, nbytes in enumerate(held):
            wished = self.wished(first + place)
            form = ScratchForm(wished, 0)
            if nbytes + wished > bound:
                found = small_enough(self.forms_of_rows(stream, place), bound - nbytes)
                if found is None:
                    return None
                form = found
                rooms.append((stream.layers[place].region.node, form.nbytes))
            most, instructions = max(most, nbytes + form.nbytes), instructions + form.slower
        return Part(first, stop, most, instructions, stream, tuple(rooms))

    def forms_of_rows(self, stream: Stream, place: int) -> tuple[ScratchForm, ...]:
        """The forms of the kernel of the most rows of a layer in a turn, and what they add in all turns."""
        layer = stream.layers[place]
        made = [turn.made[place] for turn in stream.turns if turn.made[place]]
        rows = max(made, key=len)
        key = layer.region.node, len(rows)
        if key not in self.banded:
            task, _ = self.whole.banded(layer, rows)
            rule = self.whole.rules.get(self.whole.graph.names[layer.region.node], "")
            kernel = choose_kernel(task, rule).result if task.region.anchor else None
            needed = scratch_bytes(kernel.scratch, self.whole.target.alignment) if kernel else 0
            self.banded[key] = kernel.forms if kernel and kernel.forms else (ScratchForm(needed, 0),)
        return tuple(replace(form, slower=form.slower * len(made)) for form in self.banded[key])

    def wished(self, step: int) -> int:
        """The scratch of the kernel of a layer that gets what it wishes."""
        scratch = [b for b in self.scratch if b.first == step]
        return sum(self.sizes(scratch).values())

    def single(self, step: int, bound: int) -> Part | None:
        """A layer by itself, with less scratch if need be, if it holds no more than so many bytes."""
        nbytes = self.steps[step]
        if nbytes <= bound:
            return Part(step, step + 1, nbytes)
        node, rest = self.whole.computing[step], nbytes - self.wished(step)
        form = small_enough(self.whole.forms.get(node, ()), bound - rest)
        if form is None:
            return None
        return Part(step, step + 1, rest + form.nbytes, form.slower, rooms=((node, form.nbytes),))

    def held(self, first: int, stream: Stream) -> list[int]:
        """The bytes of each step of a stream, beside scratch."""
        whole, names, last = self.whole, self.whole.graph.names, len(stream.layers) - 1
        buffers: dict[str, Lifetime] = {}
        for layer in stream.layers:
            for value in layer.region.operands:
                held = whole.held(value)
                if value not in stream.places and whole.in_arena(held):
                    buffers[names[held.node]] = Lifetime(names[held.node], held.type.nbytes, 0, last)
        gone = {names[layer.result.node] for layer in stream.layers}
        for b in self.buffers:
            if b.first <= first + last and first <= b.last and b.name not in gone:
                buffers[b.name] = Lifetime(b.name, b.size, 0, last)
        for place, layer in enumerate(stream.layers):
            name, size = names[layer.result.node], stream.held[place] * row_bytes(layer.result)
            reader = max(
                (i for i, other in enumerate(stream.layers) if layer.result in other.region.operands), default=0
            )
            if whole.in_arena(layer.result):
                buffers[name] = Lifetime(name, size, *((0, last) if stream.kept(place) else (place, reader)))
        sums = [
            Lifetime(f"{names[layer.region.node]} sums", layer.sums.nbytes, 0, last)
            for layer in stream.layers
            if layer.sums is not None
        ]
        result = names[stream.layers[-1].result.node]
        overlaps = {(names[v.node], result): Overlap(gap) for v, gap in whole.gaps(stream).items()}
        lifetimes = [*buffers.values(), *sums]
        return step_bytes(lifetimes, self.sizes(lifetimes), overlaps)

    def cheapest(self, bound: int) -> list[Part] | None:
        """The parts that hold no more than so many bytes and add the fewest instructions; None if there are none."""
        best: list[tuple[int, int, list[Part]] | None] = [(0, 0, [])]
        for stop in range(1, len(self.layers) + 1):
            found = []
            for part in self.parts_to(stop, bound):
                before = best[part.first]
                if before is not None:
                    found.append((before[0] + part.instructions, before[1] + bool(part.stream), [*before[2], part]))
            best.append(min(found, key=lambda one: one[:2], default=None))
        last = best[-1]
        return last and last[2]

    def parts_to(self, stop: int, bound: int) -> Iterator[Part]:
        """The parts up to a step that hold no more than so many bytes; of a stream with the rows that add the least."""
        pushed = self.whole.pushed is not None
        alone = self.single(stop - 1, bound)
        yield from [alone] if alone and not (pushed and stop == 1) else []
        for first in (first for first, end in self.spans if end == stop):
            worth = max(self.steps[first:stop]) > bound or (pushed and first == 0)
            if worth and self.floor(first, stop) <= bound:
                yield from sorted(self.fitting(first, stop, bound), key=lambda part: part.instructions)[:1]

    def fitting(self, first: int, stop: int, bound: int) -> Iterator[Part]:
        """Layers as streams of ever fewer rows, up to one that needs no less scratch: fewer rows add more than that."""
        for rows in HEIGHTS:
            part = self.streamed(first, stop, rows, bound)
            yield from [part] if part else []
            if part and not part.rooms:
                break

    def frugal(self) -> list[Part]:
        """The parts that hold the fewest bytes for few instructions.

        By rows goes what adds ``FREE`` of them. Less scratch in single layers may add some more, if it saves at least
        such a part of the bytes as it adds of the instructions.
        """
        best = self.least(FREE * self.total)
        for more in LESS_SCRATCH:
            parts = self.least(FREE * self.total, more * self.total)
            added = (added_by(parts) - added_by(best)) / max(1.0, self.total)
            if held_by(parts) <= held_by(best) * (1 - added):
                best = parts
        return best

    def least(self, instructions: float, of_single: float = 0.0) -> list[Part]:
        """The parts that hold the fewest bytes of those that add no more than so many instructions to the fewest.

        Where that is more, all may add as many as those of single layers.
        """
        low, high = 0, 2 * max(self.steps, default=0)
        best = self.cheapest(high) or []
        fewest, fewest_by_rows = added_by(best), added_by(by_rows(best))
        while high - low > GRAIN:
            bound = (low + high) // 2
            parts = self.cheapest(bound)
            few = parts is not None and (
                added_by(parts) <= fewest + max(instructions, of_single)
                and added_by(by_rows(parts)) <= fewest_by_rows + instructions
            )
            if parts is not None and few:
                best, high = parts, held_by(parts)
            else:
                low = bound
        return best


def small_enough(forms: Sequence[ScratchForm], nbytes: int) -> ScratchForm | None:
    """The fastest form of so little scratch."""
    return next((form for form in forms if form.nbytes <= nbytes), None)


def by_rows(parts: Sequence[Part]) -> list[Part]:
    return [part for part in parts if part.stream is not None]


def added_by(parts: Sequence[Part]) -> int:
    return sum(part.instructions for part in parts)


def held_by(parts: Sequence[Part]) -> int:
    return max((part.nbytes for part in parts), default=0)


def per_mac(target: Target) -> float:
    return next((PER_MAC[one] for one in target.isa if one in PER_MAC), 1.0)


def added(stream: Stream, target: Target) -> int:
    """About the instructions that a stream adds to those of its layers one after the other."""
    calls = moved = 0
    again = 0.0
    for place, layer in enumerate(stream.layers):
        made = [turn.made[place] for turn in stream.turns if turn.made[place]]
        calls += len(made) - 1
        if place < len(stream.layers) - 1:
            held = [turn.made[place].start - turn.first[place] for turn in stream.turns[1:]]
            calls += sum(rows > 0 for rows in held)
            moved += sum(held) * row_bytes(layer.result)
        again += restarts(layer, made)
    return int(CALL * calls + MOVED * moved + again)


def restarts(layer: Layer, made: list[range]) -> float:
    """The instructions by which a depthwise convolution begins channels anew, and copies rows again."""
    anchor = layer.region.anchor
    if anchor is None or not isinstance(anchor.op, Conv | ConvInteger) or anchor.op.group == 1:
        return 0
    x = layer.region.source
    assert x is not None
    rows = sum(len(layer.needed(x, rows)) for rows in made) - x.type.static_shape[2]
    channels = x.type.static_shape[1]
    return CHANNEL * channels * (len(made) - 1) + COPIED * rows * (x.type.nbytes // x.type.static_shape[2])
