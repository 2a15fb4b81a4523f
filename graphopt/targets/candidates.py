"""The kernels that each layer could have, and what each would cost: by a model, without compiling one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from graphopt.errors import Unsupported
from graphopt.ir import Array, Op
from graphopt.targets.costs import Known
from graphopt.targets.kernels.base import Kernel, Task, every_kernel
from graphopt.targets.kernels.built import build
from graphopt.targets.kernels.elementwise import elementwise_kernel
from graphopt.targets.lookup import RuleChoice


@dataclass(frozen=True)
class Candidate:
    """A kernel that a layer could have, and the rule that makes it.

    One run takes so many ``instructions``, and ``cycles`` of the proxy. ``parts`` are the bytes of flash that it needs,
    by what they are: its code, routines, constants. Other layers that need the same part share it. ``scratch`` are the
    bytes of RAM that it needs for itself. ``doubt`` is by how much cycles of its ``kind`` of kernel may be off; None if
    it calls a routine in assembly that was never measured.
    """

    rule: str
    instructions: float
    cycles: float
    scratch: int
    parts: Mapping[str, float] = field(default_factory=dict)
    kind: str = ""
    doubt: float | None = 0.0

    @property
    def flash(self) -> float:
        """The bytes of flash, if no other layer shares any."""
        return sum(self.parts.values())


def candidates_of(task: Task[Op], known: Known) -> list[Candidate]:
    """The kernels of a task, the usual one first, none twice, and others only where all that they call was measured."""
    found: dict[frozenset[str], Candidate] = {}
    for choice in kernels_of(task):
        try:
            candidate = candidate_of(task, choice, known)
        except Unsupported:  # of its epilogue, as it would be written there
            continue
        found.setdefault(frozenset(candidate.parts), candidate)
    usual, *others = found.values()
    return [usual, *(one for one in others if None not in (usual.doubt, one.doubt))]


def kernels_of(task: Task[Op]) -> Iterator[RuleChoice[Kernel]]:
    if task.region.anchor is None:
        yield elementwise_kernel(task)
    else:
        yield from every_kernel(task)


def candidate_of(task: Task[Op], choice: RuleChoice[Kernel], known: Known) -> Candidate:
    """What the kernel of a rule costs."""
    kernel = choice.result
    assert kernel is not None
    built = build(task, kernel)
    work = built.work
    instructions, cycles = known.run(work)
    parts = {f"function {digest(built.key.encode())}": known.code(work)}
    parts |= {f"routine {name}": known.routine(name) for name in known.routines([work])}
    parts |= {f"constant {digest_of(data)}": float(data.nbytes) for _, data in built.constants}
    scratch = sum(one.nbytes for one in kernel.scratch.values())
    return Candidate(choice.rule, instructions, cycles, scratch, parts, work.kind, known.doubt(work))


def digest_of(data: Array) -> str:
    return digest(f"{data.dtype}{data.shape}".encode() + data.tobytes())


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
