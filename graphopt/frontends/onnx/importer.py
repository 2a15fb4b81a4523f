"""ONNX models to graphs, read through onnx-graphsurgeon.

The model is walked once, in order. A tensor is either a value of the graph or *known*: an array, of numbers or,
where shapes are computed, of integers and multiples of N. What is computed from known tensors alone is computed
at once (see ``known``), so that the shape arithmetic that exporters leave behind never reaches the graph.

The model is not run through ``onnx.checker``: it refuses models that are fine in practice, and what it finds is
seen here as well, when a rule reads an attribute or an input that is not as it should be.
"""

from __future__ import annotations

import gc
from collections import ChainMap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import onnx_graphsurgeon as gs
from onnx_graphsurgeon.logger import G_LOGGER

from graphopt.errors import GraphoptError, InvalidGraph, InvalidInput, Unsupported
from graphopt.frontends.build import Derived, Refusal, refuse, unknown_op, warn_fixed_batch
from graphopt.frontends.inputs import Frozen, empty_inputs, frozen_inputs, input_shapes, tensor_dtype
from graphopt.frontends.limits import ImportBudget
from graphopt.frontends.onnx import bodies as bodies  # its rules register when it is imported
from graphopt.frontends.onnx import branches as branches  # its rule registers when it is imported
from graphopt.frontends.onnx import file as onnx_file
from graphopt.frontends.onnx import functions as onnx_functions
from graphopt.frontends.onnx import known as known  # its rules register when it is imported
from graphopt.frontends.onnx import rules as rules  # they register when they are imported
from graphopt.frontends.onnx.node import (
    KNOWN_RULES,
    ONNX_RULES,
    STANDARD,
    UNFOLDED,
    Known,
    OnnxNode,
    Tensor,
    node_name,
)
from graphopt.frontends.onnx.stored import Tensors
from graphopt.frontends.outputs import check_outputs, is_bound
from graphopt.ir import Array, Batch, Graph, Value, arg, constant, evaluate, verify
from graphopt.ir.types import DTYPES

MAX_GARBAGE = 1 << 27
"""Bytes of weights that are in the graph in another form; more are freed at once."""


def load(
    model: str | Path | onnx.ModelProto,
    *,
    batch: int | None = None,
    shapes: Mapping[str, int | Sequence[int]] | None = None,
    constants: Mapping[str, Frozen] | None = None,
) -> Graph:
    """The graph of an ONNX model; see ``graphopt.frontends.load``.

    If N leaves the form k*N, the graph gets a batch of one and a warning says so.
    """
    if isinstance(model, onnx.ModelProto):
        proto, where = model, model.graph.name or "model"
        onnx_file.refuse_external_data(proto, where)
    else:
        proto, where = onnx_file.read(Path(model)), str(model)
    if batch is not None and batch < 1:
        raise InvalidInput(f"the batch must be at least 1, got {batch}", where=where)
    opset = onnx_file.check_model(proto, where)
    if not isinstance(model, onnx.ModelProto):
        onnx_file.locate_data(proto, Path(model))
    surgeon = parse(proto, where)
    name = proto.graph.name or Path(where).stem
    fixed = frozen_inputs(surgeon.inputs, constants or {})
    importer = OnnxImporter(surgeon, name, opset, batch, shapes or {}, fixed)
    try:
        return importer.graph()
    except InvalidGraph as error:
        if not importer.is_symbolic:
            raise InvalidInput(error.what, where=error.where or where, why=error.why, advice=error.advice) from error
        reason = error
    try:
        graph = OnnxImporter(surgeon, name, opset, 1, shapes or {}, fixed).graph()
    except InvalidGraph as error:
        raise InvalidInput(error.what, where=error.where or where, why=error.why, advice=error.advice) from error
    warn_fixed_batch(name, 1, reason)
    return graph


def parse(model: onnx.ModelProto, where: str) -> gs.Graph:
    """The model as graphsurgeon reads it, its own functions inlined."""
    G_LOGGER.severity = G_LOGGER.CRITICAL  # what it warns of is refused here, and it warns on standard output
    try:
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        return gs.import_onnx(model)
    except Exception as error:  # whatever a malformed model makes the libraries raise
        raise InvalidInput("the model is malformed", where=where, why=str(error)) from error


