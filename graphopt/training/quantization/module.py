"""A graph of quantize and dequantize as a module that computes the integers of its program, with gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from graphopt.exporters.torch.module import TorchGraph
from graphopt.exporters.torch.plan import Situation
from graphopt.ir import Array, Constant, Graph, Node, Value, constant, rebuild
from graphopt.ops import BatchNorm, Quantize
from graphopt.passes import Context, LowerInteger, ReestimateBatchNorm
from graphopt.passes.data import Data
from graphopt.training.quantization.forms import Forms


class QuantizedModule(TorchGraph):
    """A graph of quantize and dequantize whose weights and scales can be trained.

    Every forward pass lowers the graph by ``LowerInteger``, with the present weights and scales, and runs the result:
    the outputs, and all integers before them, are those of the program. Gradients are those of quantize and dequantize,
    computed between these integers; the rounding passes them straight through (Bengio et al., 2013).

    In training mode, batch norms use the statistics of the batch until ``freeze_norms``. There is no program with such
    norms, so the module then computes quantize and dequantize in floats.

    ``weights`` has the float weights for each constant of the graph that holds integer weights.
    """

    def __init__(self, graph: Graph, weights: Mapping[Value, Array], learn_scales: bool = True) -> None:
        super().__init__(graph)
        others = {value: slot.data for value, slot in self.plan.slots.items() if slot.parameter}
        self.forms = Forms.of(graph, weights, others, learn_scales)
        self.norms_frozen = not any(isinstance(n.op, BatchNorm) for n in graph.nodes)
        for value, data in self.forms.parameters(weights, others).items():
            self.replace_by_parameter(value, data)

    def replace_by_parameter(self, value: Value, data: Array) -> None:
        """Replace the buffer or parameter of a constant by a new parameter."""
        owner, _, leaf = self.paths[self.plan.slots[value].key].rpartition(".")
        module = self.get_submodule(owner)
        delattr(module, leaf)
        module.register_parameter(leaf, nn.Parameter(torch.from_numpy(data.copy())))

    @torch.no_grad()
    def freeze_norms(self, data: Data | None = None) -> None:
        """Let batch norms use fixed statistics from now on, also in training mode: those that they have, or those that
        are measured on data."""
        self.norms_frozen = True
        if data is None or not any(isinstance(node.op, BatchNorm) for node in self.plan.graph.nodes):
            return
        new = ReestimateBatchNorm(calibration=data)(self.quantized())
        norms = {new.names[node]: node for node in new.nodes if isinstance(node.op, BatchNorm)}
        for name, node in norms.items():
            old = self.plan.graph.node(name).inputs
            for value, now in zip(old[3:], node.inputs[3:], strict=True):
                if now.constant is not None:
                    self.tensor(self.plan.slots[value].key).copy_(torch.tensor(now.constant))

    def constants(self) -> dict[Value, Tensor]:
        return self.forms.reals(super().constants())

    def results(self, inputs: list[Tensor], batch: int) -> list[Tensor]:
        constants = self.constants()
        if self.training and not self.norms_frozen:
            return self.plan.run(inputs, Situation(constants, batch, training=True))
        outputs, integers = self.integers(inputs, constants)
        if not torch.is_grad_enabled():
            return outputs
        return self.plan.run(inputs, Situation(constants, batch, training=False, imposed=integers))

    @torch.no_grad()
    def integers(
        self, inputs: Sequence[Tensor], constants: Mapping[Value, Tensor]
    ) -> tuple[list[Tensor], dict[Value, Tensor]]:
        """The outputs of the program, and in it the integers of every quantize of the graph."""
        graph = self.plan.graph
        quantized = [n.results[0] for n in graph.nodes if isinstance(n.op, Quantize)]
        observed = with_constants(Graph(graph.inputs, (*graph.outputs, *quantized)), constants)
        device = inputs[0].device
        program = TorchGraph(LowerInteger().run(observed, Context())).to(device)
        with torch.autocast(device.type, enabled=False):
            found = program(*inputs)
        results = found if isinstance(found, tuple) else (found,)
        count = len(graph.outputs)
        return list(results[:count]), dict(zip(quantized, results[count:], strict=True))

    @torch.no_grad()
    def quantized(self) -> Graph:
        """The graph of quantize and dequantize with the present weights and scales."""
        return with_constants(self.plan.graph, self.constants())

    def program(self, context: Context | None = None) -> Graph:
        """The graph on integers that this module computes; compile it."""
        return LowerInteger()(self.quantized(), context)


def with_constants(graph: Graph, tensors: Mapping[Value, Tensor]) -> Graph:
    """The graph with other constants, of the same types."""

    def update(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if not isinstance(node.op, Constant) or node.results[0] not in tensors:
            return None
        data = tensors[node.results[0]].numpy(force=True).astype(node.op.value.dtype)
        return None if data.tobytes() == node.op.value.tobytes() else (constant(data, like=node.results[0]),)

    return rebuild(graph, update)
