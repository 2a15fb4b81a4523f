"""A client's step that trains float weights for the integers that its device computes with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from graphopt.errors import InvalidInput
from graphopt.exporters.torch.plan import STATISTICS
from graphopt.federated.client import Step
from graphopt.ir import Array, Constant, Graph, Node, Value, constant, rebuild
from graphopt.ops import BatchNorm
from graphopt.passes import Context, Quantize
from graphopt.passes.quantize.form import dequantized, rule_of
from graphopt.training.data import Loss
from graphopt.training.history import TrainedGraph
from graphopt.training.loop import train_module
from graphopt.training.quantization.aware import first_samples
from graphopt.training.quantization.module import QuantizedModule
from graphopt.training.quantization.norms import FreezeNorms
from graphopt.training.quantization.prepare import quantized_module
from graphopt.training.samples import Samples, fixed_batch
from graphopt.training.settings import Options, Settings
from graphopt.training.tune import on_outputs


def aware(loss: Loss, **quantization: Any) -> Step:
    """A ``Client.step``: quantization-aware training, of which the float weights behind the integers are sent.

    The loss is that of a program on integers (``quantization_aware``), whose ranges are measured on the client's own
    data and stay on its device. ``quantization`` has the options of ``Quantize``: ``weights="int4"``, for one.

    The step raises ``InvalidInput`` for a graph that has not been through the float passes yet, where those would
    change its weights.
    """

    def step(graph: Graph, data: Any, options: Options) -> Graph:
        settings, context = Settings(**options), Context()
        names = tuple(graph.names[v.node] for v in graph.inputs)
        samples = Samples(data, names, fixed_batch(graph) or settings.batch_size)
        seen = first_samples(samples, settings.seed)
        module = quantized_module(graph, Quantize(calibration=seen, **quantization), False, context)
        assert context.reference is not None
        known = constants_behind(module, context.reference)
        before = reals(module, known)
        history = train_module(module, samples, on_outputs(names, loss), settings, None, [FreezeNorms(module, seen)])
        after = reals(module, known)
        return TrainedGraph.of(moved(graph, context.reference, before, after), history)

    return step


def constants_behind(module: QuantizedModule, reference: Graph) -> dict[str, Value]:
    """By the names that constants have in the float graph, the constants of the module's graph that stand for them."""
    graph, known = module.plan.graph, {reference.names[node]: node for node in reference.nodes}
    found = {graph.names[value.node]: value for value in module.forms.others}
    for node in graph.nodes:
        original = known.get(graph.names[node])
        if original is None:
            continue
        if isinstance(node.op, BatchNorm):
            found |= {reference.names[original.inputs[i].node]: node.inputs[i] for i in STATISTICS[BatchNorm]}
        rule = rule_of(node.op)
        for place, _ in rule.weights if rule else ():
            weight = dequantized(node.inputs[place])
            if weight is not None and weight.value in module.forms.masters:
                found[reference.names[original.inputs[place].node]] = weight.value
    return {name: value for name, value in found.items() if name in known and is_constant(known[name])}


def is_constant(node: Node) -> bool:
    return isinstance(node.op, Constant)


@torch.no_grad()
def reals(module: QuantizedModule, known: Mapping[str, Value]) -> dict[str, Array]:
    """The float numbers behind these constants as they are now, float64."""
    forms = {**module.forms.others, **{value: master.form for value, master in module.forms.masters.items()}}
    found = {}
    for name, value in known.items():
        tensor = module.tensor(module.plan.slots[value].key)
        tensor = forms[value].real(tensor) if value in forms else tensor
        found[name] = tensor.numpy(force=True).astype(np.float64)
    return found


def moved(graph: Graph, reference: Graph, before: Mapping[str, Array], after: Mapping[str, Array]) -> Graph:
    """The graph with its constants moved as those of the module have moved.

    Raises ``InvalidInput`` where a constant is another one in the graph that was quantized.
    """
    quantized = {reference.names[n]: n.op.value for n in reference.nodes if isinstance(n.op, Constant)}

    def update(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        name = graph.names[node]
        if not isinstance(node.op, Constant) or name not in before:
            return None
        own = node.op.value
        if not np.array_equal(own, quantized[name]):
            why, advice = "a float pass has changed it", "run graphopt.passes' float passes on the graph first"
            raise InvalidInput("the weight that is trained is not the model's", where=name, why=why, advice=advice)
        return (constant((own + (after[name] - before[name])).astype(own.dtype), like=node.results[0]),)

    return rebuild(graph, update)
