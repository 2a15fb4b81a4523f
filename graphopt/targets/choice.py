"""Which of its candidates each layer gets: the meaning of ``optimize=``, as integer programs.

- "size": the fewest bytes of flash, for at most 1.4 times the instructions of "balanced";
- "balanced": the fewest cycles of the proxy, for at most a quarter more flash than "size", or 4 KB more;
- "speed": the fewest cycles of the proxy.

All under the ``ram`` and the ``flash`` of the target. Cycles of a layer that differ by less than the model can tell
count as equal: "balanced" then takes the rule that is usual, "speed" the kernel of fewer instructions, and of as many
the usual one. A kernel of another kind than the usual counts with what it may take more than the model says: kernels
of one kind are off alike.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from graphopt.ir import Array
from graphopt.targets.candidates import Candidate, candidates_of
from graphopt.targets.costs import Known, costs_of
from graphopt.targets.gathering import Lowering
from graphopt.targets.plan import rounded_up, step_bytes

SLOWER = 1.4
"""Instructions of "size", in those of "balanced"."""
LARGER, SPARE = 1.25, 4096
"""Bytes of flash of "balanced", in those of "size", and so many more at least: routines are large for a small net."""
ALIKE = 0.03
"""Cycles of one layer that differ by less are equal."""
ROUNDS = 8
"""Each of "size" and "balanced" is bounded by the other; in practice two rounds are enough."""
TIE = 1e-3
"""What breaks ties of cycles, in parts of them: a tenth of what is told apart."""
CYCLES_FOR_BYTES = 1e-7
"""What breaks ties of bytes, for each cycle."""


def flash_of_balanced(size: float) -> float:
    """The bytes that "balanced" may take, by those of "size"."""
    return max(LARGER * size, size + SPARE)


@dataclass(frozen=True)
class KernelChoice:
    """The candidates of each layer by its name, and the place of the chosen one among them."""

    candidates: Mapping[str, tuple[Candidate, ...]] = field(default_factory=dict)
    places: tuple[int, ...] = ()

    @property
    def noted(self) -> dict[str, tuple[int, tuple[Candidate, ...]]]:
        """As ``Lowered`` has them."""
        layers = zip(self.candidates.items(), self.places, strict=True)
        return {name: (place, candidates) for (name, candidates), place in layers}

    @property
    def rules(self) -> dict[str, str]:
        """The rules of layers that get another one than the usual."""
        layers = zip(self.candidates.items(), self.places, strict=True)
        return {name: candidates[place].rule for (name, candidates), place in layers if place}


def chosen_kernels(lowering: Lowering, ram: int | None, tight: Collection[str] = ()) -> KernelChoice:
    """The kernels of a program whose layers were lowered in the usual way; none where the costs are not known.

    Layers that are ``tight``, by name, get none of more scratch than the usual one has.
    """
    known = costs_of(lowering.target)
    if known is None or not lowering.tasks:
        return KernelChoice()
    candidates = {name: candidates_of(task, known) for name, task in lowering.tasks.items()}
    fitting = within_ram(lowering, candidates, ram)
    for name in tight:
        fitting[name] = [one for one in fitting[name] if one.scratch <= candidates[name][0].scratch] or fitting[name]
    picked = Layers(list(fitting.values()), flash_left(lowering, known)).choose(lowering.target.optimize)
    taken = [fitting[name][place] for name, place in zip(fitting, picked, strict=True)]
    places = (found.index(one) for found, one in zip(candidates.values(), taken, strict=True))
    return KernelChoice({name: tuple(found) for name, found in candidates.items()}, tuple(places))


def within_ram(
    lowering: Lowering, candidates: Mapping[str, list[Candidate]], ram: int | None
) -> dict[str, list[Candidate]]:
    """The candidates whose scratch the RAM has room for, beside what else is alive; or of the least."""
    if ram is None:
        return dict(candidates)
    buffers = lowering.lifetimes()
    sizes = {b.name: rounded_up(b.size, lowering.target.alignment) for b in buffers}
    overlaps = {pair: overlap for pair, overlap in lowering.named_overlaps().items() if sizes.keys() >= set(pair)}
    alive = dict(enumerate(step_bytes(buffers, sizes, overlaps)))
    steps = {call.node: call.step for call in lowering.calls}
    found = {}
    for name, layer in candidates.items():
        least = min(one.scratch for one in layer)
        found[name] = [one for one in layer if one.scratch <= max(least, ram - alive.get(steps[name], 0))]
    return found


def flash_left(lowering: Lowering, known: Known) -> float | None:
    """The bytes of flash that the kernels may take."""
    flash = lowering.target.flash
    driver = known.costs.driver
    calls = driver.get("function", 0) + len(lowering.calls) * (driver.get("call", 0) + 4 * driver.get("argument", 0))
    return None if flash is None else flash - calls


def surely(layer: Sequence[Candidate], figure: str) -> list[float]:
    """The cycles or instructions of candidates, with what the model may be off where they are not of the usual kind."""
    doubts = (0.0 if one.kind == layer[0].kind else one.doubt or 0.0 for one in layer)
    return [(1 + doubt) * getattr(one, figure) for one, doubt in zip(layer, doubts, strict=True)]


def alike(layers: Sequence[Sequence[float]]) -> Array:
    """What the candidates of layers take; what is as good as the least of its layer counts as this."""
    found = []
    for layer in layers:
        least = min(layer)
        found += [least if amount <= least * (1 + ALIKE) else amount for amount in layer]
    return np.array(found)


class Layers:
    """The layers of a program, each with its candidates, and the bytes of flash that they may take in all."""

    def __init__(self, layers: Sequence[Sequence[Candidate]], flash: float | None = None) -> None:
        self.layers, self.flash = layers, flash
        self.all = [one for layer in layers for one in layer]
        self.parts = sorted({part for one in self.all for part in one.parts})

    def choose(self, optimize: str) -> list[int]:
        """The place of the candidate of each layer."""
        if optimize == "speed":
            return self.solved(self.cycles * (1 + TIE**2 * self.order) + TIE * self.instructions)
        size = self.smallest()
        for _ in range(ROUNDS):
            balanced = self.solved(self.cycles * (1 + TIE * self.order), flash=flash_of_balanced(self.bytes_of(size)))
            smaller = self.smallest(SLOWER * self.instructions_of(balanced))
            if smaller == size:
                break
            size = smaller
        return size if optimize == "size" else balanced

    def smallest(self, instructions: float | None = None) -> list[int]:
        cycles = np.array([one.cycles for one in self.all])
        return self.solved(CYCLES_FOR_BYTES * cycles, flash_price=1.0, instructions=instructions)

    @cached_property
    def cycles(self) -> Array:
        return alike([surely(layer, "cycles") for layer in self.layers])

    @cached_property
    def instructions(self) -> Array:
        return alike([surely(layer, "instructions") for layer in self.layers])

    @cached_property
    def order(self) -> Array:
        return np.array([place for layer in self.layers for place in range(len(layer))], float)

    @cached_property
    def nbytes(self) -> Array:
        sizes = {part: size for one in self.all for part, size in one.parts.items()}
        return np.array([sizes[part] for part in self.parts])

    def bytes_of(self, places: Sequence[int]) -> float:
        parts = {p: n for layer, at in zip(self.layers, places, strict=True) for p, n in layer[at].parts.items()}
        return sum(parts.values())

    def instructions_of(self, places: Sequence[int]) -> float:
        return sum(layer[at].instructions for layer, at in zip(self.layers, places, strict=True))

    @cached_property
    def constraints(self) -> list[LinearConstraint]:
        """One candidate of each layer, and all parts of each that is taken."""
        count, columns = len(self.all), len(self.all) + len(self.parts)
        one_each = sparse.lil_array((len(self.layers), columns))
        first = 0
        for row, layer in enumerate(self.layers):
            one_each[row, first : first + len(layer)] = 1
            first += len(layer)
        place = {part: count + i for i, part in enumerate(self.parts)}
        needs = [(at, place[part]) for at, one in enumerate(self.all) for part in one.parts]
        needed = sparse.lil_array((len(needs), columns))
        for row, (at, part) in enumerate(needs):
            needed[row, part], needed[row, at] = 1, -1
        return [LinearConstraint(one_each.tocsr(), 1, 1), LinearConstraint(needed.tocsr(), 0, np.inf)]

    def solved(
        self,
        prices: Array,
        flash_price: float = 0.0,
        flash: float | None = None,
        instructions: float | None = None,
    ) -> list[int]:
        """The places of the candidates of the lowest price in all, within bounds on flash and instructions.

        If the flash of the target has no room for any, it sets no bound: a later check refuses the program.
        """
        of_parts, nothing = np.zeros(len(self.parts)), np.zeros(len(self.all))
        bounds = []
        if instructions is not None:
            took = np.array([amount for layer in self.layers for amount in surely(layer, "instructions")])
            bounds.append(LinearConstraint(np.concatenate([took, of_parts]), -np.inf, instructions))
        limits = [limit for limit in (flash, self.flash) if limit is not None]
        held = [LinearConstraint(np.concatenate([nothing, self.nbytes]), -np.inf, min(limits))] if limits else []
        price = np.concatenate([prices, flash_price * self.nbytes])
        for wanted in ([*bounds, *held], bounds):
            # parts need not be asked to be whole: those of what is taken are 1, others cost nothing to be 0
            found = milp(
                price,
                integrality=np.concatenate([nothing + 1, of_parts]),
                bounds=Bounds(0, 1),
                constraints=[*self.constraints, *wanted],
                options={"mip_rel_gap": 0.0},
            )
            if found.x is not None:
                break
        assert found.x is not None, found.message
        taken, places, first = found.x[: len(self.all)], [], 0
        for layer in self.layers:
            places.append(int(np.argmax(taken[first : first + len(layer)])))
            first += len(layer)
        return places
