"""Random graphs by construction: every graph drawn is valid, for each operator knows how to apply itself.

The idea of operators that generate valid graphs of themselves is NNSmith's (Liu et al., ASPLOS 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np

from graphopt.errors import InvalidGraph
from graphopt.ir import (
    REGISTRY,
    Graph,
    Input,
    Node,
    Op,
    Value,
    rebuild,
)
from graphopt.testing.canvas import Drawing, Integers
from graphopt.testing.motifs import MOTIFS

ATTEMPTS = 4
NAMES = ("", "", "{op}", "{op}_1", "layer.0.{op}", "my {op}/x", "inf", "N", "return", 'a "b"', "from")


def sampled(ops: Collection[str] | None) -> list[type[Op]]:
    """The operators to draw from: those named, or all that define ``sample``."""
    if ops is not None:
        return [REGISTRY[name] for name in sorted(ops)]
    unsampled = Op.sample.__func__  # type: ignore[attr-defined]
    return [op for _, op in sorted(REGISTRY.items()) if op.sample.__func__ is not unsampled]  # type: ignore[attr-defined]


def draw_graph(
    integers: Integers,
    max_ops: int = 8,
    dtype: str = "float32",
    ops: Collection[str] | None = None,
    symbolic: bool | None = None,
) -> Graph:
    """A graph of up to ``max_ops`` steps, a step being an operator or a motif (see ``motifs``).

    With ``ops``, names of registered operators, it is drawn of those alone. ``symbolic`` decides whether
    the batch is N; None leaves it to chance.
    """
    draw = Drawing(integers, dtype, bool(integers(0, 1)) if symbolic is None else symbolic)
    draw.input(draw.input_type())
    candidates = sampled(ops)
    for _ in range(draw.integer(1, max_ops)):
        for _ in range(ATTEMPTS):
            step = draw.choice(MOTIFS) if ops is None and draw.chance(60) else draw.choice(candidates).sample
            if attempt(draw, step):
                break
    return named(Graph(tuple(draw.inputs), outputs(draw)), draw)


def attempt(draw: Drawing, step: Callable[[Drawing, Value], Value | None]) -> bool:
    """Take a step from some value, if it suits that."""
    try:
        return draw.keep(step(draw, draw.recent()))
    except InvalidGraph:
        return False  # the shapes at hand do not fit


def outputs(draw: Drawing) -> tuple[Value, ...]:
    """The last value, and some others: of those that nothing reads, and of those that something reads."""
    read = {v for value in draw.values for v in value.node.inputs}
    ends = [v for v in draw.values if v not in read and v not in draw.inputs]
    chosen = [draw.values[-1], *ends[::-1][: draw.integer(0, 2)]]
    if draw.chance(20):
        chosen.append(draw.choice(draw.values))
    return tuple(dict.fromkeys(chosen))


def named(graph: Graph, draw: Drawing) -> Graph:
    """The graph with all sorts of names, repeated and absent ones too."""

    def rename(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if isinstance(node.op, Input):
            return None
        name = NAMES[draw.rng.integers(len(NAMES))].format(op=node.op.name)
        named_node = replace(node, inputs=inputs, name=name, origins=(name,) if name else ())
        return named_node.results

    return rebuild(graph, rename)


def random_graph(
    seed: int,
    max_ops: int = 8,
    dtype: str = "float32",
    ops: Collection[str] | None = None,
    symbolic: bool | None = None,
) -> Graph:
    """The graph that ``draw_graph`` makes of a seed: for loops without Hypothesis."""
    rng = np.random.default_rng(seed)
    return draw_graph(lambda low, high: int(rng.integers(low, high + 1)), max_ops, dtype, ops, symbolic)
