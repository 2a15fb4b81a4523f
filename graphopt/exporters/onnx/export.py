"""Graphs to ONNX models: every operator with a rule by that, the others by their parts."""

from __future__ import annotations

from importlib.metadata import version

import onnx
from onnx import helper

from graphopt.errors import Unsupported
from graphopt.exporters.onnx import rules as rules  # they register when they are imported
from graphopt.exporters.onnx.rule import ONNX_WRITERS, PARTS, At, onnx_dtype
from graphopt.exporters.onnx.writer import Writer
from graphopt.ir import Batch, Graph, Shape, TensorType, verify
from graphopt.rewrite.legalize import legalize

OPSET = 21
IR_VERSION = 10
MAX_BYTES = 2**31 - 1
"""A protobuf message is no larger."""


def to_onnx(graph: Graph) -> onnx.ModelProto:
    """The graph as an ONNX model; see ``graphopt.exporters.to_onnx``."""
    verify(graph)
    model = model_of(writable(graph))
    if model.ByteSize() > MAX_BYTES:
        raise Unsupported(f"{model.ByteSize():,} bytes are more than an ONNX file holds", where=graph.name)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        why = str(error).strip().splitlines()[0]
        raise Unsupported("ONNX cannot express the graph", where=graph.name, why=why) from error
    return model


def serialized(graph: Graph) -> bytes:
    return bytes(to_onnx(graph).SerializeToString(deterministic=True))


def writable(graph: Graph) -> Graph:
    """The graph by operators that have a rule. Raises ``Unsupported`` with all that have no decomposition either."""

    def refusal(nodes: str) -> Unsupported:
        advice = "give the operator an export_rule or decompose()"
        return Unsupported(f"ONNX has no operator for {nodes}", where=graph.name, advice=advice)

    return legalize(graph, lambda node: type(node.op) in ONNX_WRITERS, refusal, instead=PARTS)


def model_of(graph: Graph) -> onnx.ModelProto:
    """The model of a graph whose operators all have rules."""
    writer = Writer(graph)
    for node in writer.computing:
        ONNX_WRITERS[type(node.op)](node.op, At(node, graph.names[node], writer))
    for value, name in writer.copies:
        writer.add("Identity", [writer.read(value)], [name], writer.fresh(f"{name}/copy"), {})
    body = helper.make_graph(
        writer.nodes,
        graph.name,
        [value_info(writer.tensors[v], v.type) for v in graph.inputs],
        [value_info(n, v.type) for n, v in zip(graph.output_names, graph.outputs, strict=True)],
        list(writer.initializers.values()),
    )
    return helper.make_model(
        body,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="graphopt",
        producer_version=version("graphopt"),
    )


def value_info(name: str, type_: TensorType) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx_dtype(type_.dtype), dim_params(type_.shape))


def dim_params(shape: Shape) -> list[int | str]:
    names = {d: "N" if d.factor == 1 else f"N_times_{d.factor}" for d in shape if isinstance(d, Batch)}
    return [names[d] if isinstance(d, Batch) else d for d in shape]
