"""Calls of kernels: before their buffers have places, with them, and gathered in loops where they repeat."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from graphopt.ir import Array, Value
from graphopt.targets.candidates import Candidate
from graphopt.targets.debug import Chosen
from graphopt.targets.kernels import Built
from graphopt.targets.plan import Plan
from graphopt.targets.ports import PlacedPort


@dataclass(frozen=True)
class Piece:
    """What a call reads or writes of a value: from ``start`` bytes on in its buffer, from ``first`` on in the value.

    What is no value of the graph has a name.
    """

    value: Value | str
    start: int = 0
    first: int = 0


@dataclass(frozen=True)
class UnplacedCall:
    """A call of a kernel before the arena is planned: its arguments are pieces of values, or indices of constants.

    ``node`` names what it computes, ``text`` its operators, ``how`` its choice. ``scratch`` are the names and bytes of
    what it needs beside these, for itself. ``step`` is when it runs, ``turn`` which turn of which stream it is in,
    ``takes``, ``products`` and ``moved_bytes`` are as ``KernelCall`` has them.
    """

    kernel: str
    arguments: tuple[Piece | int, ...]
    scratch: tuple[tuple[str, int], ...]
    result: Piece
    node: str
    text: str
    how: Chosen
    macs: int
    step: int
    turn: tuple[int, int] | None = None
    takes: bool = False
    products: str = ""
    moved_bytes: int = 0

    @property
    def values(self) -> tuple[Value, ...]:
        """The result and the arguments that are no constants of the kernel."""
        pieces = (self.result, *(a for a in self.arguments if isinstance(a, Piece)))
        return tuple(piece.value for piece in pieces if isinstance(piece.value, Value))


@dataclass(frozen=True)
class BufferPlace:
    """Where an argument of a call is: ``kind`` is input, output, constant or arena; ``index`` counts within it.

    For the arena, ``index`` is the offset in bytes; in others the argument begins at ``offset``. In a loop it is
    ``step`` bytes further on in each turn.
    """

    kind: str
    index: int
    offset: int = 0
    step: int = 0

    def moved(self, by: int) -> BufferPlace:
        """The place so many bytes further on."""
        return replace(self, index=self.index + by) if self.kind == "arena" else replace(self, offset=self.offset + by)


@dataclass(frozen=True)
class KernelCall:
    """One kernel run; ``node`` is the name of what it computes, ``text`` its operators in words, ``how`` its choice.

    ``macs`` are its multiply-accumulates, ``weight_bytes`` those of the constants that it reads, which others may read
    too, ``live_bytes`` those of the arena that hold something while it runs. One that ``takes`` has a row of an input
    that is pushed. ``products`` is the dtype of the factors of its multiply-accumulates, ``moved_bytes`` are those of
    all that it reads and writes, each once; moves of rows that are held have neither.
    """

    kernel: str
    arguments: tuple[BufferPlace, ...]
    node: str
    text: str
    how: Chosen
    macs: int
    weight_bytes: int
    live_bytes: int
    takes: bool = False
    products: str = ""
    moved_bytes: int = 0


@dataclass(frozen=True)
class Loop:
    """Calls that follow one another, and that so often."""

    turns: int
    calls: tuple[KernelCall, ...]


@dataclass(frozen=True)
class StreamNote:
    """The layers, from ``first`` to ``last``, that go by rows: how many the last one makes in a turn.

    ``instructions`` is about what they take more than one after the other.
    """

    first: str
    last: str
    rows: str
    instructions: int


@dataclass(frozen=True)
class Predicted:
    """What a program is expected to cost: instructions and cycles of the proxy in one run, and bytes of code."""

    instructions: int
    cycles: int
    code_bytes: int


@dataclass(frozen=True)
class Lowered:
    """All that code generation needs. ``kernels`` has each distinct function once.

    If rows are ``pushed``, that is the place of their number in the workspace.
    ``candidates`` has, by the name of a node, the kernels among which its own was chosen, and the place of that;
    ``predicted`` is None where the costs of the target are not known.
    """

    inputs: tuple[PlacedPort, ...]
    outputs: tuple[PlacedPort, ...]
    kernels: dict[str, Built]
    loops: tuple[Loop, ...]
    constants: tuple[tuple[str, Array], ...]
    plan: Plan
    streams: tuple[StreamNote, ...] = ()
    pushed: int | None = None
    candidates: Mapping[str, tuple[int, tuple[Candidate, ...]]] = field(default_factory=dict)
    predicted: Predicted | None = None

    @property
    def calls(self) -> tuple[KernelCall, ...]:
        """Each call, in order; those of a loop once."""
        return tuple(call for loop in self.loops for call in loop.calls)

    @property
    def constant_bytes(self) -> int:
        return sum(data.nbytes for _, data in self.constants)


def looped(calls: Iterable[tuple[tuple[int, int] | None, KernelCall]]) -> tuple[Loop, ...]:
    """Calls, each with the turn that it is in, as loops over turns that differ in where their arguments are."""
    loops, before = list[Loop](), None
    for turn, group in groupby(calls, lambda pair: pair[0]):
        made = tuple(call for _, call in group)
        longer = joined(loops[-1], made) if turn and before and turn[0] == before[0] else None
        if longer is not None:
            loops[-1] = longer
        else:
            loops += [Loop(1, made)] if turn else [Loop(1, (call,)) for call in made]
        before = turn
    return tuple(loops)


def joined(loop: Loop, calls: Sequence[KernelCall]) -> Loop | None:
    """A loop with one more turn; None if the calls are others, or do not go on as its turns do."""
    if len(calls) != len(loop.calls):
        return None
    stepped = []
    for old, new in zip(loop.calls, calls, strict=True):
        places = [
            replace(a, step=distance(a, b) // loop.turns) for a, b in zip(old.arguments, new.arguments, strict=False)
        ]
        call = replace(old, arguments=tuple(places))
        if at(call, loop.turns) != new or (loop.turns > 1 and call != old):
            return None
        stepped.append(call)
    return Loop(loop.turns + 1, tuple(stepped))


def at(call: KernelCall, turn: int) -> KernelCall:
    """A call of a loop as it is in one turn."""
    return replace(call, arguments=tuple(replace(a.moved(turn * a.step), step=0) for a in call.arguments))


def distance(a: BufferPlace, b: BufferPlace) -> int:
    return b.index - a.index if a.kind == "arena" else b.offset - a.offset
