"""The shapes of the inputs of an ONNX model: what is N, what the user binds, what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphopt.errors import InvalidInput, Unsupported
from graphopt.ir import Array, Batch, Dim, Shape
from graphopt.ir.types import DTYPES


def input_shapes(
    inputs: Sequence[Any], batch: int | None, given: Mapping[str, int | Sequence[int]]
) -> dict[str, Shape]:
    """The shape of every input. A dynamic dimension 0 is N (or ``batch``); others must be given.

    ``inputs`` have a ``name`` and a ``shape`` of integers, names of dimensions, and None. Raises ``Unsupported``
    for a dynamic dimension that is not bound, ``InvalidInput`` for a binding that fits nothing.
    """
    unused = set(given)
    symbol: str | None = None
    shapes: dict[str, Shape] = {}
    for tensor in inputs:
        where = f"input {tensor.name!r}"
        bound = given.get(tensor.name)
        if isinstance(bound, Sequence):
            unused.discard(tensor.name)
            shapes[tensor.name] = whole_shape(bound, tensor.shape, where)
            continue
        if tensor.shape is None:
            raise Unsupported("its shape is not known", where=where, advice=f"give shapes={{{tensor.name!r}: (...)}}")
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
            else:
                raise dynamic(axis, dim, tensor.name, symbol)
        shapes[tensor.name] = tuple(shape)
    if unused:
        known = sorted({d for t in inputs for d in t.shape or () if isinstance(d, str)} | {t.name for t in inputs})
        raise InvalidInput(f"shapes names {', '.join(sorted(unused))}", advice=f"the model has {', '.join(known)}")
    return shapes


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
    advice = f"bind it: shapes={{{dim!r}: 16}}" if isinstance(dim, str) else f"bind it: shapes={{{name!r}: (...)}}"
    return Unsupported(what, where=f"input {name!r}", advice=advice)


def tensor_dtype(tensor: Any) -> str:
    """The dtype of an input; raises ``Unsupported`` if it is no tensor of numbers that numpy knows."""
    name = str(np.dtype(tensor.dtype)) if isinstance(tensor.dtype, (type, np.dtype)) else str(tensor.dtype)
    if tensor.type != "tensor_type" or name not in DTYPES:
        raise Unsupported(f"it is a {tensor.type} of {name}", where=f"input {tensor.name!r}")
    return name


def frozen_inputs(inputs: Sequence[Any], given: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays given for inputs, checked: each must fit the dtype and the shape that the model states."""
    known = {t.name: t for t in inputs}
    if unknown := sorted(set(given) - set(known)):
        raise InvalidInput(f"constants names {', '.join(unknown)}", advice=f"the model has {', '.join(known)}")
    frozen: dict[str, Array] = {}
    for name, data in given.items():
        where, array, tensor = f"input {name!r}", np.asarray(data), known[name]
        if str(array.dtype) != tensor_dtype(tensor):
            raise InvalidInput(f"it is frozen to {array.dtype}, the model has {tensor_dtype(tensor)}", where=where)
        fits = tensor.shape is None or len(tensor.shape) == array.ndim
        if not fits or any(is_static(d) and d != s for d, s in zip(tensor.shape or (), array.shape, strict=False)):
            raise InvalidInput(f"it is frozen to {array.shape}, the model has {tensor.shape}", where=where)
        frozen[name] = array
    return frozen
