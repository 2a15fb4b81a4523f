"""The checks that every graph must pass."""

from __future__ import annotations

from graphopt.errors import GraphoptError, InvalidGraph
from graphopt.ir.graph import Constant, Graph, Input
from graphopt.ir.types import Batch


def verify(graph: Graph) -> None:
    """Infer every type anew and raise ``InvalidGraph`` naming the first node that is wrong."""
    inputs = {v.node for v in graph.inputs}
    if len(inputs) != len(graph.inputs) or not all(isinstance(n.op, Input) for n in inputs):
        raise InvalidGraph("the inputs must be distinct input nodes", where=graph.name)
    if not graph.outputs:
        raise InvalidGraph("there are no outputs", where=graph.name)
    if len(set(graph.output_names)) != len(graph.output_names):
        raise InvalidGraph(f"output names repeat: {graph.output_names}", where=graph.name)
    for node in graph.nodes:
        where = graph.names[node]
        if isinstance(node.op, Input) and node not in inputs:
            raise InvalidGraph("an input node that is not among the graph's inputs", where=where)
        if isinstance(node.op, Constant) and node.op.value.flags.writeable:
            raise InvalidGraph("the array of a constant is writeable", where=where, advice="make it with constant()")
        try:
            inferred = node.op.infer(*(v.type for v in node.inputs))
        except GraphoptError as error:
            raise InvalidGraph(str(error), where=where) from error
        types = inferred if isinstance(inferred, tuple) else (inferred,)
        if not graph.is_symbolic and any(isinstance(d, Batch) for t in types for d in t.shape):
            raise InvalidGraph("it has the batch N, which no input has", where=where)
        if types != node.types:
            carried, wanted = (", ".join(map(str, t)) for t in (node.types, types))
            raise InvalidGraph(f"carries {carried}, its operator gives {wanted}", where=where)
