"""The walk over an exported program: parameters, inputs, nodes by the table of rules, outputs."""

from __future__ import annotations

import itertools
import operator
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, InputSpec, OutputKind, TensorArgument
from torch.utils import _pytree

from graphopt.errors import InvalidGraph, Unsupported
from graphopt.frontends.build import Derived, Refusal, refuse, unknown_op
from graphopt.frontends.torch.alias import changed_state, without_views
from graphopt.frontends.torch.decompose import IGNORED, PASSED_THROUGH, decomposed, functional_name, gives_number
from graphopt.frontends.torch.node import ATEN_RULES, UNFOLDED, AtenNode
from graphopt.frontends.torch.whole import restored
from graphopt.ir import Batch, Dim, Graph, Shape, Value, arg, constant, verify
from graphopt.ir.types import DTYPES


class ProgramImporter:
    """Translates one program; ``batch`` binds N, None leaves it free."""

    def __init__(self, program: ExportedProgram, name: str, batch: int | None) -> None:
        program = restored(decomposed(without_views(program)))
        self.program, self.name, self.batch = program, name, batch
        self.env: dict[fx.Node, Any] = {}
        self.derived: Derived = {}
        self.refusals = [Refusal(n, "parameter", stateful()) for n in changed_state(program)]
        self.names: dict[object, str] = {}
        """The first name of every parameter, by its memory."""
        self.symbol: Any = None

    def graph(self) -> Graph:
        """The whole graph. Raises ``Unsupported`` with all refused nodes, ``InvalidGraph`` where N leaves k*N."""
        nodes = list(self.program.graph.nodes)
        inputs = self.placeholders([n for n in nodes if n.op == "placeholder"])
        names = node_names(nodes)
        for node in nodes:
            if node in names:
                self.visit(node, names[node])
        refuse(self.name, self.refusals)
        outputs, output_names = self.outputs(nodes[-1])
        graph = Graph(inputs, outputs, output_names, self.name)
        verify(graph)
        return graph

    def placeholders(self, nodes: Sequence[fx.Node]) -> tuple[Value, ...]:
        """Constants for the parameters, and the graph inputs, which are returned."""
        inputs: list[Value] = []
        known: dict[object, Value] = {}
        for spec in self.program.graph_signature.input_specs:
            self.names.setdefault(self.memory(spec), str(spec.target))
        for node, spec in zip(nodes, self.program.graph_signature.input_specs, strict=True):
            if spec.kind is InputKind.USER_INPUT and not isinstance(spec.arg, TensorArgument):
                self.env[node] = spec.arg.value if isinstance(spec.arg, ConstantArgument) else None
            elif spec.kind is InputKind.USER_INPUT:
                value = node.meta["val"]
                if dtype_name(value) not in DTYPES:
                    raise Unsupported(f"it is {dtype_name(value)}", where=f"input {node.name!r}")
                self.find_batch(node.name, value.shape)
                inputs.append(arg(node.name, dtype_name(value), self.dims(value.shape)))
                self.env[node] = inputs[-1]
            elif node.users:
                self.env[node] = self.parameter(spec, known)
        return tuple(inputs)

    def parameter(self, spec: InputSpec, known: dict[object, Value]) -> Value | None:
        """The constant of a parameter, one for all that share their memory."""
        key = self.memory(spec)
        tensor, target = self.tensor(spec), self.names[key]
        if tensor is None or dtype_name(tensor) not in DTYPES:
            kind = "no dense tensor" if tensor is None else dtype_name(tensor)
            error = Unsupported(f"it is {kind}", advice="convert it to dense float32")
            self.refusals.append(Refusal(target, "parameter", error))
            return None
        if key not in known:
            known[key] = constant(tensor.detach().cpu().numpy(), target)
        return known[key]

    def tensor(self, spec: InputSpec) -> torch.Tensor | None:
        """The parameter, buffer or constant that a placeholder stands for; None for one that is sparse or no tensor."""
        target = str(spec.target)
        tensor = self.program.state_dict.get(target, self.program.constants.get(target))
        return tensor if isinstance(tensor, torch.Tensor) and tensor.layout is torch.strided else None

    def memory(self, spec: InputSpec) -> object:
        """What tells a parameter from others: where its elements lie, and how they are read."""
        tensor = self.tensor(spec)
        if tensor is None or not tensor.numel():
            return str(spec.target)
        return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype

    def find_batch(self, name: str, shape: torch.Size) -> None:
        """Take the symbol of dimension 0 for N; any other symbol is refused."""
        for axis, size in enumerate(shape):
            symbols: set[Any] = size.node.expr.free_symbols if isinstance(size, torch.SymInt) else set()
            if axis == 0 and self.symbol is None and len(symbols) == 1:
                (self.symbol,) = symbols
            if symbols - {self.symbol}:
                raise Unsupported(
                    f"dimension {axis} is dynamic ({size})",
                    where=f"input {name!r}",
                    advice="only dimension 0, the batch, may be; export the model with the others static",
                )

    def dims(self, shape: Iterable[int | torch.SymInt]) -> Shape:
        return tuple(self.dim(d) for d in shape)

    def dim(self, size: int | torch.SymInt) -> Dim:
        """A size of torch as a dimension; raises ``InvalidGraph`` if it is not a multiple of N."""
        if not isinstance(size, torch.SymInt):
            return int(size)
        expression = size.node.expr
        if self.batch is not None and self.symbol is not None:
            expression = expression.subs(self.symbol, self.batch)
        if expression.is_Integer:
            return int(expression)
        if expression.free_symbols - {self.symbol}:
            raise Unsupported("a shape depends on data", advice="use torch.where, or sizes that are fixed")
        factor = None if self.symbol is None else expression.coeff(self.symbol)
        if factor is None or not factor.is_Integer or expression != factor * self.symbol:
            raise InvalidGraph(f"dimension {str(expression).replace(str(self.symbol), 'N')} is not a multiple of N")
        return Batch(int(factor))

    def number(self, result: Any) -> Any:
        """A number of torch; one that leaves k*N stays as it is, an error only once it is used."""
        try:
            return self.dim(result) if isinstance(result, torch.SymInt) else result
        except InvalidGraph:
            return result

    def visit(self, node: fx.Node, name: str) -> None:
        """Translate one node into the environment, or note why it cannot be."""
        op = str(node.target)
        try:
            self.env[node] = self.translate(node, op, name)
        except InvalidGraph as error:
            if self.symbol is not None and self.batch is None:
                raise InvalidGraph(error.what, where=f"{name} ({op})", why=error.why, advice=error.advice) from error
            self.refusals.append(Refusal(name, op, error))
        except Unsupported as error:
            self.refusals.append(Refusal(name, op, error))

    def translate(self, node: fx.Node, op: str, name: str) -> Any:
        """What the node gives: a value, several, a number, or None where it depends on what was refused."""
        if op in IGNORED or node.op == "call_module":
            return None
        if isinstance(node.target, torch._ops.OpOverload):
            op = functional_name(node.target)
        result = node.meta.get("val")
        if gives_number(node):
            return self.number(result)
        args = self.arguments(node)
        if node.target is operator.getitem:
            return pick(args[0], args[1], bool(node.users))
        values = [a for a in _pytree.tree_leaves(args) if isinstance(a, Value)]
        if op not in ATEN_RULES and op not in PASSED_THROUGH:
            if self.is_foldable(node, values, args):
                return fold(node, args, name)
            raise unknown_op(ATEN_RULES.reasons.get(op))
        if any(self.env.get(n) is None for n in node.all_input_nodes):
            return None
        if op in PASSED_THROUGH:
            return passed_through(node, args)
        shape, dtype = (self.dims(result.shape), dtype_name(result)) if isinstance(result, torch.Tensor) else ((), "")
        if self.is_foldable(node, values, args):
            return fold(node, args, name)
        return ATEN_RULES[op](AtenNode(name, self.derived, shape, dtype), *args)

    def arguments(self, node: fx.Node) -> list[Any]:
        """Every argument of the schema in order, tensors as values and sizes as dimensions."""

        def resolve(item: Any) -> Any:
            return self.env.get(item) if isinstance(item, fx.Node) else item

        given = list(_pytree.tree_map(resolve, list(node.args), is_leaf=lambda a: isinstance(a, fx.Node)))
        schema = getattr(node.target, "_schema", None)
        rest = schema.arguments[len(given) :] if schema else ()
        given += [resolve(node.kwargs.get(parameter.name, parameter.default_value)) for parameter in rest]
        for leaf in _pytree.tree_leaves(given):
            if isinstance(leaf, (torch.SymInt, torch.SymFloat, torch.SymBool)):
                raise InvalidGraph(f"{leaf} depends on the batch and is no multiple of it")
        return given

    def is_foldable(self, node: fx.Node, values: Sequence[Value], args: Sequence[Any]) -> bool:
        """Whether torch can compute the node now: all its tensors are constants, and nothing is random or symbolic."""
        target = node.target
        return (
            isinstance(target, torch._ops.OpOverload)
            and not str(target).startswith(UNFOLDED)
            and torch.Tag.nondeterministic_seeded not in target.tags
            and all(v.constant is not None for v in values)
            and all(self.env.get(n) is not None for n in node.all_input_nodes)
            and not any(isinstance(a, Batch) for a in _pytree.tree_leaves(args))
            and all(
                isinstance(result, torch.Tensor) and dtype_name(result) in DTYPES
                for result in _pytree.tree_leaves(node.meta.get("val"))
            )
        )

    def outputs(self, node: fx.Node) -> tuple[tuple[Value, ...], tuple[str, ...]]:
        """The values that the user gets, under names by their place in the result."""
        values: list[Value] = []
        specs = self.program.graph_signature.output_specs
        kept = [
            (n, spec.arg)
            for n, spec in zip(node.args[0], specs, strict=True)  # type: ignore[arg-type]
            if spec.kind is OutputKind.USER_OUTPUT
        ]
        tree = _pytree.tree_unflatten(range(len(kept)), self.program.call_spec.out_spec)
        names: list[str] = []
        for path, index in _pytree.tree_flatten_with_path(tree)[0]:
            source, spec = kept[index]
            if isinstance(spec, TensorArgument):
                values.append(self.env[source])
                names.append(output_name(path))
            elif not isinstance(spec, ConstantArgument):
                raise Unsupported(
                    "an output is a number that depends on the batch", where=self.name, advice="return tensors only"
                )
        return tuple(values), unique(names)


