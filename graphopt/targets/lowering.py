"""From a bound graph to a program: kernels, the calls that run them, constants, and an arena plan."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import chain

from graphopt.errors import BudgetExceeded, Unsupported
from graphopt.ir import Graph, Value, verify
from graphopt.targets.absorb import absorb_moves
from graphopt.targets.absorb_bytes import absorb_bytes
from graphopt.targets.cache_rows import for_caches
from graphopt.targets.calls import Lowered, StreamNote
from graphopt.targets.choice import chosen_kernels
from graphopt.targets.costs import costs_of
from graphopt.targets.gathering import Lowering
from graphopt.targets.join_attention import join_attention
from graphopt.targets.joined_rows import join_rows
from graphopt.targets.mixing import mix_axes
from graphopt.targets.parts import Parts, regrouped
from graphopt.targets.patches import patches_as_rows
from graphopt.targets.plan import Lifetime
from graphopt.targets.port_order import reorder_ports
from graphopt.targets.ports import AS_THEY_ARE, PortOptions
from graphopt.targets.predict import predicted
from graphopt.targets.prepared import copy_outputs, dense_layouts, lowered_operators, with_taking
from graphopt.targets.rearrange import join_moves
from graphopt.targets.region import is_elementwise, lowerable
from graphopt.targets.rows import by_rows
from graphopt.targets.split_depth import split_depth
from graphopt.targets.stepwise import stepwise
from graphopt.targets.streams import GRAIN, Choice, Part
from graphopt.targets.tails import tails_apart
from graphopt.targets.target import Target
from graphopt.targets.turn_planes import turn_planes


def lower(graph: Graph, target: Target, options: PortOptions = AS_THEY_ARE, ram: int | None = None) -> Lowered:
    """Lower a bound graph for a target; ``ram`` takes the place of the bytes that the target has.

    Raises ``Unsupported`` naming every node without a lowering, and ``BudgetExceeded`` naming the
    layers that need the memory.
    """
    supported = lowered_operators()
    graph = copy_outputs(lowerable(graph, supported, keep=lambda node: is_elementwise(node, supported)))
    graph = reorder_ports(graph, options)
    if target.codegen == "c":
        graph = split_depth(stepwise(graph), target)
    else:
        graph = join_attention(patches_as_rows(graph), supported)
        graph = join_moves(mix_axes(absorb_moves(graph)))
        graph = join_rows(graph, dense_layouts(graph, options), supported)
        graph = turn_planes(graph, dense_layouts(graph, options))
    if options.pushed is not None:
        graph = pushing(graph, target, options.pushed)
    verify(graph)
    check_types(graph)
    if target.codegen == "c":
        lowered = of_bytes_for_c(graph, target, options, target.ram if ram is None else ram)
    else:
        lowered = for_llvm(regrouped(graph), target, options)
    check_budget(lowered, target, ram)
    return lowered


def for_llvm(graph: Graph, target: Target, options: PortOptions) -> Lowered:
    """A program with values within others, and what makes its workspace larger copied into its place.

    What is written early to where it is read late keeps a larger buffer from then on. So of each buffer that waits for
    more of its parts in the fullest step, the first part is copied instead, or else all are, as long as that helps.
    Then planes that are too large for caches go by rows.
    """
    best, apart = Lowering(graph, target, options), list[Value]()
    lowered = best.run()
    while waiting := waiting_parts(best, lowered.plan.peak):
        for values in (parts[:1] for parts in waiting), waiting, [best.parts.of]:
            tried = Lowering(graph, target, options, apart=[*apart, *chain(*values)])
            made = tried.run()
            if made.plan.size < lowered.plan.size:
                best, lowered, apart = tried, made, [*tried.apart]
                break
        else:
            break
    streams = for_caches(best)
    return least_of(lowered, with_streams(best, streams)) if streams else lowered


def waiting_parts(whole: Lowering, alive: Sequence[Lifetime]) -> list[list[Value]]:
    """Of each concatenation that waits for parts while some buffers are alive, its parts in the order of time."""
    known, step = {buffer.name for buffer in alive}, max((buffer.first for buffer in alive), default=0)
    steps, written = {node: i for i, node in enumerate(whole.computing)}, dict[Value, list[Value]]()
    for value, part in whole.parts.of.items():
        if part.whole.node in whole.parts.joined and whole.graph.names[whole.held(part.whole).node] in known:
            written.setdefault(part.whole, []).append(value)
    ordered = [sorted(values, key=lambda v: steps.get(v.node, -1)) for values in written.values()]
    return [values for values in ordered if steps.get(values[0].node, -1) < step <= steps.get(values[-1].node, -1)]


def of_bytes_for_c(graph: Graph, target: Target, options: PortOptions, ram: int | None) -> Lowered:
    """A program whose first layers read bytes as they are, unless RAM has no room for their kernels."""
    absorbed = absorb_bytes(graph, target, options)
    lowered = for_c(absorbed, target, options, ram)
    if absorbed is not graph and ram is not None and lowered.plan.size > ram:
        lowered = least_of(lowered, for_c(graph, target, options, ram))
    return lowered


def for_c(graph: Graph, target: Target, options: PortOptions, ram: int | None) -> Lowered:
    """A program whose poolings are kernels of their own, unless RAM has no room for that, or "size" is wanted."""
    apart = graph if target.optimize == "size" else tails_apart(graph, target)
    lowered = in_parts(apart, target, options, ram)
    if apart is not graph and ram is not None and lowered.plan.size > ram:
        lowered = least_of(lowered, in_parts(graph, target, options, ram))
    return lowered


def in_parts(graph: Graph, target: Target, options: PortOptions, ram: int | None) -> Lowered:
    """A program with values within others, unless copies take less memory.

    What is written early to where it is read late may take more.
    """
    whole = Lowering(regrouped(graph), target, options)
    lowered = by_choice(whole, ram)
    if whole.parts.of:
        copying = Lowering(graph, target, options, parts=Parts(dense_layouts(graph, options)))
        lowered = least_of(lowered, by_choice(copying, ram))
    return lowered


def by_choice(usual: Lowering, ram: int | None) -> Lowered:
    """The program by the kernels that the target chooses.

    If RAM has no room for that, even in rows, layers where it has none get no more scratch than is usual. Then scratch
    gets what is left beside whole planes, and then the least.
    """
    plain = usual.run()
    lowered = chosen_program(usual, plain, None, ram)
    if ram is None:
        return lowered
    tight, made = set[str](), lowered
    while lowered.plan.size > ram and not tight.issuperset(found := without_room(made)):
        tight |= found
        made = chosen_program(usual, plain, None, ram, tight)
        lowered = least_of(lowered, made)
    for room in (ram, 0):
        if lowered.plan.size > ram:
            lowered = least_of(lowered, chosen_program(usual, plain, room, ram))
    return lowered


def without_room(lowered: Lowered) -> set[str]:
    """Of the layers whose kernels were chosen for more scratch than is usual, those where the most is alive."""
    chosen = {name: (candidates[0], candidates[place]) for name, (place, candidates) in lowered.candidates.items()}
    larger = {name for name, (first, one) in chosen.items() if one.scratch > first.scratch}
    most = max((call.live_bytes for call in lowered.calls if call.node in larger), default=0)
    return {call.node for call in lowered.calls if call.node in larger and call.live_bytes == most}


def chosen_program(
    usual: Lowering, plain: Lowered, room: int | None, ram: int | None, tight: Collection[str] = ()
) -> Lowered:
    """The program by chosen kernels whose scratch has so much room, in rows where that pays, or RAM demands it.

    ``plain`` is what all layers give as usual, ``tight`` is as ``chosen_kernels`` has it.
    """
    whole, lowered = usual, plain
    choice = chosen_kernels(usual, room, tight)
    if choice.rules:
        whole = Lowering(usual.graph, usual.target, usual.options, parts=usual.parts, rules=choice.rules)
        lowered = whole.run()
    lowered = replace(in_rows(whole, lowered, ram), candidates=choice.noted)
    known = costs_of(usual.target)
    return lowered if known is None else replace(lowered, predicted=predicted(lowered, known))


def in_rows(whole: Lowering, lowered: Lowered, ram: int | None) -> Lowered:
    """The program with streams: where they save memory for few instructions, and wherever it else exceeds the RAM.

    They are more code, so where the fewest bytes are wanted, only what exceeds the RAM goes by rows.

    What the buffers of a cut really need is known once they have places. If it is too much, the next cut needs less.
    """
    choice = Choice(whole)
    few = whole.target.optimize == "size" and whole.taking is None
    best, parts = lowered, [] if few else choice.frugal()
    if whole.taking is not None:
        if not parts:
            raise not_by_rows(whole)
        best = with_streams(whole, parts)
    elif any(part.stream or part.rooms for part in parts):
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


def pushing(graph: Graph, target: Target, pushed: str) -> Graph:
    """The graph with a layer that takes the rows of its only input."""
    where = f"port {pushed}"
    if target.codegen != "c":
        advice = "compile for a microcontroller, or give the input as a whole"
        raise Unsupported(f"rows pushed into a library for {target.name}", where=where, advice=advice)
    if len(graph.inputs) > 1:
        others = ", ".join(name for name in (graph.names[v.node] for v in graph.inputs) if name != pushed)
        raise Unsupported("rows pushed into one of several inputs", where=where, why=f"there are also {others}")
    return with_taking(graph, pushed)


def not_by_rows(whole: Lowering) -> Unsupported:
    """Why no layer takes the rows of an input one by one."""
    assert whole.taking is not None and whole.pushed is not None
    graph, (taken,) = whole.graph, whole.taking.results
    where, what = f"port {graph.names[whole.pushed.node]}", "an input whose rows are pushed"
    if not by_rows(whole.layouts[whole.pushed]):
        advice = 'compile it for one sample, with its channels last: Port(layout="nhwc", push_rows=True)'
        return Unsupported(what, where=where, why=f"a row of {taken.type} is not one piece of memory", advice=advice)
    readers = graph.uses[taken]
    stuck = [node for node in readers if node not in whole.computing or whole.layer(node) is None] or readers
    names = ", ".join(f"{graph.names[node]} ({node.op.name})" for node in stuck)
    why = f"{names} cannot go by rows, or not with all that it reads"
    return Unsupported(what, where=where, why=why, advice="give the input as a whole")


def with_streams(whole: Lowering, parts: Sequence[Part]) -> Lowered:
    streams = [part.stream for part in parts if part.stream is not None]
    rooms = {node: nbytes for part in parts for node, nbytes in part.rooms}
    made = Lowering(whole.graph, whole.target, whole.options, streams, whole.parts, rooms, whole.rules).run()
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


def check_budget(lowered: Lowered, target: Target, ram: int | None) -> None:
    """Raise ``BudgetExceeded`` if the arena or the constants exceed the memories of the target, or what is asked."""
    larger = "prune or quantize these layers, or choose a bigger target"
    of_ram = (target.ram, f"{target.name} has", larger)
    if ram is not None:
        of_ram = (ram, "the budget ram= is", f"allow ram={lowered.plan.size}, or prune or quantize these layers")
    for memory, (budget, whose, advice), needed, parts in (
        ("RAM", of_ram, lowered.plan.size, [(b.size, b.name) for b in lowered.plan.peak]),
        (
            "flash",
            (target.flash, f"{target.name} has", larger),
            lowered.constant_bytes,
            [(d.nbytes, n) for n, d in lowered.constants],
        ),
    ):
        if budget is not None and needed > budget:
            worst = ", ".join(f"{name} ({size:,} bytes)" for size, name in sorted(parts, reverse=True)[:5])
            raise BudgetExceeded(
                f"{needed:,} bytes of {memory} needed, {whose} {budget:,}",
                why=f"the most is taken by {worst}",
                advice=advice,
            )
