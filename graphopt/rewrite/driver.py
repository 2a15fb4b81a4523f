"""The driver: applies rules to a fixed point, keeps names and origins, and records what it did and did not do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from graphopt.errors import InvalidGraph
from graphopt.ir import Graph, Node, Value, rebuild, topological
from graphopt.rewrite.rule import Decline, Rule

MAX_SWEEPS = 100


@dataclass
class RewriteLog:
    """What each rule did: ``fired`` over all sweeps, ``declined`` as of the last one, as (rule, node, reason)."""

    fired: list[tuple[str, str]] = field(default_factory=list)
    declined: list[tuple[str, str, str]] = field(default_factory=list)


def rewrite(graph: Graph, rules: Sequence[Rule], log: RewriteLog | None = None) -> Graph:
    """Apply the rules, the first that fires at each node, until none fires any more.

    Each sweep matches on the graph as it was and builds a new one, producers first. Raises
    ``InvalidGraph`` if a rule changes a type, or if the rules never come to rest.
    """
    log = log if log is not None else RewriteLog()
    for _ in range(MAX_SWEEPS):
        fired = len(log.fired)
        log.declined.clear()
        graph = sweep(graph, rules, log)
        if len(log.fired) == fired:
            return graph
    raise InvalidGraph(
        f"no fixed point after {MAX_SWEEPS} sweeps", where=log.fired[-1][0], advice="two of the rules undo each other"
    )


def sweep(graph: Graph, rules: Sequence[Rule], log: RewriteLog) -> Graph:
    """One pass over the graph; at most one rule fires at each node."""
    new: dict[Value, Value] = {}
    known: dict[Node, None] = {}

    def transform(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        results = apply_first(node, graph, rules, new, known, log) or node.with_inputs(inputs).results
        new.update(zip(node.results, results, strict=True))
        known.update(dict.fromkeys(v.node for v in results))
        return results

    return rebuild(graph, transform)


def apply_first(
    node: Node,
    graph: Graph,
    rules: Sequence[Rule],
    new: dict[Value, Value],
    known: dict[Node, None],
    log: RewriteLog,
) -> tuple[Value, ...] | None:
    """The results of the first rule that fires at a node, or None."""
    where = graph.names[node]
    for rule in rules:
        if not isinstance(node.op, rule.roots):
            continue

        def report(why: str, name: str = rule.name) -> None:
            log.declined.append((name, where, why))

        for candidate in rule.candidates(node, graph, report):
            try:
                built = candidate.build(new)
            except Decline as why:
                report(str(why))
                continue
            results = (built,) if isinstance(built, Value) else tuple(built)
            if tuple(v.type for v in results) != node.types:
                raise InvalidGraph(f"rule {rule.name} turned {node.types} into {results}", where=where)
            log.fired.append((rule.name, where))
            return stamp(results, node, candidate.matched, known)
    return None


def stamp(
    results: Sequence[Value], root: Node, matched: Sequence[Value], known: Mapping[Node, None]
) -> tuple[Value, ...]:
    """Give the nodes that a rule made the root's name and the union of the origins they stand for."""
    origins = tuple(dict.fromkeys(o for v in reversed(matched) for o in v.node.origins))
    roots = {v.node for v in results}
    renewed: dict[Node, Node] = {}
    for node in topological(results, after=known)[len(known) :]:
        name = root.name if node in roots else node.name or f"{root.name}.{node.op.name}" * bool(root.name)
        kept = node.origins if node.origins and node not in roots else origins
        inputs = tuple(renewed.get(v.node, v.node).results[v.index] for v in node.inputs)
        renewed[node] = replace(node, inputs=inputs, name=name, origins=kept)
    return tuple(renewed.get(v.node, v.node).results[v.index] for v in results)