def stateful() -> Unsupported:
    return Unsupported("the model changes it when it runs", advice="pass state as inputs and outputs")


def dtype_name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def pick(results: Any, index: int, used: bool) -> Any:
    """One of several results; None where they were refused."""
    if results is not None and results[index] is None and used:
        raise Unsupported(f"result {index} of the operator is used", advice="only its first result can be imported")
    return None if results is None else results[index]


def passed_through(node: fx.Node, args: Sequence[Any]) -> Value:
    if "dropout" in str(node.target) and args[2]:
        raise Unsupported("dropout in training mode", advice="pass training=self.training, and export in eval mode")
    value: Value = args[0]
    return value


def fold(node: fx.Node, args: Sequence[Any], name: str) -> Any:
    """What torch computes from constants, as a constant, or as several."""

    def tensor(item: Any) -> Any:
        return torch.from_numpy(np.array(item.constant)) if isinstance(item, Value) else item

    assert isinstance(node.target, torch._ops.OpOverload)
    parameters = node.target._schema.arguments
    given = [_pytree.tree_map(tensor, a, is_leaf=lambda a: isinstance(a, Value)) for a in args]
    positional = [a for a, p in zip(given, parameters, strict=True) if not p.kwarg_only]
    named = {p.name: a for a, p in zip(given, parameters, strict=True) if p.kwarg_only}
    if "device" in named:
        named["device"] = torch.device("cpu")
    result = node.target(*positional, **named)
    return _pytree.tree_map(lambda t: constant(t.detach().numpy(), name), result)


