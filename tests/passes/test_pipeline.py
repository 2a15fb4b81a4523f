"""Pipelines, their command-line form, the notes of passes, and deep graphs."""

from __future__ import annotations

import time

import numpy as np
import pytest

from graphopt.errors import ContractViolation, InvalidGraph
from graphopt.ir import Batch, Graph, Value, arg, constant
from graphopt.ops import Add, BatchNorm, Conv, Neg, Relu, Reshape, Tanh
from graphopt.passes import (
    PASSES,
    Close,
    Context,
    Exact,
    FoldBatchNorm,
    Pass,
    Pipeline,
    RemoveIdentities,
    Step,
    optimize,
)


class Probe(Pass, name="test-probe", contract=Close(rtol=0.0, atol=0.0)):
    """Adds ``x`` to every output."""

    x: float = 0.0
    axes: tuple[int, ...] = ()

    def run(self, graph: Graph, context: Context) -> Graph:
        outputs = tuple(Add()(v, constant(np.asarray(self.x, v.type.dtype))) for v in graph.outputs)
        return Graph(graph.inputs, outputs, graph.output_names, graph.name)


def relu_graph() -> Graph:
    x = arg("x", "float32", (Batch(), 3))
    return Graph((x,), (Relu()(x),))


def test_names_of_passes_are_unique_and_contracts_required() -> None:
    with pytest.raises(InvalidGraph, match="taken"):

        class Other(Pass, name="test-probe", contract=Exact()):
            pass

    with pytest.raises(InvalidGraph, match="contract"):

        class Bare(Pass, name="test-bare"):
            pass

    assert "test-bare" not in PASSES


def test_pipeline_reports_steps_and_checks_contracts() -> None:
    steps: list[Step] = []
    result = Pipeline([RemoveIdentities(), Probe()], check=True)(relu_graph(), on_step=steps.append)
    assert [s.pass_.name for s in steps] == ["remove-identities", "test-probe"]
    assert steps[-1].after is result
    with pytest.raises(ContractViolation, match="test-probe in float64"):
        Pipeline([Probe(x=1e-3)], check=True)(relu_graph())


def test_ill_typed_result_of_a_pass_is_an_error() -> None:
    class IllTyped(Pass, name="test-ill-typed", contract=Exact()):
        def run(self, graph: Graph, context: Context) -> Graph:
            node = graph.outputs[0].node
            wrong = type(node)(node.op, node.inputs, (node.types[0].with_shape((7,)),), node.name)
            return Graph(graph.inputs, wrong.results)

    try:
        with pytest.raises(InvalidGraph, match="its operator gives"):
            Pipeline([IllTyped()])(relu_graph())
    finally:
        del PASSES["test-ill-typed"]


def test_notes_say_what_was_done_and_what_was_not() -> None:
    x = arg("x", "float32", (1, 2, 5, 5))
    zeros = [constant(np.zeros(2, np.float32)) for _ in range(3)]
    ones = constant(np.ones(2, np.float32))
    w = constant(np.ones((2, 2, 3, 3), np.float32), "w")
    conv = Conv(pads=(1, 1, 1, 1))(BatchNorm()(x, ones, ones, zeros[0], ones), w, zeros[1], name="conv")
    context = Context()
    FoldBatchNorm().run(Graph((x,), (conv,)), context)
    assert [str(n) for n in context.notes if n.declined] == [
        "fold-batch-norm: conv: into_consumer: a shift in front of pads (1, 1, 1, 1) does not reach the padding"
    ]


def deep(count: int) -> Graph:
    x = value = arg("x", "float32", (Batch(), 4))
    for i in range(count):
        match i % 5:
            case 0:
                value = Neg()(value)
            case 1:
                value = Add()(value, constant(np.full(4, i, np.float32)))
            case 2:
                value = Reshape(shape=(Batch(), 2, 2))(value)
            case 3:
                value = Reshape(shape=(Batch(), 4))(value)
            case _:
                value = Tanh()(value)
    return Graph((x,), (value,))


def test_deep_graph_goes_through_every_pass_without_recursion_and_fast() -> None:
    graph = deep(5000)
    started = time.process_time()
    result = optimize(graph)
    assert time.process_time() - started < 10
    assert len(result.nodes) < len(graph.nodes) // 2
    assert str(result)


def test_evaluation_of_a_value_that_is_input_and_output() -> None:
    x: Value = arg("self", "float32", (2,))
    graph = Graph((x,), (x,))
    (y,) = graph(self=np.ones(2, np.float32))
    assert (y == 1).all()
