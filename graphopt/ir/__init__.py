"""The intermediate representation: values, nodes, graphs, their types, checks and text form."""

from graphopt.ir.evaluate import evaluate
from graphopt.ir.graph import (
    Constant,
    Graph,
    Input,
    Node,
    Value,
    arg,
    bind_batch,
    cast_floats,
    constant,
    match_inputs,
    rebuild,
    topological,
)
from graphopt.ir.op import REGISTRY, Array, Op, Sampler, expect, frozen
from graphopt.ir.text import parse, print_graph
from graphopt.ir.types import Batch, Dim, Shape, TensorType, numel
from graphopt.ir.verify import verify

__all__ = [
    "REGISTRY",
    "Array",
    "Batch",
    "Constant",
    "Dim",
    "Graph",
    "Input",
    "Node",
    "Op",
    "Sampler",
    "Shape",
    "TensorType",
    "Value",
    "arg",
    "bind_batch",
    "cast_floats",
    "constant",
    "evaluate",
    "expect",
    "frozen",
    "match_inputs",
    "numel",
    "parse",
    "print_graph",
    "rebuild",
    "topological",
    "verify",
]
