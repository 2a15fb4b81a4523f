"""What an operator is: attributes, a type rule, a reference meaning, and how to draw one for a test."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeVar, dataclass_transform

import numpy as np
import numpy.typing as npt

from graphopt.errors import InvalidGraph, Unsupported
from graphopt.ir.registry import place, redefines, succeed
from graphopt.ir.traits import Trait
from graphopt.ir.types import Batch, TensorType, bind_dim

if TYPE_CHECKING:
    from graphopt.ir.graph import Node, Value

Array = npt.NDArray[Any]
T = TypeVar("T")

REGISTRY: dict[str, type[Op]] = {}
"""Every concrete operator by its name in the text form."""

FLOATS: ContextVar[str | None] = ContextVar("FLOATS", default=None)
"""The dtype that replaces float32 in the present context, see ``floats_as``."""


@contextmanager
def floats_as(dtype: str) -> Iterator[None]:
    """A context in which every applied operator has its float32 cast to ``dtype``, as ``cast_floats`` does for a graph.

    So a pass can be checked on a graph in float64, although its author writes float32 constants.
    """
    token = FLOATS.set(dtype)
    try:
        yield
    finally:
        FLOATS.reset(token)


class Sampler(Protocol):
    """The source of choices from which ``Op.sample`` builds a random application."""

    def integer(self, low: int, high: int) -> int:
        """An integer in [low, high]."""

    def choice(self, options: Sequence[T]) -> T:
        """One of the options."""

    def weights(self, *shape: int, positive: bool = False) -> Value:
        """A constant of the dtype under test, values of order one; in [0.5, 1.5) if ``positive``."""

    def value(self, type_: TensorType) -> Value:
        """A value of exactly this type: an existing one of the graph, a new input, or a constant."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
@dataclasses.dataclass(frozen=True)
class Op:
    """One operator. Its attributes are its dataclass fields; subclasses are made frozen dataclasses.

    A subclass with a ``name`` is concrete and registered; one without is a base for a family.
    If ONNX has an operator of the same name, the semantics are those. ``traits`` say what passes and targets may
    rely on. A class inherits those of its family unless it sets its own, as in ``traits = Unary.traits | Trait.MOVE``.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    commutative: ClassVar[bool] = False
    traits: ClassVar[Trait] = Trait(0)

    def __init_subclass__(cls, *, name: str | None = None, version: int = 1) -> None:
        super().__init_subclass__()
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        if name is None:
            return
        known = REGISTRY.get(name)
        if known is not None and not redefines(cls, known):
            raise InvalidGraph(f"the operator {name!r} is defined already, by {place(known)}")
        cls.name, cls.version = name, version
        REGISTRY[name] = cls
        if known is not None:
            succeed(known, cls)

    def infer(self, *inputs: TensorType) -> TensorType | tuple[TensorType, ...]:
        """The result type or types; raises ``InvalidGraph`` where the inputs do not fit."""
        raise Unsupported(f"operator {self.name} has no type rule")

    def evaluate(self, *inputs: Array) -> Array | tuple[Array, ...]:
        """The reference meaning in numpy, in the dtype of the inputs."""
        raise Unsupported(f"operator {self.name} has no reference evaluation")

    def macs(self, inputs: Sequence[TensorType], results: Sequence[TensorType]) -> int:
        """The multiply-accumulates of one application to operands of these types with N bound; 0 if it has none."""
        return 0

    def decompose(self, *inputs: Value) -> tuple[Value, ...] | None:
        """The same results by other operators, for tables without a rule for this one; None if it cannot decompose."""
        return None

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        """Apply this operator to ``x`` with drawn attributes; None if ``x`` does not fit."""
        raise Unsupported(f"operator {cls.name} cannot be sampled", advice="define the classmethod sample")

    def bind(self, batch: int) -> Self:
        """This operator with N replaced in its attributes."""
        changed = {
            f.name: bound
            for f in dataclasses.fields(self)
            if (bound := bind_attribute(getattr(self, f.name), batch)) is not getattr(self, f.name)
        }
        return dataclasses.replace(self, **changed) if changed else self

    def with_float_dtype(self, dtype: str) -> Self:
        """This operator with float32 in its attributes replaced by ``dtype``; most have none."""
        return self

    def apply(self, *inputs: Value, name: str = "", origins: tuple[str, ...] = ()) -> Node:
        """A new node of this operator, with inferred types."""
        from graphopt.ir.graph import Node

        dtype = FLOATS.get()
        op = self if dtype is None else self.with_float_dtype(dtype)
        inferred = op.infer(*(v.type for v in inputs))
        types = inferred if isinstance(inferred, tuple) else (inferred,)
        return Node(op, inputs, types, name, origins or ((name,) if name else ()))

    def __call__(self, *inputs: Value, name: str = "", origins: tuple[str, ...] = ()) -> Value:
        """The one result of applying this operator; use ``apply(...).results`` for several."""
        node = self.apply(*inputs, name=name, origins=origins)
        if len(node.types) != 1:
            raise InvalidGraph(f"{self.name} has {len(node.types)} results", advice="use .apply(...).results")
        return node.results[0]


def bind_attribute(attribute: Any, batch: int) -> Any:
    """An attribute with N replaced; the same object if it has no N."""
    if isinstance(attribute, Batch):
        return bind_dim(attribute, batch)
    if isinstance(attribute, TensorType):
        return attribute.bind(batch)
    if isinstance(attribute, tuple) and any(isinstance(a, Batch) for a in attribute):
        return tuple(bind_attribute(a, batch) for a in attribute)
    return attribute


def expect(condition: bool, message: str) -> None:
    """Raise ``InvalidGraph`` with the message unless the condition holds."""
    if not condition:
        raise InvalidGraph(message)


def frozen(array: npt.ArrayLike, copy: bool = True) -> Array:
    """A read-only, contiguous array with the values given; without ``copy`` the array itself, if it is contiguous."""
    data = np.array(array, order="C") if copy else np.asarray(array, order="C")
    data.flags.writeable = False
    return data
