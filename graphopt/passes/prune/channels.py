"""Structured pruning: remove channels, heads and hidden units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from graphopt.errors import InvalidInput
from graphopt.ir import Graph
from graphopt.passes.base import Context, Note, Pass
from graphopt.passes.contract import Masked
from graphopt.passes.prune.budget import Budget, ConstantBytes, CostModel, Macs
from graphopt.passes.prune.coupling import ChannelGroup, Coupling, couple, separate_vectors
from graphopt.passes.prune.criteria import find_scores, layer_weights
from graphopt.passes.prune.importance import Importance, ScoreFunction
from graphopt.passes.prune.left import signal_left
from graphopt.passes.prune.names import named_layers
from graphopt.passes.prune.relations import ChannelAxis
from graphopt.passes.prune.remove import Removal
from graphopt.passes.prune.select import SCOPES, Limits, Ranking, units_of
from graphopt.progress import counted

START = "start with ratio 0.1 and look at what is left of the outputs on data; or give a budget, target_macs 0.9"

THIN = 0.1
"""The part of a layer's channels of which a note tells when less is left."""


class PruneChannels(Pass, name="prune-channels", contract=Masked()):
    """Remove the least important channels, heads and hidden units, with all that is coupled with them.

    ``ratio`` is the fraction of the removable units to remove: of all of them (``scope="global"``), of each coupled
    group (``"local"``), or of each kind of group (``"isomorphic"``). Instead, ``target_macs``, ``target_bytes`` (of
    constants) or ``target_cost`` (by ``cost``) sets a budget, and the smallest ratio that meets it is used. A budget up
    to 1 is a fraction of the graph's present cost. A ratio or a budget must be given. ``importance`` is a criterion or
    the name of one (``CRITERIA``). ``normalize`` divides the scores of each group by their mean; this is the default
    unless the criterion measures all layers in one unit. Options that are not plain values are for Python only.

    With a budget, ``per_cost`` ranks units by their score for what goes with one of them: where a channel costs much,
    more of them go (compare Shen et al., "Structural Pruning via Latency-Saliency Knapsack", NeurIPS 2022).

    ``keep`` holds patterns (``head.*``) of layers that keep their output channels, by the names of the layer, its
    weights and its origins. Every axis keeps at least ``min_channels``, and the channels of weights stay a multiple of
    ``round_to``. ``steps`` is the number of steps, each with new scores; ``fine_tune`` gets the graph after each step
    and returns it trained. Notes name the layers that keep less than a tenth of their channels. If the context has
    calibration data, a note says what is left of the outputs on it.
    """

    tells_users = True
    ratio: float | None = None
    importance: str | Importance | ScoreFunction = "magnitude"
    scope: str = "global"
    normalize: bool | None = None
    per_cost: bool = False
    round_to: int = 1
    keep: tuple[str, ...] | list[str] = ()
    min_channels: int = 1
    steps: int = 1
    target_macs: float | None = None
    target_bytes: float | None = None
    target_cost: float | None = None
    cost: CostModel | None = None
    fine_tune: Callable[[Graph], Graph] | None = None

    def __post_init__(self) -> None:
        self.require(self.ratio is None or 0 <= self.ratio <= 1, f"ratio {self.ratio} is not in [0, 1]")
        self.require(self.scope in SCOPES, f"unknown scope {self.scope!r}", f"one of {', '.join(SCOPES)}")
        for name in ("round_to", "min_channels", "steps"):
            self.require(getattr(self, name) >= 1, f"{name} {getattr(self, name)} is less than 1")
        targets = [t for t in (self.target_macs, self.target_bytes, self.target_cost) if t is not None]
        self.require(len(targets) <= 1, "more than one target is given")
        self.require(not targets or self.ratio is None, "a ratio and a budget are given", "the budget finds the ratio")
        given = bool(targets) or self.ratio is not None
        self.require(given, "neither a ratio nor a budget says how much is to go", START)
        self.require(all(t > 0 for t in targets), "a target must be positive")
        self.require(bool(targets) or not self.per_cost, "per_cost without a budget", "give target_macs, say")
        self.require((self.target_cost is None) == (self.cost is None), "target_cost and cost go together")
        self.require(not isinstance(self.keep, str), f"keep is one string, {self.keep!r}", "give a list of patterns")

    def require(self, condition: bool, what: str, advice: str | None = None) -> None:
        if not condition:
            raise InvalidInput(what, where=self.name, advice=advice)

    def run(self, graph: Graph, context: Context) -> Graph:
        small = graph
        for _, after in self.walk(graph, context):
            small = after
        context.notes += left_thin(self.name, graph, small)
        if context.calibration is not None and small is not graph:
            left = signal_left(graph, small, context.calibration)
            context.notes.append(Note(self.name, left.output, str(left)))
        return small

    def removals(self, graph: Graph) -> Iterator[Removal]:
        """The removals, step by step; each is from the graph that the previous one left."""
        return (removal for removal, _ in self.walk(graph, Context()))

    def walk(self, graph: Graph, context: Context) -> Iterator[tuple[Removal, Graph]]:
        """Each removal and the graph that it leaves, fine-tuned if ``fine_tune`` is given."""
        budget = self.budget(graph)
        for step in counted(range(self.steps), "step"):
            removal = self.step(graph, step, budget, context)
            graph = removal.apply() if removal.gone.any() else graph
            graph = self.fine_tune(graph) if self.fine_tune else graph
            yield removal, graph

    def budget(self, graph: Graph) -> Budget | None:
        """The given budget, or None."""
        given: list[tuple[str, float | None, CostModel | None]] = [
            ("target_macs", self.target_macs, Macs()),
            ("target_bytes", self.target_bytes, ConstantBytes()),
            ("target_cost", self.target_cost, self.cost),
        ]
        for name, target, model in given:
            if target is not None and model is not None:
                return Budget.of(name, target, model, graph)
        return None

    def step(self, graph: Graph, step: int, budget: Budget | None, context: Context) -> Removal:
        own = separate_vectors(graph)
        coupling = couple(own, list(kept_axes(own, self.keep)))
        scores = find_scores(self.importance, own)
        limits = Limits(self.min_channels, self.round_to)
        comparable = getattr(self.importance, "comparable", False)
        normalize = not comparable if self.normalize is None else self.normalize
        ranking = Ranking.of(coupling, scores, self.scope, normalize, limits)

        def removal(ratio: float) -> Removal:
            return Removal.of(coupling, units_of(ranking.least(ratio)))

        if budget is not None and self.per_cost:
            ranking = ranking.per_cost(saved_by_one(budget, coupling))
        if budget is not None:
            ratio = budget.smallest_ratio(lambda r: removal(r).apply(), step, self.steps)
        else:
            assert self.ratio is not None
            ratio = part_of(self.ratio, step, self.steps)
        chosen = removal(ratio)
        context.notes += explain(self.name, chosen)
        context.notes += unscored(self.name, ranking)
        return chosen


