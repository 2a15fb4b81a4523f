"""The graph: immutable nodes in SSA form. A pass rebuilds, it never edits, so the graph before stays whole."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from graphopt.errors import InvalidGraph, InvalidInput
from graphopt.ir.op import Array, Op, frozen
from graphopt.ir.types import Batch, TensorType, bind_dim

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Value:
    """One result of a node. Compared by identity."""

    node: Node
    index: int

    @property
    def type(self) -> TensorType:
        return self.node.types[self.index]

    @property
    def op(self) -> Op:
        """The operator that produces this value."""
        return self.node.op

    @property
    def constant(self) -> Array | None:
        """The array, if this value is a constant."""
        return self.node.op.value if isinstance(self.node.op, Constant) else None

    def __repr__(self) -> str:
        return f"<{self.node.name or self.op.name}.{self.index}: {self.type}>"


@dataclass(frozen=True, eq=False)
class Node:
    """The application of an operator to values.

    ``name`` is a hint, made unique by the graph; ``origins`` are the names of everything this node
    replaces in the model that was traced or loaded.
    """

    op: Op
    inputs: tuple[Value, ...]
    types: tuple[TensorType, ...]
    name: str = ""
    origins: tuple[str, ...] = ()
    results: tuple[Value, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "results", tuple(Value(self, i) for i in range(len(self.types))))

    def with_inputs(self, inputs: Sequence[Value]) -> Node:
        """The same application to other values; this very node if they are the same."""
        if len(inputs) == len(self.inputs) and all(a is b for a, b in zip(inputs, self.inputs, strict=True)):
            return self
        return self.op.apply(*inputs, name=self.name, origins=self.origins)


class Input(Op, name="input"):
    """A graph input. It has no inputs of its own; its type is an attribute."""

    type: TensorType

    def infer(self, *inputs: TensorType) -> TensorType:
        return self.type

    def with_float_dtype(self, dtype: str) -> Input:
        return replace(self, type=self.type.with_dtype(dtype)) if self.type.is_float else self


class Constant(Op, name="constant"):
    """A read-only array: a weight, a bias, a table.

    Weights that are ``compact`` are stored by programs in the fewest bytes that hold their numbers exactly.
    """

    value: Array
    compact: bool = False

    @cached_property
    def digest(self) -> str:
        """SHA-256 of dtype, shape and bytes, shortened to 16 hexadecimal digits."""
        digest = hashlib.sha256(f"{self.value.dtype}{self.value.shape}".encode())
        digest.update(np.ascontiguousarray(self.value).data)
        return digest.hexdigest()[:16]

    def infer(self, *inputs: TensorType) -> TensorType:
        return TensorType(str(self.value.dtype), self.value.shape)

    def evaluate(self, *inputs: Array) -> Array:
        return self.value

    def with_float_dtype(self, dtype: str) -> Constant:
        return replace(self, value=frozen(self.value.astype(dtype))) if self.value.dtype.kind == "f" else self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and (self.digest, self.compact) == (other.digest, other.compact)

    def __hash__(self) -> int:
        return hash(self.digest)


def arg(name: str, dtype: str, shape: Iterable[int | Batch]) -> Value:
    """A new graph input."""
    return Input(type=TensorType(dtype, tuple(shape)))(name=name)


def constant(
    data: npt.ArrayLike, name: str = "", like: Value | None = None, copy: bool = True, compact: bool = False
) -> Value:
    """A new constant; with ``like`` it takes that value's name and origins, as a folded weight should.

    It is ``compact`` too if that is a compact constant of the same dtype. Without ``copy`` the array becomes read-only,
    and nobody else may write to its memory.
    """
    array = frozen(data, copy)
    if like is None:
        return Constant(value=array, compact=compact)(name=name)
    inherits = isinstance(like.op, Constant) and like.op.compact and like.op.value.dtype == array.dtype
    return Constant(value=array, compact=compact or inherits)(name=like.node.name, origins=like.node.origins)


def topological(values: Sequence[Value], after: Container[Node] = ()) -> tuple[Node, ...]:
    """The nodes that compute the values, producers before consumers; the search stops at the nodes of ``after``."""
    order: dict[Node, None] = {}
    stack = [(v.node, False) for v in reversed(values)]
    while stack:
        node, visited = stack.pop()
        if node in order or node in after:
            continue
        if visited:
            order[node] = None
        else:
            stack.append((node, True))
            stack.extend((v.node, False) for v in reversed(node.inputs))
    return tuple(order)


@dataclass(frozen=True, eq=False)
class Graph:
    """A function from its inputs to its outputs. It consists of the nodes that the outputs reach."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    output_names: tuple[str, ...] = ()
    name: str = "graph"

    def __post_init__(self) -> None:
        if not self.output_names:
            object.__setattr__(self, "output_names", tuple(f"output_{i}" for i in range(len(self.outputs))))
        if len(self.output_names) != len(self.outputs):
            raise InvalidGraph(f"{len(self.outputs)} outputs have {len(self.output_names)} names", where=self.name)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Every node, producers before consumers: the inputs, then the nodes that the outputs reach."""
        inputs = dict.fromkeys(v.node for v in self.inputs)
        return (*inputs, *topological(self.outputs, after=inputs))

    @cached_property
    def uses(self) -> dict[Value, tuple[Node, ...]]:
        """The consumers of every value, one entry for each use; being a graph output is not a use."""
        found: dict[Value, list[Node]] = {v: [] for n in self.nodes for v in n.results}
        for node in self.nodes:
            for value in node.inputs:
                found[value].append(node)
        return {value: tuple(nodes) for value, nodes in found.items()}

    def use_count(self, value: Value) -> int:
        """How often a value is read, as an operand or as a graph output."""
        return len(self.uses[value]) + self.outputs.count(value)

    @cached_property
    def names(self) -> dict[Node, str]:
        """A unique name for every node: its own if that is free, else its own with a number appended."""
        wanted = [(node, node.name or node.op.name) for node in self.nodes]
        first: dict[str, Node] = {}
        for node, name in wanted:
            if node.name:
                first.setdefault(name, node)
        taken, names, counters = set(first), {}, dict[str, int]()
        for node, name in wanted:
            unique = name
            if first.get(name) is not node:
                while unique in taken:
                    counters[name] = counters.get(name, 0) + 1
                    unique = f"{name}_{counters[name]}"
                taken.add(unique)
            names[node] = unique
        return names

    def node(self, name: str) -> Node:
        """The node of that name."""
        for node, known in self.names.items():
            if known == name:
                return node
        close = difflib.get_close_matches(name, self.names.values(), 3)
        raise InvalidInput(f"no node is called {name!r}", advice=f"did you mean {', '.join(close)}?" if close else None)

    @property
    def is_symbolic(self) -> bool:
        """Whether the batch is still unbound."""
        return any(isinstance(d, Batch) for v in self.inputs for d in v.type.shape)

    @property
    def constants(self) -> dict[str, Array]:
        """The arrays of the graph, and of the graphs in its attributes, by digest."""
        found: dict[str, Array] = {}
        for node in self.nodes:
            if isinstance(node.op, Constant):
                found[node.op.digest] = node.op.value
            for attribute in vars(node.op).values():
                if isinstance(attribute, Graph):
                    found |= attribute.constants
        return found

    def __call__(self, /, *inputs: Array, **named: Array) -> tuple[Array, ...]:
        """Evaluate by the reference semantics; see ``graphopt.ir.evaluate``."""
        from graphopt.ir.evaluate import evaluate

        return evaluate(self, named or inputs)

    def __str__(self) -> str:
        from graphopt.ir.text import print_graph

        return print_graph(self)


Replace = Callable[[Node, tuple[Value, ...]], Sequence[Value] | None]


def rebuild(graph: Graph, transform: Replace) -> Graph:
    """A new graph, made producers first.

    ``transform(node, inputs)`` gets each old node with its already rebuilt inputs and returns the
    values that stand for its results, or None to keep it (its types inferred anew where needed).
    """
    new: dict[Value, Value] = {}
    for node in graph.nodes:
        inputs = tuple(new[v] for v in node.inputs)
        results = transform(node, inputs)
        if results is None:
            results = node.with_inputs(inputs).results
        new.update(zip(node.results, results, strict=True))
    return replace(graph, inputs=tuple(new[v] for v in graph.inputs), outputs=tuple(new[v] for v in graph.outputs))


def bind_batch(graph: Graph, batch: int) -> Graph:
    """The graph with N replaced by a number, in every type and attribute."""
    if batch < 1:
        raise InvalidInput(f"the batch must be at least 1, got {batch}")

    def bind(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        op = node.op.bind(batch)
        return None if op is node.op else op.apply(*inputs, name=node.name, origins=node.origins).results

    return rebuild(graph, bind) if graph.is_symbolic else graph


def cast_floats(graph: Graph, dtype: str) -> Graph:
    """The graph with every float32 input, constant and attribute cast to ``dtype``: for checks in float64."""

    def cast(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        op = node.op.with_float_dtype(dtype)
        return None if op is node.op else op.apply(*inputs, name=node.name, origins=node.origins).results

    return rebuild(graph, cast)


def match_inputs(graph: Graph, given: Mapping[str, Array] | Sequence[Array]) -> dict[Value, Array]:
    """Pair arrays, by name or by position, with the inputs of the graph, and check them.

    Raises ``InvalidInput`` for a missing or extra name, a wrong dtype, or a shape that does not fit.
    """
    arrays = {value: np.asarray(data) for value, data in pair_inputs(graph, given).items()}
    check_inputs(graph, {value: (str(data.dtype), data.shape) for value, data in arrays.items()})
    return arrays


def pair_inputs(graph: Graph, given: Mapping[str, T] | Sequence[T]) -> dict[Value, T]:
    """Pair items, by name or by position, with the inputs of the graph; ``InvalidInput`` if they do not match."""
    names = [graph.names[v.node] for v in graph.inputs]
    if isinstance(given, Mapping):
        if set(given) != set(names):
            raise InvalidInput(f"inputs {sorted(given)} do not match {sorted(names)}", where=graph.name)
        given = [given[name] for name in names]
    if len(given) != len(names):
        raise InvalidInput(f"{len(given)} inputs given, {len(names)} needed: {', '.join(names)}", where=graph.name)
    return dict(zip(graph.inputs, given, strict=True))


def check_inputs(graph: Graph, given: Mapping[Value, tuple[str, tuple[int, ...]]]) -> int:
    """The batch N of inputs of the given dtypes and shapes (1 if none has N); ``InvalidInput`` if one does not fit."""
    batch = 0
    for value, (dtype, shape) in given.items():
        want = value.type
        for have, dim in zip(shape, want.shape, strict=False):
            if isinstance(dim, Batch):
                batch = batch or have // dim.factor
        if dtype != want.dtype or shape != tuple(bind_dim(d, batch or 1) for d in want.shape):
            name = graph.names[value.node]
            raise InvalidInput(f"{dtype}{list(shape)} given, {want} needed", where=f"input {name!r}")
    return batch or 1
