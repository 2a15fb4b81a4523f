"""Small TFLite files, drawn with the schema of ai-edge-litert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from graphopt.ir import Array

TYPES = {name.lower(): code for name, code in vars(schema.TensorType).items() if isinstance(code, int)}
OPERATORS = {name: code for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}


@dataclass
class FileTensor:
    """A tensor to draw: what it has of data, scales and zero points."""

    name: str
    dtype: str
    shape: Sequence[int]
    data: Array | None = None
    scale: Sequence[float] = ()
    zero: Sequence[int] = ()
    axis: int = 0
    signature: Sequence[int] | None = None
    variable: bool = False


@dataclass
class Drawn:
    """An operator to draw: its tensors by name, None for those left out, and its options."""

    op: str
    inputs: Sequence[str | None]
    outputs: Sequence[str]
    options: Mapping[str, Any] = field(default_factory=dict)
    kind: str | None = None
    """The kind of the options, if there are any."""
    intermediates: Sequence[str] = ()
    version: int = 1


def quantize(data: Array, scale: Array | float, zero: int, dtype: str) -> Array:
    limits = np.iinfo(dtype)
    return np.clip(np.rint(data / scale) + zero, limits.min, limits.max).astype(dtype)


def constant(name: str, data: Array, scale: float = 0.0, dtype: str = "int8") -> FileTensor:
    """A constant, symmetrically quantized where there is a scale."""
    if not scale:
        return FileTensor(name, str(data.dtype), data.shape, data)
    return FileTensor(name, dtype, data.shape, quantize(data, scale, 0, dtype), [scale], [0])


def draw(
    tensors: Sequence[FileTensor], operators: Sequence[Drawn], inputs: Sequence[str], outputs: Sequence[str]
) -> bytes:
    """The bytes of a model of one graph."""
    places = {t.name: i for i, t in enumerate(tensors)}
    model = schema.ModelT()
    model.version, model.description = 3, "drawn"
    model.buffers, model.operatorCodes = [schema.BufferT()], []
    graph = schema.SubGraphT()
    graph.name, graph.tensors, graph.operators = "main", [], []
    graph.inputs, graph.outputs = [places[n] for n in inputs], [places[n] for n in outputs]
    for tensor in tensors:
        graph.tensors.append(tensor_t(tensor, len(model.buffers)))
        buffer = schema.BufferT()
        if tensor.data is not None:
            buffer.data = np.frombuffer(stored(tensor), np.uint8)
        model.buffers.append(buffer)
    kinds = list(dict.fromkeys((o.op, o.version) for o in operators))
    model.operatorCodes = [code_t(*kind) for kind in kinds]
    for drawn in operators:
        made = schema.OperatorT()
        made.opcodeIndex = kinds.index((drawn.op, drawn.version))
        made.inputs = [-1 if n is None else places[n] for n in drawn.inputs]
        made.outputs = [places[n] for n in drawn.outputs]
        made.intermediates = [places[n] for n in drawn.intermediates] or None
        if drawn.kind is not None:
            made.builtinOptionsType = getattr(schema.BuiltinOptions, drawn.kind)
            made.builtinOptions = getattr(schema, f"{drawn.kind}T")()
            for name, value in drawn.options.items():
                assert hasattr(made.builtinOptions, name), name
                setattr(made.builtinOptions, name, value)
        graph.operators.append(made)
    model.subgraphs = [graph]
    return packed(model)


def packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def with_free_batch(data: bytes) -> bytes:
    """A model in which dimension 0 is dynamic where it is one, of all that is no constant."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    for tensor in model.subgraphs[0].tensors:
        if model.buffers[tensor.buffer].data is None and len(tensor.shape) and tensor.shape[0] == 1:
            tensor.shapeSignature = [-1, *tensor.shape[1:]]
    return packed(model)


def stored(tensor: FileTensor) -> bytes:
    """The data of a tensor, two elements a byte where it is int4."""
    assert tensor.data is not None
    if tensor.dtype != "int4":
        return np.asarray(tensor.data, tensor.dtype).tobytes()
    nibbles = np.append(tensor.data.reshape(-1), [0] * (tensor.data.size % 2)).astype(np.int8) & 15
    return (nibbles[::2] | nibbles[1::2] << 4).astype(np.uint8).tobytes()


def code_t(op: str, version: int) -> Any:
    code = schema.OperatorCodeT()
    code.version = version
    if op.startswith("custom:"):
        code.builtinCode = code.deprecatedBuiltinCode = OPERATORS["CUSTOM"]
        code.customCode = op.removeprefix("custom:")
    else:
        code.builtinCode = OPERATORS[op]
        code.deprecatedBuiltinCode = min(OPERATORS[op], 127)
    return code


def tensor_t(tensor: FileTensor, buffer: int) -> Any:
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = tensor.name, list(tensor.shape), TYPES[tensor.dtype], buffer
    made.shapeSignature, made.isVariable, made.hasRank = tensor.signature, tensor.variable, True
    if tensor.scale:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = list(tensor.scale), list(tensor.zero)
        made.quantization.quantizedDimension = tensor.axis
    return made
