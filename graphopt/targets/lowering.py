"""From a bound graph to a program: kernels, the calls that run them, constants, and an arena plan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from graphopt.errors import BudgetExceeded, Unsupported
from graphopt.ir import Graph, verify
from graphopt.targets.absorb import absorb_moves
from graphopt.targets.calls import Lowered, StreamNote
from graphopt.targets.choice import chosen_kernels
from graphopt.targets.costs import costs_of
from graphopt.targets.gathering import Lowering, copy_outputs, lowered_operators
from graphopt.targets.ports import AS_THEY_ARE, PortOptions
from graphopt.targets.predict import predicted
from graphopt.targets.region import is_elementwise, lowerable
from graphopt.targets.stepwise import stepwise
from graphopt.targets.streams import FREE, GRAIN, Choice, Part
from graphopt.targets.target import Target


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
    whole = Lowering(graph, target, options)
    lowered = whole.run()
    if target.codegen == "c":
        choice = chosen_kernels(whole)
        if choice.rules:
            whole = Lowering(graph, target, options, rules=choice.rules)
            lowered = whole.run()
        lowered = replace(by_rows(whole, lowered), candidates=choice.noted)
        known = costs_of(target)
        lowered = lowered if known is None else replace(lowered, predicted=predicted(lowered, known))
    check_budget(lowered, target)
    return lowered


def by_rows(whole: Lowering, lowered: Lowered) -> Lowered:
    """The program with streams: where they save memory for few instructions, and wherever it else exceeds the RAM.

    They are more code, so where the fewest bytes are wanted, only what exceeds the RAM goes by rows.

    What the buffers of a cut really need is known once they have places. If it is too much, the next cut needs less.
    """
    choice, ram = Choice(whole), whole.target.ram
    best, parts = lowered, [] if whole.target.optimize == "size" else choice.least(FREE * choice.total)
    if any(part.stream for part in parts):
        best = least_of(lowered, with_streams(whole, parts))
    bound = ram or 0
    while ram is not None and best.plan.size > ram:
        fitting = choice.cheapest(bound)
        made = with_streams(whole, fitting or choice.least(math.inf))
        best = least_of(best, made)
        bound -= max(GRAIN, made.plan.size - ram)
        if fitting is None:
            break
    return best


def with_streams(whole: Lowering, parts: Sequence[Part]) -> Lowered:
    streams = [part.stream for part in parts if part.stream is not None]
    made = Lowering(whole.graph, whole.target, whole.options, streams, whole.rules).run()
    notes = []
    for part in parts:
        if part.stream is not None:
            first, last = (whole.graph.names[part.stream.layers[end].region.node] for end in (0, -1))
            notes.append(StreamNote(first, last, str(part.stream.rows), part.instructions))
    return replace(made, streams=tuple(notes))


def least_of(*programs: Lowered) -> Lowered:
    return min(programs, key=lambda one: one.plan.size)


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
