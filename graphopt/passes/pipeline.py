"""Pipelines: passes in a row; the graph is verified after each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from graphopt.ir import Graph, verify
from graphopt.passes import debug
from graphopt.passes.base import Context, Pass
from graphopt.passes.contract import Bounded, Inputs, check_contract
from graphopt.passes.data import batches
from graphopt.passes.step import Step
from graphopt.passes.text import as_passes


@dataclass(frozen=True)
class Pipeline:
    """Runs passes in order; a type error in a result is raised at once, with the pass's name.

    A pass may also be given as its class, or as text: ``"fuse"`` or ``"quantize{weights=int4}"``.

    ``check`` also checks the contract of every pass, on random inputs and on the given ``samples``. A ``Bounded`` pass
    is checked only on the samples, or else on calibration data.
    With the variable ``GRAPHOPT_DEBUG`` it reports each pass on stderr (see ``debug``).
    """

    passes: str | Sequence[Pass | type[Pass] | str]
    check: bool = False
    samples: Sequence[Inputs] = ()

    @property
    def order(self) -> tuple[Pass, ...]:
        """The passes that run, one after the other."""
        return as_passes(self.passes)

    def __post_init__(self) -> None:
        as_passes(self.passes)  # report a wrong pass here, not at the first graph

    def __call__(
        self, graph: Graph, context: Context | None = None, on_step: Callable[[Step], None] | None = None
    ) -> Graph:
        """The transformed graph; ``context`` collects notes, ``on_step`` is called after each pass."""
        context = context or Context()
        verify(graph)
        for pass_ in self.order:
            started, told = time.perf_counter(), len(context.notes)
            after = pass_(graph, context)
            if self.check:
                self.hold(pass_, graph, context)
            step = Step(pass_, graph, after, time.perf_counter() - started)
            debug.tell(step, context.notes[told:])
            if on_step:
                on_step(step)
            graph = after
        return graph

    def hold(self, pass_: Pass, graph: Graph, context: Context) -> None:
        """Check the contract of a pass; a ``Bounded`` one is measured on the first batch of calibration data."""
        if not isinstance(pass_.contract, Bounded):
            check_contract(pass_, graph, pass_.contract, pass_.name, self.samples)
            return
        samples = self.samples
        if not samples and context.calibration is not None:
            samples = [next(batches(context.calibration, graph))]
        again = replace(context, notes=[])
        check_contract(lambda g: pass_(g, again), graph, pass_.contract, pass_.name, samples)
