"""TFLite models to graphs: their operators once, in the order of the file.

A quantized operator is dequantize, the operator on reals, quantize, by the file's own scales and zero points:
integer lowering makes integers of that, by the one path that it has for quantized models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graphopt.errors import GraphoptError, InvalidGraph, InvalidInput, Unsupported
from graphopt.frontends.build import Derived, Refusal, refuse, unknown_op, warn_fixed_batch
from graphopt.frontends.inputs import Frozen, frozen_inputs, input_shapes
from graphopt.frontends.limits import MAX_NODES, ImportBudget
from graphopt.frontends.outputs import check_outputs, is_bound
from graphopt.frontends.tflite import rules as rules  # they register when they are imported
from graphopt.frontends.tflite.file import FileTensor, Model, Operator, read, short
from graphopt.frontends.tflite.node import (
    LAYOUTS,
    RANK,
    TFLITE_RULES,
    Held,
    TfliteNode,
    dequantized,
    quantized,
)
from graphopt.ir import Batch, Graph, Shape, Trait, Value, arg, constant, evaluate, verify

READ_ERRORS = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError)
"""What numpy and the readers raise for numbers that fit nothing."""


def load(
    path: Path,
    *,
    batch: int | None = None,
    shapes: Mapping[str, int | Sequence[int]] | None = None,
    constants: Mapping[str, Frozen] | None = None,
) -> Graph:
    """The graph of a TFLite model; see ``graphopt.frontends.load``.

    If N leaves the form k*N, the graph gets a batch of one and a warning says so.
    """
    if batch is not None and batch < 1:
        raise InvalidInput(f"the batch must be at least 1, got {batch}", where=str(path))
    model = read(path)
    importer = TfliteImporter(model, batch, shapes or {}, constants or {})
    try:
        try:
            return importer.graph()
        except InvalidGraph as reason:
            if not importer.is_symbolic:
                raise
            graph = TfliteImporter(model, 1, shapes or {}, constants or {}).graph()
            warn_fixed_batch(model.name, 1, reason)
            return graph
    except InvalidGraph as error:
        raise InvalidInput(error.what, where=error.where or str(path), why=error.why, advice=error.advice) from error


@dataclass(frozen=True)
class FilePort:
    """An input or output as the checks of shapes know it: None for a dimension that is dynamic."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    type: str = "tensor_type"

    @classmethod
    def of(cls, tensor: FileTensor) -> FilePort:
        return cls(tensor.name, tensor.dtype, tuple(None if d < 0 else d for d in tensor.shape))


