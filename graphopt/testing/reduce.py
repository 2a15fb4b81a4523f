"""Delta debugging: the smallest part of a failing graph that still fails (Zeller and Hildebrandt, 2002)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from graphopt.errors import GraphoptError, InvalidInput
from graphopt.ir import Constant, Graph, Input, Node, Value, arg, verify

Predicate = Callable[[Graph], bool]


def reduce(graph: Graph, fails: Predicate) -> Graph:
    """A graph that fails as well, and of which no smaller part that is tried does.

    Outputs are moved to inner values, inner values become inputs, and nodes are left out where an operand has
    their type. Types are kept, N too. A ``GraphoptError`` that ``fails`` raises counts as not failing.
    Raises ``InvalidInput`` if the graph itself does not fail.
    """
    if not holds(fails, graph):
        raise InvalidInput("it does not fail", where=graph.name, why="there is nothing to reduce")
    while True:
        smaller = next((c for c in candidates(graph) if holds(fails, c)), None)
        if smaller is None:
            return graph
        graph = smaller


def holds(fails: Predicate, graph: Graph) -> bool:
    try:
        return fails(graph)
    except GraphoptError:
        return False


def size(graph: Graph) -> tuple[int, int, int]:
    """What is to become smaller: computing nodes, then outputs and inputs."""
    return len(computing(graph)), len(graph.outputs), len(graph.nodes)


def computing(graph: Graph) -> list[Node]:
    return [n for n in graph.nodes if not isinstance(n.op, Input | Constant)]


def candidates(graph: Graph) -> Iterator[Graph]:
    """Smaller graphs, those first that leave out the most: one output, the outputs moved, a cut, a node less."""
    nodes = computing(graph)
    for made in possible(graph, nodes):
        if made is not None and size(made) < size(graph):
            yield made


def possible(graph: Graph, nodes: list[Node]) -> Iterator[Graph | None]:
    if len(graph.outputs) > 1:
        for value in graph.outputs:
            yield part(graph, (value,))
        for gone in graph.outputs:
            yield part(graph, tuple(v for v in graph.outputs if v is not gone))
    for node in halving_order(nodes[:-1]):
        for value in node.results:
            yield part(graph, (value,))
    for node in halving_order(nodes)[::-1]:
        yield part(graph, graph.outputs, cut=node)
    for node in nodes[::-1]:
        for operand in node.inputs:
            if len(node.results) == 1 and operand.type == node.results[0].type:
                yield part(graph, graph.outputs, instead={node.results[0]: operand})
    yield part(graph, graph.outputs)


def halving_order(nodes: list[Node]) -> list[Node]:
    """The nodes, those first that halve the list, then those that halve its halves: most steps are large ones."""
    order: list[Node] = []
    ranges = [(0, len(nodes))]
    for low, high in ranges:
        if low < high:
            middle = (low + high) // 2
            order.append(nodes[middle])
            ranges += [(low, middle), (middle + 1, high)]
    return order


def part(
    graph: Graph, outputs: tuple[Value, ...], cut: Node | None = None, instead: Mapping[Value, Value] | None = None
) -> Graph | None:
    """What the outputs reach, the results of ``cut`` being inputs, values replaced ``instead``; None if ill-formed."""
    known = dict(zip(graph.outputs, graph.output_names, strict=True))
    new: dict[Value, Value] = {}
    inputs: list[Value] = []
    try:
        for node in graph.nodes:
            for value in node.results:
                if isinstance(node.op, Input) or node is cut:
                    name = graph.names[node] + f".{value.index}" * (len(node.results) > 1)
                    new[value] = arg(name, value.type.dtype, value.type.shape)
                    inputs.append(new[value])
            if node.results[0] not in new:
                made = node.with_inputs([new[v] for v in node.inputs])
                new.update(zip(node.results, made.results, strict=True))
            for old, other in (instead or {}).items():
                if old.node is node:
                    new[old] = new[other]
        chosen = tuple(dict.fromkeys(new[v] for v in outputs))
        names = names_of(graph, outputs, known, chosen, new)
        reached = set(Graph((), chosen).nodes)
        made_of = Graph(tuple(v for v in inputs if v.node in reached), chosen, names, graph.name)
        verify(made_of)
    except GraphoptError:
        return None
    return made_of


def names_of(
    graph: Graph,
    outputs: tuple[Value, ...],
    known: Mapping[Value, str],
    chosen: tuple[Value, ...],
    new: Mapping[Value, Value],
) -> tuple[str, ...]:
    """The names of outputs: their own, or those of the nodes that they were moved to."""
    first: dict[Value, str] = {}
    for value in outputs:
        first.setdefault(new[value], known.get(value, graph.names[value.node]))
    return tuple(first[v] for v in chosen)
