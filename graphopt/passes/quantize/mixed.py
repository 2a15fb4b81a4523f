"""Mixed precision: choose the width of each layer's weights by measured noise, under a budget."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from glob import escape

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.ir import Array, Graph, bind_batch
from graphopt.ops.macs import macs_of
from graphopt.passes.base import Context, Note
from graphopt.passes.contract import Bounded
from graphopt.passes.data import Data
from graphopt.passes.prune.budget import CostModel
from graphopt.passes.quantize.apart import taken_apart
from graphopt.passes.quantize.binary_activations import refuse_binary_activations
from graphopt.passes.quantize.calibrate import joined, runs, worst_sqnr
from graphopt.passes.quantize.form import rule_of
from graphopt.passes.quantize.layers import quantized_layers
from graphopt.passes.quantize.lower import LowerInteger
from graphopt.passes.quantize.quantize import InsertQuantization, Quantize
from graphopt.passes.quantize.recover.recovery import SeenLayer, data_of
from graphopt.passes.quantize.recover.replay import Replay
from graphopt.passes.quantize.recover.round_weights import RoundWeights
from graphopt.passes.quantize.scheme import WEIGHT_BITS, Scheme, check_choice, form_of
from graphopt.rewrite import Decline

CostOfWidths = Callable[[Sequence[str]], float]
"""What a graph costs, by the width of each of its layers."""
UNITS = ("bytes", "mac-bits")
STEPS = 1_000_000
"""The most units of a budget, since HiGHS keeps constraints to 1e-6. If the costs have a common divisor that needs no
more units, the choice is exact. Otherwise costs are rounded up, so the budget always holds."""
LARGEST_LOSS = 1e6
"""Losses are scaled to this maximum, since HiGHS stops within 1e-6 of the least sum."""


class MixedPrecision(Quantize, name="mixed-precision", contract=Bounded(10.0)):
    """Quantize with a width of weights for each layer, chosen under a budget so that the outputs lose least.

    A ``budget`` up to 1 is a fraction of the cost of all layers with int8 weights; a larger one is the cost itself. The
    ``unit`` is ``bytes`` of packed weights, or ``mac-bits``, multiply-accumulates of one inference times the bits of
    their weights. The loss of a width is the noise at the outputs, on the calibration data, with only one layer's
    weights of that width. The losses are assumed to add up; an integer program makes the sum least. ``widths`` are the
    choices. Layers in ``overrides`` follow these and are not part of the budget. The other options are those of
    ``Quantize``; ``weights`` has no effect.

    With a ``cost``, such as ``graphopt.cost("cortex-m4", "bytes")``, the budget is of what this costs the quantized
    graph as a whole, and ``unit`` has no effect. What a layer costs at a width is then what the graph saves if this
    layer alone goes back to int8 from there, all others having the width: so what layers share, as code, counts for
    none of them. These costs add up. The graph of the chosen widths is then costed as it will be, after recovery, and
    what it costs beyond the budget is taken off what the layers may cost, until the budget holds.
    """

    budget: float = 0.625
    unit: str = "bytes"
    widths: Sequence[str] = ("int8", "int4")
    cost: CostModel | None = None

    def insert(self, graph: Graph, context: Context) -> Graph:
        data = data_of(self.calibration, context, self.name)
        apart = taken_apart(graph, self.scheme, self.observer, data)
        fixed = dict(apart.scheme.overrides)
        chosen = dataclasses.replace(self, overrides=fixed).choose(apart.graph, data)
        context.notes += [Note(self.name, name, f"weights of {width}") for name, width in chosen.items()]
        overrides = {**{escape(name): width for name, width in chosen.items()}, **fixed}
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(Quantize)}
        return Quantize(**{**given, "overrides": overrides}).insert(apart.graph, context)

    def choose(self, graph: Graph, data: Data) -> dict[str, str]:
        """The width of each layer of a clean float graph, by name. Raises ``InvalidInput`` if no choice fits."""
        check_choice("unit", self.unit, UNITS)
        refuse_binary_activations(Scheme(activations=self.activations), self.name)
        for width in self.widths:
            check_choice("widths", width, WEIGHT_BITS)
        noise = {width: self.measure(graph, width, data) for width in self.widths}
        names = list(next(iter(noise.values())))
        if not names:
            return {}
        losses = np.array([[noise[width][name] for width in self.widths] for name in names])
        if self.cost is None:
            chosen = self.choose_by_weights(graph, names, losses)
        else:
            rough = self.cost_of_widths(graph, names, data, self.cost, recover=())
            exact = self.cost_of_widths(graph, names, data, self.cost, self.recover)
            chosen = self.choose_by_model(rough, exact, losses)
        return {name: self.widths[i] for name, i in zip(names, chosen, strict=True)}

    def choose_by_weights(self, graph: Graph, names: Sequence[str], losses: Array) -> list[int]:
        """The widths of least loss under a budget of weights."""
        bound = bind_batch(graph, 1)
        costs = np.array([[self.cost_of_weights(bound, name, width) for width in self.widths] for name in names])
        budget = self.allowed(sum(self.cost_of_weights(bound, name, "int8") for name in names))
        least = costs.min(axis=1).sum()
        if least > budget:
            raise self.refused(budget, self.unit, f"the least is {least:,.0f}")
        return choose_cheapest(losses, costs, budget)

    def choose_by_model(self, rough: CostOfWidths, exact: CostOfWidths, losses: Array) -> list[int]:
        """The widths of least loss under a budget of the exact cost; rough ones tell layers apart."""
        whole = exact(["int8"] * len(losses))
        budget = self.allowed(whole)
        costs = np.stack([own_costs(rough, width, len(losses)) for width in self.widths], axis=1)
        least = costs.min(axis=1)
        costs -= least[:, None]
        left = budget - whole - least.sum()
        while True:
            chosen = choose_cheapest(losses, costs, max(left, 0))
            over = exact([self.widths[i] for i in chosen]) - budget
            if over <= 0:
                return chosen
            spent = costs[np.arange(len(costs)), chosen].sum()
            if spent <= 0:
                raise self.refused(budget, "by the cost model", f"the least that was found is {budget + over:,.0f}")
            left = spent - over

    def allowed(self, whole: float) -> float:
        """The budget, by the cost with int8 weights."""
        return self.budget * whole if self.budget <= 1 else self.budget

    def refused(self, budget: float, unit: str, why: str) -> InvalidInput:
        return InvalidInput(f"no widths of weights cost {budget:,.0f} {unit}", where=self.name, why=why)

    def cost_of_widths(
        self, graph: Graph, names: Sequence[str], data: Data, model: CostModel, recover: Sequence[str] | None
    ) -> CostOfWidths:
        """What the quantized graph costs, by the widths of the named layers, after recovery by these passes."""
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(Quantize)}

        def cost(widths: Sequence[str]) -> float:
            overrides = {**{escape(name): width for name, width in zip(names, widths, strict=True)}, **self.overrides}
            quantize = Quantize(**{**given, "overrides": overrides, "recover": recover, "calibration": data})
            return model.cost(LowerInteger()(quantize.insert(graph, Context())))

        return cost

    def cost_of_weights(self, graph: Graph, name: str, width: str) -> float:
        """The cost of the weights of a layer of a bound graph."""
        node = graph.node(name)
        if self.unit == "mac-bits":
            return float(macs_of(node) * WEIGHT_BITS[width])
        rule = rule_of(node.op)
        assert rule is not None
        weights = [node.inputs[position].type.with_dtype("int8") for position, _ in rule.weights]
        return float(sum(form_of(width, weight).nbytes(weight) for weight in weights))

    def measure(self, graph: Graph, width: str, data: Data) -> dict[str, float]:
        """By layer, the noise at the outputs relative to the signal, with only its weights of this width."""
        options = {field.name: getattr(self, field.name) for field in dataclasses.fields(InsertQuantization)}
        inserted = InsertQuantization(**{**options, "weights": width, "calibration": data})(graph)
        fixed = Scheme(overrides=self.overrides)
        layers = {inserted.names[n]: layer for n, layer in quantized_layers(inserted, grouped=True).items()}
        layers = {name: layer for name, layer in layers.items() if fixed.override(name) is None}
        wanted = joined(runs(graph, graph.outputs, data))
        replay, noise = Replay(graph, data), {}
        for node in graph.nodes:
            layer = layers.get(graph.names[node])
            if layer is not None:
                seen = SeenLayer(layer, node, replay.arrays[node.inputs[0]], replay.results(node), replay)
                sqnr = worst_sqnr(replay.outputs_with(node, self.operands(seen)), wanted)
                noise[graph.names[node]] = 10 ** (-sqnr / 10)
            replay.run(node)
        return noise

    def operands(self, seen: SeenLayer) -> dict[int, Array]:
        """The operands of a layer; weights of 8 bits are not recovered, since that changes them little."""
        if RoundWeights.name in self.steps and seen.layer.bits < 8:
            try:
                return RoundWeights().renewed(seen)[0].operands(seen.layer)
            except Decline:
                pass
        return {seen.layer.position: seen.layer.weight.reals.astype(np.float32)}

    @property
    def steps(self) -> Sequence[str]:
        narrow = any(WEIGHT_BITS[w] < 8 for w in self.widths)
        return self.recover if self.recover is not None else (RoundWeights.name,) * narrow


def own_costs(cost: CostOfWidths, width: str, count: int) -> Array:
    """What each of the layers costs more at a width than at int8, while all others have the width: [count]."""
    if width == "int8":
        return np.zeros(count)
    alike = [width] * count
    whole = cost(alike)
    return np.array([whole - cost([*alike[:i], "int8", *alike[i + 1 :]]) for i in range(count)])


def choose_cheapest(losses: Array, costs: Array, budget: float) -> list[int]:
    """Choose one of m for each of n rows, so that integer costs [n, m] sum to the budget at most, and losses are least.

    The budget must allow the cheapest choice of every row; these are taken if rounded costs allow nothing else. Among
    equally good choices, HiGHS's first is taken, which is always the same for the same numbers.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp  # takes 0.3 s

    rows, choices = losses.shape
    finite = np.isfinite(losses)
    known = np.where(finite, losses, 0)
    unit = max(int(np.gcd.reduce(costs.astype(np.int64), axis=None)), budget / STEPS, 1)
    steps = np.ceil(costs / unit - 1e-9).reshape(1, -1)
    solved = milp(
        known.ravel() / (known.max() or 1) * LARGEST_LOSS,
        integrality=np.ones(losses.size),
        bounds=Bounds(0, finite.ravel()),
        constraints=[
            LinearConstraint(np.kron(np.eye(rows), np.ones(choices)), 1, 1),
            LinearConstraint(steps, ub=math.floor(budget / unit + 1e-9)),
        ],
        options={"mip_rel_gap": 0},
    )
    best = costs.argmin(axis=1) if solved.x is None else solved.x.reshape(rows, choices).argmax(axis=1)
    return [int(choice) for choice in best]
