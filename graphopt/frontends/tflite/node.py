"""What a rule for a TFLite operator sees and returns, and the table of rules.

TFLite has channels last, graphopt has them in front. A tensor of rank 4 is held in either layout, or in both where
both are asked for, so that the transposes between operators on images never come to be: those at the ports stay, and
those around what needs the order of the file. A quantized tensor is held as its integers, and dequantized where an
operator on reals reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import tflite

from graphopt import ops
from graphopt.errors import InvalidInput, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.build import Derived, Scope
from graphopt.frontends.tflite.file import FileTensor, Operator, Parameters, short
from graphopt.ir import Array, Shape, Value, constant
from graphopt.ir.registry import Table

TO_FIRST, TO_LAST = (0, 3, 1, 2), (0, 2, 3, 1)
RANK = 4
"""The rank of tensors that have two layouts."""


class Held:
    """A tensor of the file as values of the graph: its integers or floats, in the layouts and forms asked for."""

    def __init__(self, tensor: FileTensor, value: Value, first: bool = False) -> None:
        self.tensor, self.name = tensor, short(tensor.name)
        self._raw, self._real = {first: value}, dict[bool, Value]()

    @property
    def first(self) -> bool:
        """Whether it is held with channels in front only."""
        return False not in self._raw

    @property
    def rank(self) -> int:
        """That of the tensor in the file."""
        return self._raw[self.first].type.rank

    @property
    def known(self) -> Array | None:
        """Its elements, in the file's order, where they are constant."""
        return None if self._raw[self.first].constant is None else self.raw(False).constant

    def raw(self, first: bool) -> Value:
        """What the file stores, in the layout asked for."""
        if first not in self._raw:
            self._raw[first] = self.moved(self._raw[not first], TO_FIRST if first else TO_LAST)
        return self._raw[first]

    def real(self, first: bool) -> Value:
        """The numbers that it stands for."""
        parameters = self.tensor.parameters
        if parameters is None:
            return self.raw(first)
        if first not in self._real:
            axis = TO_FIRST.index(parameters.axis + RANK - self.rank) if first and parameters.by_channel else None
            self._real[first] = dequantized(self.raw(first), parameters, self.name, axis)
        return self._real[first]

    def moved(self, x: Value, perm: Sequence[int]) -> Value:
        """A transpose; what has fewer axes gets leading ones, as it does where it broadcasts."""
        at = Scope(self.name, {})
        ones = (1,) * (RANK - x.type.rank)
        if x.constant is not None:
            return constant(x.constant.reshape(ones + x.constant.shape).transpose(perm), like=x)
        return transposed(at, normal.reshape(at, x, ones + x.type.shape, "wide"), perm)


def transposed(at: Scope, x: Value, perm: Sequence[int]) -> Value:
    """A transpose, or the reshape that it is if it moves only axes of one element; two of them are one, or none."""
    if isinstance(inner := x.op, ops.Transpose):
        x, perm = x.node.inputs[0], [inner.perm[p] for p in perm]
    if [a for a in perm if x.type.shape[a] != 1] == [a for a in range(x.type.rank) if x.type.shape[a] != 1]:
        return reshaped(at, x, [x.type.shape[a] for a in perm])
    return normal.transpose(at, x, perm, "channels_first" if tuple(perm) == TO_FIRST else "channels_last")


def reshaped(at: Scope, x: Value, shape: Sequence[Any]) -> Value:
    """A reshape of what a reshape gives is one reshape."""
    source = x.node.inputs[0] if isinstance(x.op, ops.Reshape) else x
    return normal.reshape(at, source, shape)


def dequantized(x: Value, parameters: Parameters, name: str, axis: int | None = None) -> Value:
    """Integers as floats; ``axis`` is that of the parameters by channel, where it is another than the file's."""
    op = ops.Dequantize(axis=parameters.axis if axis is None else axis) if parameters.by_channel else ops.Dequantize()
    return op(x, *parameters.values, name=f"{name}.real", origins=(name,))


