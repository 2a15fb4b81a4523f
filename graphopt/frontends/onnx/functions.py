"""The ONNX operators that ONNX itself defines by others: their bodies, made for the inputs at hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

from graphopt.ir import Array, Batch, Value


@dataclass(frozen=True)
class Function:
    """A body of nodes with the opset it is written in, and the tensors bound to its inputs."""

    graph: gs.Graph
    opset: int
    bound: dict[str, Value | Array | None]


def definition(node: gs.Node, inputs: Sequence[Value | Array | None], version: int) -> Function | None:
    """The function that defines the operator of a node, for these inputs; None if ONNX defines it by none."""
    try:
        schema = onnx.defs.get_schema(node.op, version, node.domain or "")
    except onnx.defs.SchemaError:
        return None
    proto = OnnxExporter.export_node(node)
    body = body_of(schema, proto, inputs, version)
    if body is None:
        return None
    absent = {name for name, given in zip(body.input, inputs, strict=False) if given is None}
    absent |= set(body.input[len(inputs) :])
    nodes = list(body.node)
    defaults = [a.default_value for a in schema.attributes.values() if a.default_value.name]
    attributes = {a.name: a for a in (*defaults, *body.attribute_proto, *proto.attribute)}
    resolve(nodes, attributes, absent)
    outputs = [name for name, wanted in zip(body.output, proto.output, strict=False) if wanted]
    graph = onnx.helper.make_graph(
        nodes,
        node.op,
        [onnx.helper.make_empty_tensor_value_info(name) for name in body.input if name not in absent],
        [onnx.helper.make_empty_tensor_value_info(name) for name in outputs],
    )
    opset = next((int(o.version) for o in body.opset_import if o.domain in ("", "ai.onnx")), version)
    bound: dict[str, Value | Array | None] = {
        name: given for name, given in zip(body.input, inputs, strict=False) if given is not None
    }
    return Function(gs.import_onnx(onnx.helper.make_model(graph, opset_imports=body.opset_import)), opset, bound)


def body_of(
    schema: Any, node: onnx.NodeProto, inputs: Sequence[Value | Array | None], version: int
) -> onnx.FunctionProto | None:
    """The body of the newest opset that the model may use; that of a later one if there is no other."""
    if schema.has_context_dependent_function:
        types = [type_of(i).SerializeToString() for i in inputs]
        wanted = best(schema.context_dependent_function_opset_versions, version)
        data = schema.get_context_dependent_function_with_opset_version(wanted, node.SerializeToString(), types)
    elif schema.has_function:
        data = schema.get_function_with_opset_version(best(schema.function_opset_versions, version))
    else:
        return None
    body = onnx.FunctionProto()
    body.ParseFromString(data)
    return body if body.node else None


def best(versions: Iterable[int], version: int) -> int:
    return max((v for v in versions if v <= version), default=min(versions))


def type_of(tensor: Value | Array | None) -> onnx.TypeProto:
    """The type of an input as ONNX writes it."""
    if tensor is None:
        return onnx.TypeProto()
    if isinstance(tensor, Value):
        shape = [None if isinstance(d, Batch) else d for d in tensor.type.shape]
        return tensor_type(np.dtype(tensor.type.dtype), shape)
    return tensor_type(np.dtype(np.int64) if tensor.dtype == object else tensor.dtype, tensor.shape)


def tensor_type(dtype: np.dtype[Any], shape: Sequence[int | None]) -> onnx.TypeProto:
    return onnx.helper.make_tensor_type_proto(onnx.helper.np_dtype_to_tensor_dtype(dtype), shape)


def resolve(nodes: Iterable[onnx.NodeProto], attributes: dict[str, onnx.AttributeProto], absent: set[str]) -> None:
    """Put attributes of the call in the place of references to them, and nothing in that of absent inputs."""
    for node in nodes:
        for index, name in enumerate(node.input):
            if name in absent:
                node.input[index] = ""
        kept = []
        for attribute in node.attribute:
            if attribute.ref_attr_name:
                if attribute.ref_attr_name not in attributes:
                    continue
                named = onnx.AttributeProto()
                named.CopyFrom(attributes[attribute.ref_attr_name])
                named.name = attribute.name
                kept.append(named)
            else:
                resolve(attribute.g.node, attributes, absent)
                kept.append(attribute)
        fresh = [onnx.AttributeProto.FromString(a.SerializeToString()) for a in kept]
        del node.attribute[:]
        node.attribute.extend(fresh)
