"""The shapes of the inputs of an ONNX model: what is N, what the user binds, what is refused."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from graphopt.errors import InvalidInput, Unsupported
from graphopt.ir import Array, Batch, Dim, Shape
from graphopt.ir.types import DTYPES, TensorType

Frozen = Array | float | Sequence[Any]
"""What an input may be frozen to: an array, a number, or numbers in lists."""
MULTIPLE = re.compile(r"N_times_([1-9]\d{0,9})")


def input_shapes(
    inputs: Sequence[Any], batch: int | None, given: Mapping[str, int | Sequence[int]]
) -> dict[str, Shape]:
    """The shape of every input. A dynamic dimension 0 is N (or ``batch``); others must be given.

    A dimension called ``N_times_4``, as graphopt's exporter names them, is 4*N, and N may then be any dimension.

    ``inputs`` have a ``name`` and a ``shape`` of integers, names of dimensions, and None. Raises ``Unsupported``
    for a dynamic dimension that is not bound, ``InvalidInput`` for a binding that fits nothing.
    """
    unused = set(given)
    symbol = exported_symbol(inputs)
    shapes: dict[str, Shape] = {}
    for tensor in inputs:
        where = f"input {tensor.name!r}"
        bound = given.get(tensor.name)
        if isinstance(bound, Sequence):
            unused.discard(tensor.name)
            shapes[tensor.name] = whole_shape(bound, tensor.shape, where)
            continue
        if tensor.shape is None:
            advice = f"give shapes={{{tensor.name!r}: (...)}}, or --shape {tensor.name}=..."
            raise Unsupported("its shape is not known", where=where, advice=advice)
        shape: list[Dim] = []
        for axis, dim in enumerate(tensor.shape):
            if isinstance(dim, str) and isinstance(size := given.get(dim), int):
                unused.discard(dim)
                shape.append(positive(size, where))
            elif is_static(dim):
                shape.append(int(dim))
            elif axis == 0 and (symbol is None or dim is None or dim == symbol):
                symbol = symbol or dim
                shape.append(Batch() if batch is None else batch)
            elif dim is not None and dim == symbol:
                shape.append(Batch() if batch is None else batch)
            elif symbol and isinstance(dim, str) and (multiple := MULTIPLE.fullmatch(dim)):
                shape.append(int(multiple[1]) * (Batch() if batch is None else batch))
            else:
                raise dynamic(axis, dim, tensor.name, symbol)
        shapes[tensor.name] = tuple(shape)
    if unused:
        known = sorted({d for t in inputs for d in t.shape or () if isinstance(d, str)} | {t.name for t in inputs})
        raise InvalidInput(f"shapes names {', '.join(sorted(unused))}", advice=f"the model has {', '.join(known)}")
    return shapes


def exported_symbol(inputs: Sequence[Any]) -> str | None:
    """``N`` where the shapes of the inputs are such as graphopt's exporter writes: of integers and multiples of N."""
    names = {d for t in inputs for d in t.shape or () if not is_static(d)}
    exported = names and all(isinstance(d, str) and (d == "N" or MULTIPLE.fullmatch(d)) for d in names)
    return "N" if exported else None


def is_static(dim: object) -> bool:
    return isinstance(dim, int) and dim >= 0


def positive(size: int, where: str) -> int:
    if size < 1:
        raise InvalidInput(f"a dimension is bound to {size}", where=where)
    return size


def whole_shape(bound: Sequence[int], shape: Sequence[object] | None, where: str) -> Shape:
    """A shape given by the user, which must agree with what the model says."""
    fits = shape is None or len(shape) == len(bound)
    if not fits or any(is_static(d) and d != b for d, b in zip(shape or (), bound, strict=False)):
        raise InvalidInput(f"the shape {tuple(bound)} was given, the model has {shape}", where=where)
    return tuple(positive(b, where) for b in bound)