def quantized(x: Value, parameters: Parameters, name: str) -> Value:
    """Floats as integers, by one scale."""
    if parameters.by_channel:
        raise Unsupported("a result that is quantized by channel", where=f"tensor {parameters.name!r}")
    return ops.Quantize()(x, *parameters.values, name=f"{name}.quantize", origins=(name,))


class TfliteImport(Protocol):
    """What an operator needs of the import that it is part of."""

    tensors: tuple[FileTensor, ...]
    derived: Derived

    def state(self, index: int, shape: Shape) -> Value: ...
    def keep(self, index: int, value: Value) -> None: ...


class TfliteNode(Scope):
    """One operator of the file, as a rule sees it.

    ``first`` says in which layout the rule is given its operands, and gives its results; it may choose another.
    """

    def __init__(
        self,
        operator: Operator,
        inputs: Sequence[Held | None],
        outputs: Sequence[FileTensor],
        first: bool,
        importer: TfliteImport,
    ) -> None:
        super().__init__(short(outputs[0].name) if outputs else operator.op, importer.derived)
        self.op, self.inputs, self.outputs, self.first = operator.op, inputs, outputs, first
        self._operator, self._importer = operator, importer

    def options(self, kind: str) -> Any:
        """The table of options; raises ``InvalidInput`` where there is none of that kind."""
        if self._operator.kind != kind:
            found = self._operator.kind or "none"
            raise InvalidInput(f"it has {found} where {kind} must be", advice="the file is damaged, or incomplete")
        return self._operator.options

    def has(self, index: int) -> bool:
        """Whether an optional input is there."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def held(self, index: int) -> Held:
        found = self.inputs[index] if index < len(self.inputs) else None
        if found is None:
            raise InvalidInput(f"input {index} is missing")
        return found

    def tensor(self, index: int) -> FileTensor:
        return self.held(index).tensor

    def rank(self, index: int) -> int:
        return self.held(index).rank

    def raw(self, index: int) -> Value:
        """An input as the file stores it."""
        return self.held(index).raw(self.first)

    def real(self, index: int) -> Value:
        """An input as the numbers that it stands for."""
        return self.held(index).real(self.first)

    @property
    def reals(self) -> list[Value]:
        return [self.real(i) for i in range(len(self.inputs))]

    def alike(self, *indices: int) -> bool:
        """Whether the integers of some inputs mean the same as those of the first result, as far as they are any."""
        want = self.outputs[0].parameters
        for index in indices:
            have = self.tensor(index).parameters
            if (have is None) != (want is None) or (have is not None and not have.same(want)):
                return False
        return True

    def kept(self, *indices: int) -> list[Value]:
        """Inputs of an operator that only moves elements: as they are stored, if their integers mean the same."""
        same = self.alike(*indices)
        return [self.raw(i) if same else self.real(i) for i in indices]

    def known(self, index: int) -> Array:
        """The elements of an input that must be constant, in the order of the file."""
        found = self.held(index).known
        if found is None:
            name = self.tensor(index).name
            raise Unsupported(f"input {index}, {name!r}, is computed", advice="it must be a constant")
        return found

    def integers(self, index: int) -> list[int]:
        """A constant input as a list of integers."""
        found = self.known(index)
        if found.dtype.kind not in "iu":
            raise InvalidInput(f"input {index} is of {found.dtype}, not of integers")
        return [int(i) for i in found.reshape(-1)]

    def axis(self, axis: int, rank: int) -> int:
        """An axis of the file in the layout at hand."""
        axis = normal.axis_of(axis, rank)
        return TO_FIRST.index(axis) if self.first and rank == RANK else axis

    def ordered(self, values: Sequence[Any]) -> list[Any]:
        """What the file has for every axis, in the layout at hand."""
        return [values[a] for a in TO_FIRST] if self.first and len(values) == RANK else list(values)

    def stored(self, y: Value) -> Value:
        """The first result as the file stores it, for a rule that goes on to move its elements."""
        parameters = self.outputs[0].parameters
        return y if parameters is None else quantized(y, parameters, self.name)

    def state(self, index: int, shape: Shape) -> Value:
        """A state that the operator keeps, as an input of the graph; what it becomes is given to ``keep``."""
        return self._importer.state(self._state(index), shape)

    def keep(self, index: int, value: Value) -> None:
        """Give a state as an output of the graph."""
        self._importer.keep(self._state(index), value)

    def state_parameters(self, index: int) -> Parameters | None:
        return self._importer.tensors[self._state(index)].parameters

    def _state(self, index: int) -> int:
        """The number of the tensor that holds a state."""
        found = self._operator.inputs[index] if index < len(self._operator.inputs) else -1
        if found < 0 or not self._importer.tensors[found].variable:
            raise InvalidInput(f"input {index} is no state")
        return found

    def weight(self, index: int, perm: Sequence[int]) -> Value:
        """Constant weights with their axes in another order, dequantized where they are integers."""
        tensor, data = self.tensor(index), self.known(index)
        if data.ndim != len(perm):
            raise InvalidInput(f"its weights have {data.ndim} axes, not {len(perm)}")
        value = constant(np.ascontiguousarray(data.transpose(perm)), short(tensor.name))
        if tensor.parameters is None:
            return value
        axis = tuple(perm).index(tensor.parameters.axis) if tensor.parameters.by_channel else None
        return dequantized(value, tensor.parameters, short(tensor.name), axis)

    def bias(self, index: int, weight: int, channels: int, x: int = 0) -> Value:
        """A bias, or zeros; integers are in steps of the scales of input and weights, whatever scale they state."""
        if not self.has(index):
            return self.constant(np.zeros(channels, "float32"), "bias")
        data, steps_in, w = self.known(index), self.tensor(x).parameters, self.tensor(weight).parameters
        if data.shape != (channels,):
            raise InvalidInput(f"its bias has the shape {list(data.shape)}, for {channels} channels")
        value = constant(data, short(self.tensor(index).name))
        if data.dtype.kind == "f":
            return value
        if steps_in is None or w is None:
            raise InvalidInput("its bias is quantized, its input or its weights are not")
        scale = steps_in.scale.astype("float64") * w.scale
        return steps(value, scale.astype("float32"), short(self.tensor(index).name))


def steps(value: Value, scale: Array, name: str) -> Value:
    """A bias of integers in steps of a scale, or of one a channel; of int64 as float64 would hold it."""
    data = value.constant
    assert data is not None
    if data.dtype == np.int64:
        limits = np.iinfo("int32")
        if data.size and not limits.min <= data.min() <= data.max() <= limits.max:
            return constant((data * scale.astype("float64")).astype("float32"), like=value)
        value = constant(data.astype("int32"), like=value)
    zero = np.zeros(scale.shape, "int32")
    return dequantized(value, Parameters(scale, zero, 0, name), name)


Rule = Callable[[TfliteNode], Value | Sequence[Value]]
R = TypeVar("R", bound=Rule)

TFLITE_RULES: Table[str, Rule] = Table("an importer rule")
"""The rules of operators, by their names in the schema of TFLite; those of custom operators begin with ``custom:``."""
LAYOUTS: dict[str, str] = {}
"""How an operator takes its operands: ``first`` (channels in front), ``file`` (as the file), ``either`` (as held)."""


def tflite_rule(*names: str, layout: str = "file") -> Callable[[R], R]:
    """Register the rule of these operators. It gives reals or, where the result is no float, what is stored."""

    def register(rule: R) -> R:
        TFLITE_RULES.enter(rule, *names)
        LAYOUTS.update(dict.fromkeys(names, layout))
        return rule

    return register


def activated(at: TfliteNode, y: Value, activation: int) -> Value:
    """The fused activation of an operator."""
    kinds = tflite.ActivationFunctionType
    limits = {kinds.NONE: None, kinds.RELU: (0.0, np.inf), kinds.RELU6: (0.0, 6.0), kinds.RELU_N1_TO_1: (-1.0, 1.0)}
    if activation == kinds.TANH:
        return at.emit(ops.Tanh(), y)
    if activation not in limits:
        raise Unsupported(f"the fused activation {activation}", advice="NONE, RELU, RELU6 and the like are read")
    bounds = limits[activation]
    return y if bounds is None else normal.clip(at, y, *bounds)
