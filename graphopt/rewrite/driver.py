"""The driver: applies rules to a fixed point, keeps names and origins, and records what it did and did not do."""

from __future__ import annotations

from collections.abc import Sequence
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


def rewrite(graph: Graph, rules: Sequence[Rule], log: RewriteLog | None = None, limit: int | None = None) -> Graph:
    """Apply the rules, the first that fires at each node, until none fires any more, or ``limit`` have fired in all.

    Each sweep matches on the graph as it was and builds a new one, producers first. Raises
    ``InvalidGraph`` if a rule changes a type, or if the rules never come to rest: for
    ``MAX_SWEEPS`` sweeps they fired, and the graph got no smaller.
    """
    log = log if log is not None else RewriteLog()
    smallest, idle = len(graph.nodes), 0
    while idle < MAX_SWEEPS:
        fired = len(log.fired)
        log.declined.clear()
        graph = Sweep(graph, rules, log, limit).run()
        if len(log.fired) in (fired, limit):
            return graph
        idle = 0 if len(graph.nodes) < smallest else idle + 1
        smallest = min(smallest, len(graph.nodes))
    raise InvalidGraph(
        f"no fixed point after {MAX_SWEEPS} sweeps that made the graph no smaller",
        where=log.fired[-1][0],
        advice="two of the rules undo each other",
    )


class Sweep:
    """One pass over a graph; at most one rule fires at each node.

    A rule does not fire over a value that another has replaced in the same sweep, for it would build
    on what is gone; the next sweep tries it again.
    """

    def __init__(self, graph: Graph, rules: Sequence[Rule], log: RewriteLog, limit: int | None) -> None:
        self.graph, self.rules, self.log, self.limit = graph, rules, log, limit
        self.new: dict[Value, Value] = {}
        self.known: set[Node] = set()
        self.replaced: set[Node] = set()

    def run(self) -> Graph:
        return rebuild(self.graph, self.transform)

    def transform(self, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        results = self.apply_first(node)
        if results is None:
            results = node.with_inputs(inputs).results
        else:
            self.replaced.add(node)
        self.new.update(zip(node.results, results, strict=True))
        self.known.update(v.node for v in results)
        return results

    def apply_first(self, node: Node) -> tuple[Value, ...] | None:
        """The results of the first rule that fires at a node, or None."""
        if len(self.log.fired) == self.limit:
            return None
        for rule in self.rules:
            if isinstance(node.op, rule.roots) and (results := self.apply(rule, node)) is not None:
                self.log.fired.append((rule.name, self.graph.names[node]))
                return results
        return None

    def apply(self, rule: Rule, node: Node) -> tuple[Value, ...] | None:
        """The results of a rule at a node, or None. Why no pattern fits matters only where none does."""
        where = self.graph.names[node]
        misfits: list[str] = []
        reasons: list[str] = []
        fits = False
        for candidate in rule.candidates(node, self.graph, misfits.append):
            fits = True
            if any(v.node in self.replaced for v in candidate.matched if v.node is not node):
                continue
            try:
                built = candidate.build(self.new)
            except Decline as why:
                reasons.append(str(why))
                continue
            if built is not None:
                results = (built,) if isinstance(built, Value) else tuple(built)
                if tuple(v.type for v in results) != node.types:
                    raise InvalidGraph(f"rule {rule.name} turned {node.types} into {results}", where=where)
                return stamp(results, node, candidate.matched, self.known)
        for why_not in dict.fromkeys(reasons if fits else misfits):
            self.log.declined.append((rule.name, where, why_not))
        return None


def stamp(results: Sequence[Value], root: Node, matched: Sequence[Value], known: set[Node]) -> tuple[Value, ...]:
    """Give the nodes that a rule made the root's name and the union of the origins they stand for.

    The nodes in ``known`` were there before; those made are added to it.
    """
    origins = tuple(dict.fromkeys(o for v in reversed(matched) for o in v.node.origins))
    roots = {v.node for v in results}
    renewed: dict[Node, Node] = {}
    for node in topological(results, after=known):
        name = root.name if node in roots else node.name or f"{root.name}.{node.op.name}" * bool(root.name)
        kept = node.origins if node.origins and node not in roots else origins
        inputs = tuple(renewed.get(v.node, v.node).results[v.index] for v in node.inputs)
        renewed[node] = replace(node, inputs=inputs, name=name, origins=kept)
    known.update(renewed.values())
    return tuple(renewed.get(v.node, v.node).results[v.index] for v in results)