def dynamic(axis: int, dim: object, name: str, symbol: str | None) -> Unsupported:
    what = f"dimension {axis} is dynamic" + (f" ({dim!r})" if isinstance(dim, str) else "")
    if axis == 0:
        what += f", and another one than the batch {symbol!r}"
    advice = f"bind it: shapes={{{name!r}: (...)}}, or --shape {name}=..."
    if isinstance(dim, str):
        advice = f"bind it: shapes={{{dim!r}: 16}}, or --shape {dim}=16"
    return Unsupported(what, where=f"input {name!r}", advice=advice)


def tensor_dtype(tensor: Any) -> str:
    """The dtype of an input; raises ``Unsupported`` if it is no tensor of numbers that numpy knows."""
    where = f"input {tensor.name!r}"
    if tensor.type != "tensor_type":
        raise Unsupported(f"it is a {str(tensor.type).removesuffix('_type')} and no tensor", where=where)
    name = str(np.dtype(tensor.dtype)) if isinstance(tensor.dtype, (type, np.dtype)) else str(tensor.dtype)
    if name.isdigit():
        name = str(onnx.TensorProto.DataType.Name(int(name))).lower()
    if name not in DTYPES:
        kind = "strings" if name == "object" else name
        raise Unsupported(f"it is a tensor of {kind}", where=where, advice="convert the model to float32")
    return name


def empty_inputs(inputs: Sequence[Any]) -> dict[str, Array]:
    """The inputs without elements: they can have one value only, and are left out with a warning."""
    found: dict[str, Array] = {}
    for tensor in inputs:
        dtype = tensor_dtype(tensor)
        if tensor.shape is not None and 0 in tensor.shape and all(is_static(d) for d in tensor.shape):
            TensorType(dtype, tuple(int(d) or 1 for d in tensor.shape))  # which refuses absurd sizes
            found[tensor.name] = np.zeros(tensor.shape, dtype)
            logging.getLogger("graphopt").warning("input %r has no elements and is left out", tensor.name)
    return found


def frozen_inputs(inputs: Sequence[Any], given: Mapping[str, Frozen]) -> dict[str, Array]:
    """What is given for inputs, checked: each must fit the dtype and the shape that the model states.

    Numbers and lists, which have no dtype, take that of the input, and its shape if that has as many elements.
    """
    known = {t.name: t for t in inputs}
    if unknown := sorted(set(given) - set(known)):
        raise InvalidInput(f"constants names {', '.join(unknown)}", advice=f"the model has {', '.join(known)}")
    frozen: dict[str, Array] = {}
    for name, data in given.items():
        where, tensor = f"input {name!r}", known[name]
        array = data if isinstance(data, (np.ndarray, np.generic)) else written(data, tensor, where)
        array = np.asarray(array)
        if str(array.dtype) != tensor_dtype(tensor):
            raise InvalidInput(f"it is frozen to {array.dtype}, the model has {tensor_dtype(tensor)}", where=where)
        fits = tensor.shape is None or len(tensor.shape) == array.ndim
        if not fits or any(is_static(d) and d != s for d, s in zip(tensor.shape or (), array.shape, strict=False)):
            raise InvalidInput(f"it is frozen to {array.shape}, the model has {tensor.shape}", where=where)
        frozen[name] = array
    return frozen


def written(data: object, tensor: Any, where: str) -> Array:
    """A number or a list in the dtype of an input, and in its shape if that is known and has as many elements."""
    dtype = np.dtype(tensor_dtype(tensor))
    try:
        plain = np.array(data)
        if plain.dtype.kind not in "biuf":
            raise TypeError("no numbers")
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"it is frozen to {data!r}", where=where, advice="give numbers, or an array") from error
    with np.errstate(invalid="ignore", over="ignore"):
        array = plain.astype(dtype)
    kept = np.isinf(array) == np.isinf(plain) if dtype.kind == "f" else array == plain
    if not np.all(kept):
        raise InvalidInput(f"it is frozen to {data!r}", where=where, why=f"the model has {dtype}")
    static = tensor.shape is not None and all(is_static(d) for d in tensor.shape)
    if static and array.ndim < 2 and array.size == math.prod(tensor.shape):
        return array.reshape(tensor.shape)
    one_axis = tensor.shape is not None and len(tensor.shape) == 1
    return array.reshape(1) if one_axis and not array.ndim else array
