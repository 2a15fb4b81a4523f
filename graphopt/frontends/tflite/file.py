"""Reading TFLite files, of which nothing is trusted, into plain data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tflite

from graphopt.errors import InvalidInput, Unsupported
from graphopt.frontends.limits import MAX_FILE_BYTES
from graphopt.frontends.tflite.verify import Verifier
from graphopt.ir import Array, Value, constant

OPERATORS = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}
OPTIONS = {code: name for name, code in vars(tflite.BuiltinOptions).items() if isinstance(code, int)}
OPTIONS_2 = {code: name for name, code in vars(tflite.BuiltinOptions2).items() if isinstance(code, int)}
TYPES = {code: name.lower() for name, code in vars(tflite.TensorType).items() if isinstance(code, int)}
STORED = {"int4": "int8"}
"""What is stored in less than a byte an element, and in which dtype it is held here."""
UNNAMED = ("", "main")
"""What the converter calls every graph."""
READ = frozenset(
    ["bool", "float16", "float32", "float64", "int4", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"]
)


@dataclass(frozen=True, eq=False)
class Parameters:
    """What integers stand for: (integer - zero point) * scale, one of each, or one an element of ``axis``."""

    scale: Array
    zero_point: Array
    axis: int
    name: str = ""

    @cached_property
    def values(self) -> tuple[Value, Value]:
        """Scale and zero point as constants of a graph: numbers, unless there is one for every channel."""
        shape = (-1,) if self.by_channel else ()
        parts = (self.scale, "scale"), (self.zero_point, "zero_point")
        scale, zero = (constant(p.reshape(shape), f"{self.name}.{part}") for p, part in parts)
        return scale, zero

    @property
    def by_channel(self) -> bool:
        return self.scale.size > 1

    def same(self, other: Parameters | None) -> bool:
        return other is not None and all(
            np.array_equal(a, b) for a, b in ((self.scale, other.scale), (self.zero_point, other.zero_point))
        )


@dataclass(frozen=True, eq=False)
class FileTensor:
    """A tensor of the file. ``shape`` has -1 for what is dynamic, and ``data`` is there for constants."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    parameters: Parameters | None = None
    data: Array | None = None
    variable: bool = False
    refused: str | None = None
    """Why it cannot be used, if it cannot."""


@dataclass(frozen=True, eq=False)
class Operator:
    """An operator of the file: tensors by number, -1 for those left out, and its table of options."""

    op: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    intermediates: tuple[int, ...]
    options: Any
    kind: str
    """What the options are called, empty where there are none."""