class TfliteImporter:
    """Translates one model; ``batch`` binds N, None leaves it free."""

    def __init__(
        self,
        model: Model,
        batch: int | None,
        shapes: Mapping[str, int | Sequence[int]],
        constants: Mapping[str, Frozen],
    ) -> None:
        self.model, self.tensors = model, model.tensors
        if len(model.operators) > MAX_NODES:
            raise InvalidInput(f"the model has more than {MAX_NODES:,} operators")
        self.budget = ImportBudget(len(model.operators))
        self.held: dict[int, Held | None] = {}
        self.derived: Derived = {}
        self.refusals: list[Refusal] = []
        self.states: dict[int, tuple[Value, Value | None]] = {}
        """The states that operators keep, by tensor: the inputs that they are here, and what becomes of them."""
        ports = {i: FilePort.of(self.usable(i)) for i in model.inputs}
        if len({p.name for p in ports.values()}) < len(ports):
            raise InvalidInput("two inputs of the model have one name")
        frozen = frozen_inputs(list(ports.values()), constants)
        self.free = {i: p for i, p in ports.items() if p.name not in frozen}
        self.held |= {
            i: Held(self.tensors[i], constant(frozen[p.name], p.name)) for i, p in ports.items() if p.name in frozen
        }
        self.shapes = input_shapes(list(self.free.values()), batch, shapes)
        self.bound = bool(frozen) or is_bound(list(self.free.values()), self.shapes)

    @property
    def is_symbolic(self) -> bool:
        return any(isinstance(d, Batch) for shape in self.shapes.values() for d in shape)

    def graph(self) -> Graph:
        """The whole graph. Raises ``Unsupported`` with all refused operators, ``InvalidGraph`` where N leaves k*N."""
        inputs = tuple(self.input(i, port) for i, port in self.free.items())
        for index, operator in enumerate(self.model.operators):
            self.visit(index, operator)
        refuse(self.model.name, self.refusals)
        outputs = tuple(self.output(i) for i in self.model.outputs)
        ports = [FilePort.of(self.tensors[i]) for i in self.model.outputs]
        check_outputs(ports, [v.type.shape for v in outputs], self.bound)
        names = [p.name for p in ports]
        for index, (given, kept) in self.states.items():
            inputs = (*inputs, given)
            if kept is not None:
                outputs, names = (*outputs, self.given(index, kept)), [*names, f"{self.tensors[index].name}.next"]
        graph = Graph(inputs, outputs, unique(names), self.model.name)
        verify(graph)
        return graph

    def input(self, index: int, port: FilePort) -> Value:
        """An input, of floats with a quantize behind it where the file has it quantized."""
        tensor = self.tensors[index]
        value = arg(port.name, "float32" if tensor.parameters else tensor.dtype, self.shapes[port.name])
        stored = quantized(value, tensor.parameters, short(tensor.name)) if tensor.parameters else value
        self.held[index] = Held(tensor, stored)
        return value

    def output(self, index: int) -> Value:
        """An output, dequantized where the file has it quantized."""
        held = self.read(index)
        if held is None:
            raise InvalidInput("nothing computes it", where=f"output {self.tensors[index].name!r}")
        return self.given(index, held.raw(False))

    def given(self, index: int, stored: Value) -> Value:
        """What is stored of a tensor, as an output."""
        tensor = self.tensors[index]
        return dequantized(stored, tensor.parameters, short(tensor.name)) if tensor.parameters else stored

    def state(self, index: int, shape: Shape) -> Value:
        """A state as the file stores it, and as an input: floats where it is quantized."""
        tensor = self.usable(index)
        if index in self.states:
            raise Unsupported(f"state {tensor.name!r} is that of another operator, too")
        value = arg(tensor.name, "float32" if tensor.parameters else tensor.dtype, shape)
        self.states[index] = value, None
        return quantized(value, tensor.parameters, short(tensor.name)) if tensor.parameters else value

    def keep(self, index: int, value: Value) -> None:
        """What a state is after a call."""
        self.states[index] = self.states[index][0], value

    def usable(self, index: int) -> FileTensor:
        """A tensor; raises ``Unsupported`` for one that cannot be read."""
        tensor = self.tensors[index]
        if tensor.refused:
            raise Unsupported(tensor.refused, where=f"tensor {tensor.name!r}")
        return tensor

    def read(self, index: int) -> Held | None:
        """A tensor that is there; None for one that depends on what was refused."""
        if index not in self.held:
            tensor = self.usable(index)
            if tensor.data is None:
                raise InvalidInput(f"tensor {tensor.name!r} is used before it is computed")
            if not tensor.data.size:
                raise Unsupported(f"tensor {tensor.name!r} has no elements")
            self.held[index] = Held(tensor, constant(tensor.data, short(tensor.name)))
        return self.held[index]

    def visit(self, index: int, operator: Operator) -> None:
        """Translate one operator, or note why it cannot be."""
        first = next((self.tensors[i].name for i in operator.outputs), f"operator_{index}")
        name = short(first)
        where = f"{name} ({operator.op})"
        self.budget.visit()
        results: Sequence[Held | None] = [None] * len(operator.outputs)
        try:
            results = self.translate(operator)
        except Unsupported as error:
            self.refusals.append(Refusal(name, operator.op, error))
        except GraphoptError as error:
            what = f"{error.where}: {error.what}" if error.where else error.what
            raise type(error)(what, where=where, why=error.why, advice=error.advice) from error
        except READ_ERRORS as error:
            raise InvalidInput("the operator is malformed", where=where, why=str(error)) from error
        for tensor, result in zip(operator.outputs, results, strict=True):
            if tensor in self.held:
                raise InvalidInput(f"tensor {self.tensors[tensor].name!r} is computed twice", where=where)
            self.held[tensor] = result

    def translate(self, operator: Operator) -> list[Held | None]:
        """The results of an operator by its rule; None each if it depends on what was refused."""
        rule = TFLITE_RULES.get(operator.op)
        if rule is None:
            raise unknown_op(TFLITE_RULES.reasons.get(operator.op))
        there = [i >= 0 and not self.is_state(i) for i in operator.inputs]
        given = [self.read(i) if t else None for i, t in zip(operator.inputs, there, strict=True)]
        outputs = [self.usable(i) for i in operator.outputs]
        if any(h is None and t for h, t in zip(given, there, strict=True)):
            return [None] * len(outputs)
        at = TfliteNode(operator, given, outputs, in_front(LAYOUTS[operator.op], given), self)
        found = rule(at)
        results = [found] if isinstance(found, Value) else list(found)
        if len(results) != len(outputs):
            raise InvalidInput(f"it has {len(outputs)} results, and must have {len(results)}")
        stored = [self.stored(at, v, t) for v, t in zip(results, outputs, strict=True)]
        if all(h is None or h.known is not None for h in given):
            stored = self.computed(stored)
        return [Held(t, v, at.first and v.type.rank == RANK) for v, t in zip(stored, outputs, strict=True)]

    def is_state(self, index: int) -> bool:
        """Whether a tensor is one that an operator keeps between calls."""
        return self.tensors[index].variable and index not in self.held

    def stored(self, at: TfliteNode, value: Value, tensor: FileTensor) -> Value:
        """A result as the file stores it."""
        if 0 in value.type.shape:
            raise Unsupported("its result has no elements")
        if value.type.is_float and tensor.parameters is not None:
            value = quantized(value, tensor.parameters, at.name)
        if value.type.dtype != tensor.dtype:
            raise InvalidInput(f"its result is stated to be {tensor.dtype}, and is {value.type.dtype}")
        return value

    def computed(self, values: Sequence[Value]) -> list[Value]:
        """What follows from constants alone, as constants; windows over constants are left to the passes."""
        windows = any(Trait.WINDOW in node.op.traits for node in Graph((), tuple(values)).nodes)
        if windows or any(isinstance(d, Batch) for v in values for d in v.type.shape):
            return list(values)
        self.budget.take_values(values)
        with np.errstate(all="ignore"):
            arrays = evaluate(Graph((), tuple(dict.fromkeys(values))), ())
        made = dict(zip(dict.fromkeys(values), arrays, strict=True))
        return [constant(made[v], v.node.name) for v in values]


def in_front(layout: str, given: Sequence[Held | None]) -> bool:
    """Whether an operator takes its operands with channels in front; those of more axes have one layout."""
    if layout == "either":
        there = [h for h in given if h is not None]
        return any(h.first for h in there) and max(h.rank for h in there) <= RANK
    return layout == "first"


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """Names of outputs, those that come again with a number behind them."""
    seen: dict[str, int] = {}
    made = []
    for name in names:
        seen[name] = seen.get(name, -1) + 1
        made.append(f"{name}_{seen[name]}" if seen[name] else name)
    return tuple(made)
