"""Mixed precision: choose the width of each layer's weights by measured noise, under a budget."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from glob import escape

import numpy as np

from graphopt.errors import InvalidInput
from graphopt.ir import Array, Graph, bind_batch
from graphopt.ops.macs import macs_of
from graphopt.passes.base import Context, Note
from graphopt.passes.contract import Bounded
from graphopt.passes.data import Data
from graphopt.passes.quantize.apart import taken_apart
from graphopt.passes.quantize.binary_activations import refuse_binary_activations
from graphopt.passes.quantize.calibrate import joined, runs, worst_sqnr
from graphopt.passes.quantize.form import rule_of
from graphopt.passes.quantize.layers import quantized_layers
from graphopt.passes.quantize.quantize import InsertQuantization, Quantize
from graphopt.passes.quantize.recover.recovery import SeenLayer, data_of
from graphopt.passes.quantize.recover.replay import Replay
from graphopt.passes.quantize.recover.round_weights import RoundWeights
from graphopt.passes.quantize.scheme import WEIGHT_BITS, Scheme, check_choice, form_of
from graphopt.rewrite import Decline

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
    """

    budget: float = 0.625
    unit: str = "bytes"
    widths: Sequence[str] = ("int8", "int4")

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
        bound = bind_batch(graph, 1)
        costs = np.array([[self.cost(bound, name, width) for width in self.widths] for name in names])
        whole = sum(self.cost(bound, name, "int8") for name in names)
        budget = self.budget * whole if self.budget <= 1 else self.budget
        if costs.min(axis=1).sum() > budget:
            least = f"the least is {costs.min(axis=1).sum():,.0f}"
            raise InvalidInput(f"no widths of weights cost {budget:,.0f} {self.unit}", where=self.name, why=least)
        losses = np.array([[noise[width][name] for width in self.widths] for name in names])
        return {name: self.widths[i] for name, i in zip(names, choose_cheapest(losses, costs, budget), strict=True)}

    def cost(self, graph: Graph, name: str, width: str) -> float:
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