def saved_by_one(budget: Budget, coupling: Coupling) -> Callable[[ChannelGroup], float]:
    """What the graph costs less without one unit of a group."""
    now = budget.model.cost(coupling.graph)
    return lambda group: now - budget.model.cost(Removal.of(coupling, group.units[:1]).apply())


def part_of(ratio: float, step: int, steps: int) -> float:
    """The fraction of the remaining units to remove in one step, so that all steps remove ``ratio``."""
    return 1 - (1 - ratio * (step + 1) / steps) / (1 - ratio * step / steps)


def kept_axes(graph: Graph, patterns: Sequence[str]) -> Iterator[tuple[ChannelAxis, str]]:
    """The channel axes of the layers that the patterns name, each with the reason why it stays."""
    for node, pattern in named_layers(graph, patterns).items():
        for value in node.results:
            for axis in range(value.type.rank):
                yield ChannelAxis(value, axis), f"keep={pattern!r}"


def explain(pass_name: str, removal: Removal) -> Iterator[Note]:
    """Notes on what is coupled and how much of it is removed, and on layers that keep all channels, with the reason."""
    coupling, graph = removal.coupling, removal.graph
    for group in coupling.groups:
        gone = int(removal.gone[group.units[:, 0]].sum())
        weights = [(p, n) for p, n in zip(group.axes, group.counts, strict=True) if p.value.constant is not None]
        coupled = ", ".join(describe(graph, place, count) for place, count in weights)
        yield Note(pass_name, coupling.layers(group)[0], f"{gone} of {len(group)} units removed, each of {coupled}")
    for place, why in coupling.relations.symbols.items():
        yield Note(pass_name, graph.names[place.value.node], f"axis {place.axis} kept: {why}", declined=True)
    for node, produced in coupling.relations.producers.items():
        for place in produced:
            if reason := coupling.why_kept(place):
                yield Note(pass_name, graph.names[node], f"kept: {reason}", declined=True)


def unscored(pass_name: str, ranking: Ranking) -> Iterator[Note]:
    """Notes on the groups that stay since the criterion gives them no score."""
    for group in ranking.coupling.groups:
        if group not in ranking.scores:
            name = ranking.coupling.layers(group)[0]
            yield Note(pass_name, name, "kept: the criterion says nothing of its channels", declined=True)


def left_thin(pass_name: str, before: Graph, after: Graph) -> Iterator[Note]:
    """The layers that are left with less than a tenth of their output channels."""
    sizes = {after.names[weight.node]: weight.type.static_shape[axis] for weight, axis in layer_weights(after)}
    for weight, axis in layer_weights(before):
        name, had = before.names[weight.node], weight.type.static_shape[axis]
        left = sizes.get(name, had)
        if left < THIN * had:
            text = f"only {left} of {had} channels are left: it may pass on too little. Prune less, or keep={[name]}"
            yield Note(pass_name, name, text, alarm=True)


def describe(graph: Graph, place: ChannelAxis, count: int) -> str:
    """An axis of a weight as ``name[axis]``, with the number of indices in a unit unless it is one."""
    return f"{graph.names[place.value.node]}[{place.axis}]" + (f" x{count}" if count > 1 else "")
