"""The shapes of the inputs of a model file: what is N, what the user binds, what is refused."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from graphopt.errors import InvalidInput, Unsupported
from graphopt.ir import Array, Batch, Dim, Shape
from graphopt.ir.types import DTYPES, TensorType

Frozen = Array | float | Sequence[Any]
"""What an input may be frozen to: an array, a number, or numbers in lists."""
EXAMPLE = "16"
"""The size that a refusal writes for a dimension that could have any."""
ANONYMOUS = re.compile(r"|\?|-1|None|unk__\d+|unknown\w*", re.IGNORECASE)
"""What exporters call dimensions of which they know nothing: two of one such name need not be equal."""
MULTIPLE = re.compile(r"N_times_([1-9]\d{0,9})")


def input_shapes(
    inputs: Sequence[Any], batch: int | None, given: Mapping[str, int | Sequence[int]]
) -> dict[str, Shape]:
    """The shape of every input. A dynamic dimension 0 is N (or ``batch``); others must be given.

    A dimension called ``N_times_4``, as graphopt's exporter names them, is 4*N, and N may then be any dimension.

    ``inputs`` have a ``name`` and a ``shape`` of integers, names of dimensions, and None. Raises ``Unsupported``
    for dynamic dimensions that are not bound, with all of them, ``InvalidInput`` for a binding that fits nothing.
    """
    unused = set(given)
    symbol = exported_symbol(inputs)
    shapes: dict[str, Shape] = {}
    unbound: list[Unbound] = []
    for tensor in inputs:
        where = f"input {tensor.name!r}"
        bound = given.get(tensor.name)
        if isinstance(bound, Sequence):
            unused.discard(tensor.name)
            shapes[tensor.name] = whole_shape(bound, tensor.shape, where)
            continue
        if tensor.shape is None:
            unbound.append(Unbound(tensor.name))
            continue
        shape: list[Dim] = []
        for axis, dim in enumerate(tensor.shape):
            name = dim if isinstance(dim, str) and not ANONYMOUS.fullmatch(dim) else None
            if isinstance(dim, str) and isinstance(size := given.get(dim), int):
                unused.discard(dim)
                shape.append(positive(size, where))
            elif is_static(dim):
                shape.append(int(dim))
            elif axis == 0 and (symbol is None or name in (None, symbol)):
                symbol = symbol or name
                shape.append(Batch() if batch is None else batch)
            elif name is not None and name == symbol:
                shape.append(Batch() if batch is None else batch)
            elif symbol and name is not None and (multiple := MULTIPLE.fullmatch(name)):
                shape.append(int(multiple[1]) * (Batch() if batch is None else batch))
            else:
                unbound.append(Unbound(tensor.name, axis, name, symbol if axis == 0 else None))
        shapes[tensor.name] = tuple(shape)
    if unused:
        known = sorted({d for t in inputs for d in t.shape or () if isinstance(d, str)} | {t.name for t in inputs})
        raise InvalidInput(f"shapes names {', '.join(sorted(unused))}", advice=f"the model has {', '.join(known)}")
    if unbound:
        raise refusal(unbound, {t.name: t.shape for t in inputs}, given)
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


@dataclass(frozen=True)
class Unbound:
    """A dynamic dimension of an input that nothing binds, or without an ``axis`` all of an unknown shape.

    ``name`` is that of the dimension, if that tells it from others, and ``batch`` the other name that dimension 0 has.
    """

    input: str
    axis: int | None = None
    name: str | None = None
    batch: str | None = None

    def __str__(self) -> str:
        if self.axis is None:
            return "its shape is not known"
        named = f" ({self.name!r})" if self.name else ""
        other = f", and another one than the batch {self.batch!r}" if self.batch else ""
        return f"dimension {self.axis} is dynamic{named}{other}"


def refusal(
    unbound: Sequence[Unbound],
    shapes: Mapping[str, Sequence[object] | None],
    given: Mapping[str, int | Sequence[int]],
) -> Unsupported:
    """One refusal for all dimensions that are not bound, with all that would bind them.

    Those that have a name are bound by it, the others by the whole shape of their input.
    """
    whole = dict.fromkeys(u.input for u in unbound if u.name is None)
    named = dict.fromkeys(u.name for u in unbound if u.name is not None and u.input not in whole)
    bindings: dict[str, str] = dict.fromkeys(map(str, named), EXAMPLE)
    bindings |= {name: example_shape(shapes[name], given) for name in whole}
    python = ", ".join(f"{n!r}: {f'({b})' if n in whole else b}" for n, b in bindings.items())
    options = " ".join(f"--shape {n}={b.replace(' ', '')}" for n, b in bindings.items())
    by_input = {name: [u for u in unbound if u.input == name] for name in dict.fromkeys(u.input for u in unbound)}
    parts = [f"input {name!r}: {'; '.join(map(str, found))}" for name, found in by_input.items()]
    advice = f"bind {'it' if len(unbound) == 1 else 'them'}: shapes={{{python}}}, or {options}"
    return Unsupported("\n".join(parts), advice=advice)


def example_shape(shape: Sequence[object] | None, given: Mapping[str, int | Sequence[int]]) -> str:
    """A shape to be given for an input: what is known of it, a batch of one, and a size for the others."""
    if shape is None:
        return "..."
    sizes = [str(d) if is_static(d) else str(given.get(str(d), EXAMPLE if axis else 1)) for axis, d in enumerate(shape)]
    return ", ".join(sizes)


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
        array = np.array(array)  # a constant is taken as it is, and nobody else may write to it
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
