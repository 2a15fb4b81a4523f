"""The driver: applies rules to a fixed point, keeps names and origins, and records what fired and what declined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from graphopt.errors import GraphoptError, InvalidGraph
from graphopt.ir import Graph, Node, Value, rebuild, topological
from graphopt.rewrite.rule import Decline, Rule

MAX_SWEEPS = 100
MAX_GROWTH = 1000
"""Firings on nodes that rules made may add as many nodes as the graph had at first, plus this number."""


@dataclass
class RewriteLog:
    """What the rules did: ``fired`` as (rule, node) of all sweeps, ``declined`` as (rule, node, reason) of the last."""

    fired: list[tuple[str, str]] = field(default_factory=list)
    declined: list[tuple[str, str, str]] = field(default_factory=list)


def rewrite(graph: Graph, rules: Sequence[Rule], log: RewriteLog | None = None, limit: int | None = None) -> Graph:
    """Apply rules, at each node the first that fires, until none fires any more or there were ``limit`` firings.

    Each sweep matches on the old graph and builds a new one, producers first. Raises ``InvalidGraph`` if a rule
    fails or changes a type, or if the rules do not terminate. That is, they fire for ``MAX_SWEEPS`` sweeps while the
    graph gets no smaller, or they fire on their own results and the graph grows too much, see ``Growth``.
    """
    log = log if log is not None else RewriteLog()
    smallest, idle = len(graph.nodes), 0
    growth = Growth(len(rules), len(graph.nodes) + MAX_GROWTH)
    while idle < MAX_SWEEPS:
        fired = len(log.fired)
        log.declined.clear()
        graph = Sweep(graph, rules, log, limit, growth).run()
        if len(log.fired) in (fired, limit):
            return graph
        idle = 0 if len(graph.nodes) < smallest else idle + 1
        smallest = min(smallest, len(graph.nodes))
    raise InvalidGraph(
        f"no fixed point after {MAX_SWEEPS} sweeps that made the graph no smaller",
        where=log.fired[-1][0],
        advice="two of the rules undo each other, or what a rule makes holds what it looks for",
    )


class Growth:
    """Tells rules that unfold a model from rules that never end.

    The nodes of the first graph have age 0. A node that a rule makes is one older than the oldest node that the rule
    matched. A node older than the number of rules has some rule twice in its history: the rule matched its own results,
    or what another rule made of them. That is fine if it ends, as when a sum of many operands is split into halves,
    which adds no more nodes than the sum has operands. It is stopped when such firings have added more nodes than the
    graph had at first plus ``MAX_GROWTH``.
    """

    def __init__(self, rules: int, limit: int) -> None:
        self.rules, self.left = rules, limit
        self.ages: dict[Node, int] = {}

    def fired(self, rule: Rule, where: str, matched: Sequence[Value], made: Sequence[Node]) -> None:
        """Count one firing; raises ``InvalidGraph`` if the growth is beyond the limit."""
        age = 1 + max((self.ages.get(v.node, 0) for v in matched), default=0)
        self.ages.update(dict.fromkeys(made, age))
        if age > self.rules:
            self.left -= max(0, len(made) - len(matched))
        if self.left < 0:
            raise InvalidGraph(
                f"rule {rule.name} makes the graph grow without end",
                where=where,
                why="what it makes holds what it looks for",
                advice="let it decline where it has been: raise Decline, or look at the operand or an attribute",
            )

    def rebuilt(self, old: Node, new: Node) -> None:
        """Give the rebuilt copy of a node, which no rule touched, the age of the old one."""
        if new is not old and old in self.ages:
            self.ages[new] = self.ages[old]


class Sweep:
    """One pass over a graph; at most one rule fires at each node.

    A rule does not fire if it matched a node that another rule has replaced in the same sweep, since it would build
    on a removed node. The next sweep tries it again.
    """

    def __init__(self, graph: Graph, rules: Sequence[Rule], log: RewriteLog, limit: int | None, growth: Growth) -> None:
        self.graph, self.rules, self.log, self.limit, self.growth = graph, rules, log, limit, growth
        self.new: dict[Value, Value] = {}
        self.known: set[Node] = set()
        self.replaced: set[Node] = set()

    def run(self) -> Graph:
        return rebuild(self.graph, self.transform)

    def transform(self, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        results = self.apply_first(node)
        if results is None:
            kept = node.with_inputs(inputs)
            self.growth.rebuilt(node, kept)
            results = kept.results
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
        """The results of a rule at a node, or None. Logs why the rule declined, or why its pattern did not match."""
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
            except Exception as error:
                raise failure(rule, where, error) from error
            if built is not None:
                results = checked(built, rule, node, where)
                made = renewed(results, node, candidate.matched, self.known)
                self.growth.fired(rule, where, candidate.matched, list(made.values()))
                return in_place(results, made)
        for why_not in dict.fromkeys(reasons if fits else misfits):
            self.log.declined.append((rule.name, where, why_not))
        return None


def failure(rule: Rule, where: str, error: Exception) -> GraphoptError:
    """The error of a rule that failed, with the rule, the node and the cause."""
    if isinstance(error, GraphoptError):
        return error.told(what=f"rule {rule.name} failed: {error.what}", where=where)
    return InvalidGraph(f"rule {rule.name} failed", where=where, why=f"{type(error).__name__}: {error}")


def checked(built: object, rule: Rule, node: Node, where: str) -> tuple[Value, ...]:
    """The results of a rule, if they can replace the node; ``InvalidGraph`` if a type differs or one is not a value."""
    results = (built,) if isinstance(built, Value) else tuple(built) if isinstance(built, list | tuple) else ()
    if not results or not all(isinstance(v, Value) for v in results):
        what = f"rule {rule.name} returned {type(built).__name__}, which is no value"
        raise InvalidGraph(what, where=where, advice="return the new value, or the results of the new node")
    if tuple(v.type for v in results) != node.types:
        raise InvalidGraph(f"rule {rule.name} turned {node.types} into {results}", where=where)
    return results


def stamp(results: Sequence[Value], root: Node, matched: Sequence[Value], known: set[Node]) -> tuple[Value, ...]:
    """Give the nodes that a rule made the root's name and the union of the origins that they replace.

    The nodes in ``known`` existed before; the new nodes are added to it.
    """
    return in_place(results, renewed(results, root, matched, known))


def renewed(results: Sequence[Value], root: Node, matched: Sequence[Value], known: set[Node]) -> dict[Node, Node]:
    """For each node that a rule made, a copy with its name and origins; see ``stamp``."""
    origins = tuple(dict.fromkeys(o for v in reversed(matched) for o in v.node.origins))
    roots = {v.node for v in results}
    made: dict[Node, Node] = {}
    for node in topological(results, after=known):
        name = root.name if node in roots else node.name or f"{root.name}.{node.op.name}" * bool(root.name)
        kept = node.origins if node.origins and node not in roots else origins
        inputs = tuple(made.get(v.node, v.node).results[v.index] for v in node.inputs)
        made[node] = replace(node, inputs=inputs, name=name, origins=kept)
    known.update(made.values())
    return made


def in_place(results: Sequence[Value], made: Mapping[Node, Node]) -> tuple[Value, ...]:
    return tuple(made.get(v.node, v.node).results[v.index] for v in results)
