"""The intermediate representation: values, nodes, graphs, their types, checks and text form."""

from graphopt.ir.difference import signature, worst_difference
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
from graphopt.ir.qparams import QParams, asymmetric, fixed_point, integer_limits, symmetric
from graphopt.ir.text import parse, print_graph
from graphopt.ir.traits import Trait
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
    "QParams",
    "Sampler",
    "Shape",
    "TensorType",
    "Trait",
    "Value",
    "arg",
    "asymmetric",
    "bind_batch",
    "cast_floats",
    "constant",
    "evaluate",
    "expect",
    "fixed_point",
    "frozen",
    "integer_limits",
    "match_inputs",
    "numel",
    "parse",
    "print_graph",
    "rebuild",
    "signature",
    "symmetric",
    "topological",
    "verify",
    "worst_difference",
]