class OnnxImporter:
    """Translates one model; ``batch`` binds N, None leaves it free."""

    def __init__(
        self,
        surgeon: gs.Graph,
        name: str,
        opset: int,
        batch: int | None,
        shapes: Mapping[str, int | Sequence[int]],
        frozen: Mapping[str, Array],
    ) -> None:
        self.surgeon, self.name, self.opset = surgeon, name, opset
        self.budget = ImportBudget(len(surgeon.nodes))
        empty = empty_inputs([t for t in surgeon.inputs if t.name not in frozen])
        self.env: ChainMap[str, Tensor | None] = ChainMap({**frozen, **empty})
        self.free = [t for t in surgeon.inputs if t.name not in self.env]
        self.shapes = input_shapes(self.free, batch, shapes)
        self.bound = bool(frozen) or is_bound(self.free, self.shapes)
        self.prefix, self.wanted = "", {t.name for t in surgeon.outputs}
        """What the names of nodes begin with, and the tensors that are read at the end: both of the body at hand."""
        self.tensors, self.garbage = Tensors(), 0
        self.derived: Derived = {}
        self.constants: dict[int, tuple[Known, Value]] = {}
        self.refusals: list[Refusal] = []

    @property
    def is_symbolic(self) -> bool:
        return any(isinstance(d, Batch) for shape in self.shapes.values() for d in shape)

    def graph(self) -> Graph:
        """The whole graph. Raises ``Unsupported`` with all refused nodes, ``InvalidGraph`` where N leaves k*N."""
        inputs = tuple(self.input(tensor) for tensor in self.free)
        for node in self.surgeon.nodes:
            self.visit(node)
        refuse(self.name, self.refusals)
        names = tuple(tensor.name for tensor in self.surgeon.outputs)
        outputs = tuple(self.output(tensor) for tensor in self.surgeon.outputs)
        check_outputs(self.surgeon.outputs, [value.type.shape for value in outputs], self.bound)
        graph = Graph(inputs, outputs, names, self.name)
        verify(graph)
        return graph

    def inline(self, graph: gs.Graph, name: str, env: ChainMap[str, Tensor | None], opset: int) -> list[Tensor | None]:
        """The results of a body that stands for the node of that name; None for what depends on a refused node."""
        outer = self.env, self.opset, self.prefix, self.wanted
        self.env, self.opset, self.prefix, self.wanted = env, opset, f"{name}.", {t.name for t in graph.outputs}
        try:
            for node in graph.nodes:
                self.visit(node)
            return [self.read(tensor) for tensor in graph.outputs]
        finally:
            self.env, self.opset, self.prefix, self.wanted = outer

    def input(self, tensor: gs.Variable) -> Value:
        value = arg(tensor.name, tensor_dtype(tensor), self.shapes[tensor.name])
        self.env[tensor.name] = value
        return value

    def output(self, tensor: gs.Tensor) -> Value:
        found = self.read(tensor)
        if found is None:
            raise InvalidInput("no node computes it", where=f"output {tensor.name!r}")
        return found if isinstance(found, Value) else self.constant(tensor.name, found)

    def constant(self, name: str, data: Known) -> Value:
        """A known tensor as a constant of the graph, one for all its uses."""
        if id(data) not in self.constants:
            if data.dtype == object and not any(isinstance(d, Batch) for d in data.flat):
                raise Unsupported(f"tensor {name!r} is of strings")
            if data.dtype == object:
                raise InvalidGraph("a size that depends on the batch is used as data", where=name)
            if str(data.dtype) not in DTYPES:
                raise Unsupported(f"tensor {name!r} is {data.dtype}", advice="convert the model to float32")
            if data.size == 0:
                raise Unsupported(f"tensor {name!r} has no elements")
            self.constants[id(data)] = data, constant(data, name, copy=False)
        return self.constants[id(data)][1]

    def read(self, tensor: gs.Tensor) -> Tensor | None:
        """What a tensor is; None if it depends on what was refused."""
        if tensor.name in self.env:
            return self.env[tensor.name]
        if not isinstance(tensor, gs.Constant):
            raise InvalidInput(f"tensor {tensor.name!r} is used before it is computed")
        self.env[tensor.name] = found = self.tensors.read(tensor)
        return found

    def visit(self, node: gs.Node) -> None:
        """Translate one node into the environment, or note why it cannot be."""
        name, op = self.prefix + node_name(node), f"{node.domain}:{node.op}" if foreign(node) else str(node.op)
        self.budget.visit()
        results: Sequence[Tensor | None] = [None] * len(node.outputs)
        try:
            results = self.translate(node, op)
            self.check_results(node, results)
        except Unsupported as error:
            self.refusals.append(Refusal(name, op, error))
            results = [None] * len(node.outputs)
        except GraphoptError as error:
            what = f"{error.where}: {error.what}" if error.where else error.what
            raise type(error)(what, where=f"{name} ({op})", why=error.why, advice=error.advice) from error
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            MemoryError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            raise InvalidInput("the node is malformed", where=f"{name} ({op})", why=str(error)) from error
        for tensor, result in zip(node.outputs, results, strict=False):
            if tensor.name in self.env.maps[0]:
                raise InvalidInput(f"tensor {tensor.name!r} is computed twice", where=name)
            if tensor.name:
                self.env[tensor.name] = result
        if not self.prefix:
            self.forget(node)

    def forget(self, node: gs.Node) -> None:
        """Let go of what no other node reads: a weight may be in the graph in another form alone."""
        for tensor in node.inputs:
            if isinstance(tensor, gs.Constant) and len(tensor.outputs) == 1 and tensor.name not in self.wanted:
                data, value = self.constants.pop(id(self.env.pop(tensor.name, None)), (None, None))
                if self.derived.pop(value, None) and data is not None:
                    self.garbage += data.nbytes
        if self.garbage > MAX_GARBAGE:
            gc.collect()  # a node and its values refer to each other
            self.garbage = 0

    def translate(self, node: gs.Node, op: str) -> Sequence[Tensor | None]:
        """The results of a node: by its rule, or through the function that defines its operator."""
        inputs = [None if t.is_empty() else self.read(t) for t in node.inputs]
        known = all(i is None or not isinstance(i, Value) for i in inputs)
        refused = any(i is None and not t.is_empty() for i, t in zip(inputs, node.inputs, strict=True))
        rule = ONNX_RULES.get(op)
        if known and not refused:
            rule = KNOWN_RULES.get(op, rule)
        if rule is None and op in ONNX_RULES.reasons:
            raise unknown_op(ONNX_RULES.reasons[op])
        if rule is None and op in KNOWN_RULES:
            rule = must_be_known
        if rule is None:
            return self.expand(node, inputs, refused)
        if refused:
            return [None] * len(node.outputs)
        if rule in KNOWN_RULES.values():
            self.budget.take_known(op, [i for i in inputs if not isinstance(i, Value)])
        result = rule(OnnxNode(node, inputs, self))
        results = [result] if isinstance(result, (Value, np.ndarray)) else result
        return computed(results, self.budget) if known and op not in UNFOLDED else results

    def expand(self, node: gs.Node, inputs: Sequence[Tensor | None], refused: bool) -> Sequence[Tensor | None]:
        """The results of a node through the function that defines its operator."""
        function = onnx_functions.definition(node, inputs, self.version(node.domain))
        if function is None:
            raise unknown_op()
        if refused:
            return [None] * len(node.outputs)
        env = ChainMap[str, Tensor | None](function.bound)
        results = iter(self.inline(function.graph, self.prefix + node_name(node), env, function.opset))
        return [next(results) if tensor.name else None for tensor in node.outputs]

    def version(self, domain: str | None) -> int:
        """The opset of a domain."""
        versions = {d.domain: d.version for d in self.surgeon.import_domains or ()}
        return self.opset if domain in STANDARD else int(versions.get(domain, 1))

    def check_results(self, node: gs.Node, results: Sequence[Tensor | None]) -> None:
        """Refuse a node of which a result is used that the rule does not give, or that has no elements."""
        for index, tensor in enumerate(node.outputs[len(results) :], len(results)):
            if tensor.name and (tensor.outputs or tensor.name in self.wanted):
                raise Unsupported(f"result {index}, {tensor.name!r}, is used", advice="only the first can be imported")
        if any(isinstance(r, Value) and 0 in r.type.shape for r in results):
            raise Unsupported("its result has no elements")


def must_be_known(at: OnnxNode) -> Sequence[Tensor]:
    """The rule, for computed inputs, of an operator that can only be computed at import."""
    return at.knowns


def computed(results: Sequence[Tensor | None], budget: ImportBudget) -> list[Tensor | None]:
    """What follows from constants alone, as arrays."""
    values = tuple(dict.fromkeys(r for r in results if isinstance(r, Value)))
    if not values or any(isinstance(d, Batch) for v in values for d in v.type.shape):
        return list(results)
    budget.take_values(values)
    with np.errstate(all="ignore"):
        arrays = dict(zip(values, evaluate(Graph((), values), ()), strict=True))
    return [arrays[r] if isinstance(r, Value) else r for r in results]


def foreign(node: gs.Node) -> bool:
    return node.domain not in STANDARD
