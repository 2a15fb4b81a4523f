"""A graph as a module, and the way back: the parameters of a module as the constants of a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from graphopt.errors import InvalidInput, Unsupported
from graphopt.exporters.torch.plan import ExecutionPlan, Key, Situation, Slot, declared
from graphopt.ir import Array, Constant, Graph, Node, Value, constant, rebuild, verify
from graphopt.ir.graph import check_inputs, pair_inputs
from graphopt.ops import Fused


class TorchGraph(nn.Module):
    """The function of a graph; see ``graphopt.to_torch``.

    ``paths`` has, for a constant, the dotted name of its parameter or buffer, by the names of its node and of the
    fused nodes that it is in: the same names joined by dots, but where PyTorch does not allow that.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.plan = ExecutionPlan(graph)
        if self.plan.stuck:
            raise Unsupported(
                f"PyTorch has no way to compute {', '.join(self.plan.stuck)}",
                where=graph.name,
                advice="give the operator a torch_rule or decompose()",
            )
        self.paths: dict[Key, str] = {}
        for slot in self.plan.slots.values():
            self.paths[slot.key] = self.store(slot)
        self.eval()

    def forward(self, *inputs: Tensor, **named: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The one output, or all as a tuple, for tensors by position or by name. The batch is read off them.

        Raises ``InvalidInput`` for a missing or extra input, a wrong dtype or shape.
        """
        graph = self.plan.graph
        given = {v: as_declared(t, v) for v, t in pair_inputs(graph, named or inputs).items()}
        batch = check_inputs(
            graph, {v: (str(t.dtype).removeprefix("torch."), tuple(t.shape)) for v, t in given.items()}
        )
        results = self.results(list(given.values()), batch)
        outputs = tuple(declared(t, v) for t, v in zip(results, graph.outputs, strict=True))
        return outputs[0] if len(outputs) == 1 else outputs

    def results(self, inputs: list[Tensor], batch: int) -> list[Tensor]:
        """The outputs for inputs in the order of the graph, all checked, of so many samples."""
        return self.plan.run(inputs, Situation(self.constants(), batch, self.training))

    def constants(self) -> dict[Value, Tensor]:
        """What every constant of the graph is now."""
        return {value: self.tensor(slot.key) for value, slot in self.plan.slots.items()}

    @torch.no_grad()
    def evaluate(self, inputs: Mapping[str, Array] | Sequence[Array]) -> tuple[Array, ...]:
        """What ``graphopt.ir.evaluate`` gives of a graph, by this module: arrays in, arrays out, no gradients."""
        given = pair_inputs(self.plan.graph, inputs)
        outputs = self(*(torch.from_numpy(np.array(a)) for a in given.values()))
        return tuple(t.numpy(force=True) for t in (outputs if isinstance(outputs, tuple) else (outputs,)))

    @property
    def input_names(self) -> list[str]:
        return [self.plan.graph.names[v.node] for v in self.plan.graph.inputs]

    @property
    def weights(self) -> dict[Value, Tensor]:
        """The parameters by the constants of the graph that they stand for, those in fused nodes left out."""
        slots = self.plan.slots.items()
        return {v: self.tensor(slot.key) for v, slot in slots if slot.parameter and len(slot.key) == 1}

    def tensor(self, key: Key) -> Tensor:
        """The parameter or buffer of a constant, as it is now."""
        owner, _, leaf = self.paths[key].rpartition(".")
        tensor: Tensor = getattr(self.get_submodule(owner), leaf)
        return tensor

    def store(self, slot: Slot) -> str:
        """Make a parameter or buffer, under a name that is free; gives its path."""
        wanted = ".".join(slot.key)
        spot, count = self.spot(wanted), 0
        while spot is None:
            flat = wanted.replace(".", "_") or "constant"
            spot = self.spot(f"{flat}_{count}" if count else flat)
            count += 1
        owner, leaf, path = spot
        tensor = torch.from_numpy(slot.data.copy())
        if slot.parameter:
            owner.register_parameter(leaf, nn.Parameter(tensor))
        else:
            owner.register_buffer(leaf, tensor, persistent=not slot.derived)
        return path

    def spot(self, path: str) -> tuple[nn.Module, str, str] | None:
        """The submodule and attribute that a dotted name stands for; None if a part is empty or taken."""
        owner: nn.Module = self
        *parents, leaf = path.split(".")
        for part in parents:
            if part and not hasattr(owner, part):
                owner.add_module(part, nn.Module())
            child = owner._modules.get(part)
            if child is None:
                return None
            owner = child
        return (owner, leaf, path) if leaf and not hasattr(owner, leaf) else None


def as_declared(tensor: Tensor, value: Value) -> Tensor:
    """Half floats in the dtype of their input while autocast is on: Lightning Fabric narrows what modules are given."""
    half = isinstance(tensor, Tensor) and tensor.dtype in (torch.bfloat16, torch.float16) and value.type.is_float
    if not half or not torch.is_autocast_enabled(tensor.device.type):
        return tensor
    return tensor.to(getattr(torch, value.type.dtype))


def dtype_name(tensor: Tensor) -> str:
    """The dtype by its numpy name."""
    return str(tensor.dtype).removeprefix("torch.")


def to_torch(graph: Graph) -> TorchGraph:
    """The graph as a module; see ``graphopt.exporters.to_torch``."""
    verify(graph)
    return TorchGraph(graph)


def with_parameters(graph: Graph, module: TorchGraph) -> Graph:
    """The graph with the values that a module has now; see ``graphopt.exporters.with_parameters``."""

    def updated(graph: Graph, behind: Key) -> Graph:
        def update(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
            key = (*behind, graph.names[node])
            if isinstance(node.op, Constant):
                data = current(module, key, node.op.value)
                same = data.tobytes() == node.op.value.tobytes()
                return None if same else (constant(data, like=node.results[0]),)
            if isinstance(node.op, Fused) and any(isinstance(n.op, Constant) for n in node.op.body.nodes):
                body = updated(node.op.body, key)
                return Fused(body=body).apply(*inputs, name=node.name, origins=node.origins).results
            return None

        return rebuild(graph, update)

    return updated(graph, ())


def current(module: TorchGraph, key: Key, like: Array) -> Array:
    """The value that a module has for a constant, which must be of the same dtype and shape."""
    if key not in module.paths:
        raise InvalidInput("the module has no parameter or buffer of that name", where="/".join(key))
    tensor = module.tensor(key).detach().cpu()
    if tuple(tensor.shape) != like.shape or dtype_name(tensor) != str(like.dtype):
        have = f"{dtype_name(tensor)}{list(tensor.shape)}"
        raise InvalidInput(f"the module has {have}, the graph {like.dtype}{list(like.shape)}", where="/".join(key))
    return tensor.numpy()
