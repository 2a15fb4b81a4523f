"""The inputs and outputs of a program: their types, and scale and zero_point of quantized ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from graphopt.ir import Graph, Node, TensorType, Value, arg, rebuild
from graphopt.ops import Dequantize, Quantize
from graphopt.targets.port import Port


@dataclass(frozen=True)
class PlacedPort:
    """An input or output of the program, row-major; channels may stand last (``PortOptions``).

    With a ``scale``, its integers stand for (integer - zero_point) * scale; those of ``pixels`` for what it says. With
    an ``offset`` it is in the workspace, so many bytes from its start.
    """

    name: str
    type: TensorType
    scale: float | None = None
    zero_point: int = 0
    offset: int | None = None
    pixels: Port | None = None


@dataclass(frozen=True)
class PortOptions:
    """What a caller wishes of ports: which of them have their channels last, and whether all are in the workspace.

    The input that is ``pushed`` is not there as a whole.
    """

    channels_last: frozenset[str] = frozenset()
    in_arena: bool = False
    pushed: str | None = None


AS_THEY_ARE = PortOptions()
"""Row-major, in memory of the caller."""


def port_options(ports: Mapping[str, Port], in_arena: bool) -> PortOptions:
    """What ports by name are for the lowering."""
    last = frozenset(name for name, port in ports.items() if port.layout == "nhwc")
    pushed = next((name for name, port in ports.items() if port.push_rows), None)
    return PortOptions(last, in_arena or pushed is not None, pushed)


Parameters = tuple[float, int]
"""Scale and zero point."""


def native_io(graph: Graph) -> tuple[Graph, dict[str, Parameters], dict[str, Parameters]]:
    """The graph without the quantize after its inputs and the dequantize before its outputs, and their parameters.

    An input becomes integers if only quantize nodes with the same parameters read it. An output becomes integers if it
    is a dequantize by one scale. The parameters are given by the names of inputs and of outputs.
    """
    quantized = {v: found for v in graph.inputs if (found := quantized_alike(graph, v))}
    names = graph.names
    natives = {v: arg(names[v.node], nodes[0].types[0].dtype, v.type.shape) for v, nodes in quantized.items()}

    def replaced(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.results[0] in natives:
            return (natives[node.results[0]],)
        return (natives[node.inputs[0]],) if node.inputs and node.inputs[0] in natives else None

    native = rebuild(graph, replaced)
    outputs, given = list(native.outputs), dict[str, Parameters]()
    for position, (name, value) in enumerate(zip(graph.output_names, native.outputs, strict=True)):
        if isinstance(value.op, Dequantize) and (parameters := scalar_parameters(value.node)):
            outputs[position], given[name] = value.node.inputs[0], parameters
    taken = {names[v.node]: parameters for v, nodes in quantized.items() if (parameters := scalar_parameters(nodes[0]))}
    return replace(native, outputs=tuple(outputs)), taken, given


def quantized_alike(graph: Graph, value: Value) -> tuple[Node, ...]:
    """The readers of a value, if all are quantize nodes with the same parameters; else none."""
    nodes = graph.uses[value]
    parameters = {scalar_parameters(n) if isinstance(n.op, Quantize) else None for n in nodes}
    same = len(parameters) == 1 and None not in parameters and len({n.types for n in nodes}) == 1
    return nodes if same and graph.use_count(value) == len(nodes) else ()


def scalar_parameters(node: Node) -> Parameters | None:
    """Scale and zero point of a quantize or dequantize, if they are constant numbers."""
    scale, zero = (v.constant for v in node.inputs[1:])
    return (float(scale), int(zero)) if scale is not None and zero is not None and not scale.ndim else None


def with_meaning(
    ports: Sequence[PlacedPort], parameters: Mapping[str, Parameters], wished: Mapping[str, Port]
) -> tuple[PlacedPort, ...]:
    """The ports of a program with what their integers stand for, by name."""

    def told(port: PlacedPort) -> PlacedPort:
        if port.name in parameters:
            scale, zero_point = parameters[port.name]
            return replace(port, scale=scale, zero_point=zero_point)
        given = wished.get(port.name)
        return replace(port, pixels=given) if given is not None and given.dtype is not None else port

    return tuple(map(told, ports))