def output_name(path: Sequence[Any]) -> str:
    """A name out of the way to an output: ``output``, ``output_0``, or the key of a dict."""
    keys = [str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path]
    named = bool(path) and not isinstance(path[0], _pytree.SequenceKey)
    return "_".join(keys if named else ["output", *keys])


def unique(names: Sequence[str]) -> tuple[str, ...]:
    """The names, one that was there before with a number behind it: ``{"a": {"b": x}, "a_b": y}`` has two ``a_b``."""
    found: list[str] = []
    for name in names:
        numbered = (f"{name}_{i}" for i in itertools.count(1))
        found.append(name if name not in found else next(n for n in numbered if n not in names and n not in found))
    return tuple(found)


def node_names(nodes: Sequence[fx.Node]) -> dict[fx.Node, str]:
    """A unique name for every node that computes: the path of its module, with the operator where it made several."""
    calls = [n for n in nodes if n.op not in ("placeholder", "get_attr", "output")]
    made = Counter(module_call(n)[0] for n in calls if computes(n))
    taken: Counter[str] = Counter()
    names: dict[fx.Node, str] = {}
    for node in calls:
        call, path = module_call(node)
        name = operator_name(node)
        if path and call:
            name = path if made[call] < 2 else f"{path}.{name}"
        if computes(node):
            taken[name] += 1
            name = name if taken[name] == 1 else f"{name}_{taken[name] - 1}"
        names[node] = name
    return names


def computes(node: fx.Node) -> bool:
    """Whether a node gives tensors of its own."""
    return isinstance(node.target, torch._ops.OpOverload) and str(node.target) not in (IGNORED | PASSED_THROUGH)


def operator_name(node: fx.Node) -> str:
    """The bare name of an operator of torch, the node's own name for anything else."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return node.name
    return str(node.target).split(".")[1].strip("_")


def module_call(node: fx.Node) -> tuple[str, str]:
    """The innermost module under which a node was made: a key of that very call, and the path of the module."""
    stack = node.meta.get("nn_module_stack") or {}
    if not stack:
        return "", ""
    call, (path, _) = list(stack.items())[-1]
    return call, path.split("@")[0]