@dataclass(frozen=True, eq=False)
class Model:
    name: str
    tensors: tuple[FileTensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read(path: Path) -> Model:
    """The model in a file. Raises ``InvalidInput`` for what is damaged, ``Unsupported`` for what is not read."""
    where, size = str(path), path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise InvalidInput(f"a file of {size:,} bytes is no TFLite model", where=where)
    data = path.read_bytes()
    try:
        verifier = Verifier(data)
        verifier.model()
        return model_of(data, verifier, path.stem)
    except (InvalidInput, Unsupported) as error:
        raise error.told(where=f"{where}: {error.where}" if error.where else where) from error


def model_of(data: bytes, verifier: Verifier, name: str) -> Model:
    """A model whose bounds are checked."""
    model = tflite.Model.GetRootAsModel(data, 0)
    if model.Version() != 3:
        raise Unsupported(f"version {model.Version()} of the TFLite format", advice="version 3 is read")
    if not model.SubgraphsLength():
        raise InvalidInput("the model has no graph", advice="it may be cut short")
    graph = model.Subgraphs(0)
    tensors = tuple(tensor_of(model, graph.Tensors(i), i) for i in range(graph.TensorsLength()))
    operators = tuple(
        operator_of(model, graph.Operators(i), i, len(tensors), verifier) for i in range(graph.OperatorsLength())
    )
    inputs, outputs = integers(graph.InputsAsNumpy()), integers(graph.OutputsAsNumpy())
    for what, found in (("an input", inputs), ("an output", outputs)):
        check_indices(found, len(tensors), f"{what} of the graph", optional=False)
    if not outputs:
        raise InvalidInput("the model has no outputs")
    if len(set(inputs)) < len(inputs):
        raise InvalidInput("two inputs of the graph are one tensor")
    named = text(graph.Name())
    return Model(name if named in UNNAMED else named, tensors, operators, inputs, outputs)


def tensor_of(model: Any, tensor: Any, index: int) -> FileTensor:
    """A tensor, its data unpacked from nibbles where it is int4."""
    name = text(tensor.Name()) or f"tensor_{index}"
    where = f"tensor {name!r}"
    kind = TYPES.get(tensor.Type(), f"type {tensor.Type()}")
    if kind not in READ:
        return FileTensor(name, kind, (), refused=f"a tensor of {kind}")
    shape = integers(tensor.ShapeAsNumpy())
    signature = integers(tensor.ShapeSignatureAsNumpy()) or shape
    if any(d < 0 for d in shape) or len(signature) != len(shape) or len(shape) > 8:
        raise InvalidInput(f"its shape is {list(shape)}, by its signature {list(signature)}", where=where)
    dtype = STORED.get(kind, kind)
    refused = "a sparse tensor" if tensor.Sparsity() is not None else None
    data = None if refused else data_of(model, tensor.Buffer(), kind, shape, where)
    dynamic = tuple(-1 if s == -1 and data is None else d for s, d in zip(signature, shape, strict=True))
    parameters = parameters_of(tensor.Quantization(), dtype, shape, name)
    return FileTensor(name, dtype, dynamic, parameters, data, bool(tensor.IsVariable()), refused)


def data_of(model: Any, index: int, kind: str, shape: tuple[int, ...], where: str) -> Array | None:
    """The elements of a constant; None where the buffer is empty, as it is for what is computed."""
    if not 0 <= index < max(model.BuffersLength(), 1):
        raise InvalidInput(f"its data is buffer {index}, of {model.BuffersLength()}", where=where)
    if index == 0:
        return None
    buffer = model.Buffers(index)
    if buffer.Offset() > 1:
        raise Unsupported("its data lies behind the flatbuffer", where=where, advice="files up to 2 GB are read")
    if not buffer.DataLength():
        return None
    stored = np.asarray(buffer.DataAsNumpy())
    count = math.prod(shape)
    wanted = (count + 1) // 2 if kind == "int4" else count * np.dtype(STORED.get(kind, kind)).itemsize
    if stored.size != wanted:
        raise InvalidInput(f"its data has {stored.size:,} bytes, its shape and type take {wanted:,}", where=where)
    if kind == "int4":
        nibbles = np.stack([stored << 4, stored & 0xF0], axis=-1).view("int8") >> 4
        return np.asarray(nibbles.reshape(-1)[:count].reshape(shape))
    if kind == "bool":
        return np.asarray(stored != 0).reshape(shape)
    return np.asarray(stored.view(np.dtype(kind).newbyteorder("<"))).astype(kind).reshape(shape)


def short(name: str) -> str:
    """The first of the names that the converter joins where it fuses operators."""
    return name.split(";")[0] or name


def parameters_of(found: Any, dtype: str, shape: tuple[int, ...], name: str) -> Parameters | None:
    """Scales and zero points, checked against the tensor; None where there are none."""
    if found is None or not found.ScaleLength() or not np.issubdtype(np.dtype(dtype), np.integer):
        return None
    where = f"tensor {name!r}"
    scale = np.asarray(found.ScaleAsNumpy()).astype("float32")
    zero = np.asarray(found.ZeroPointAsNumpy()).astype("int64") if found.ZeroPointLength() else np.zeros(1, "int64")
    zero = np.repeat(zero, scale.size) if zero.size == 1 else zero
    axis = int(found.QuantizedDimension())
    limits = np.iinfo(dtype)
    if not np.isfinite(scale).all() or (scale <= 0).any():
        raise InvalidInput("a scale is not a positive number", where=where)
    if zero.size != scale.size or (scale.size > 1 and not (0 <= axis < len(shape) and shape[axis] == scale.size)):
        what = f"{scale.size} scales and {zero.size} zero points along axis {axis} of {list(shape)}"
        raise InvalidInput(what, where=where)
    if (zero < limits.min).any() or (zero > limits.max).any():
        raise InvalidInput(f"a zero point is outside of {dtype}", where=where)
    return Parameters(scale, zero.astype(dtype), axis, short(name))


def operator_of(model: Any, operator: Any, index: int, tensors: int, verifier: Verifier) -> Operator:
    where = f"operator {index}"
    code = operator.OpcodeIndex()
    if not 0 <= code < model.OperatorCodesLength():
        raise InvalidInput(f"its kind is {code}, of {model.OperatorCodesLength()}", where=where)
    found = model.OperatorCodes(code)
    builtin = max(found.BuiltinCode(), found.DeprecatedBuiltinCode())  # older files have one byte for it
    op = OPERATORS.get(builtin, f"operator {builtin}")
    op = f"custom:{text(found.CustomCode())}" if op == "CUSTOM" else op
    inputs, outputs = integers(operator.InputsAsNumpy()), integers(operator.OutputsAsNumpy())
    intermediates = integers(operator.IntermediatesAsNumpy())
    check_indices(inputs, tensors, f"an input of {where}", optional=True)
    check_indices((*outputs, *intermediates), tensors, f"a result of {where}", optional=False)
    table, kind = operator.BuiltinOptions(), OPTIONS.get(operator.BuiltinOptionsType(), "")
    if table is None and operator.BuiltinOptions2() is not None:
        table, kind = operator.BuiltinOptions2(), OPTIONS_2.get(operator.BuiltinOptions2Type(), "")
    if table is None or not hasattr(tflite, kind):
        return Operator(op, inputs, outputs, intermediates, None, "")
    verifier.options(table.Pos, kind)
    options = getattr(tflite, kind)()
    options.Init(table.Bytes, table.Pos)
    return Operator(op, inputs, outputs, intermediates, options, kind)


def check_indices(found: tuple[int, ...], count: int, what: str, optional: bool) -> None:
    if any(not (-1 if optional else 0) <= i < count for i in found):
        raise InvalidInput(f"{what} is a tensor outside of the {count} that there are")


def integers(found: Any) -> tuple[int, ...]:
    """A vector of integers; flatbuffers gives 0 for one that is not there."""
    return () if isinstance(found, int) else tuple(int(i) for i in found)


def text(found: bytes | None) -> str:
    """A string of the file, which need not be UTF-8."""
    return (found or b"").decode("utf-8", "backslashreplace")
