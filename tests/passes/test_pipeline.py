"""Pipelines, their command-line form, the notes of passes, and deep graphs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphopt.errors import ContractViolation, GraphoptError, InvalidGraph, InvalidInput
from graphopt.ir import Batch, Graph, Value, arg, constant
from graphopt.ops import Add, BatchNorm, Conv, Mul, Neg, Relu, Reshape, Tanh
from graphopt.passes import (
    PASSES,
    Close,
    Context,
    Exact,
    FoldBatchNorm,
    Pass,
    Pipeline,
    RemoveIdentities,
    RewritePass,
    Step,
    optimize,
)
from graphopt.rewrite import rule


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


def passing(run: Callable[[Graph, Context], object]) -> Pass:
    """A pass of a function, for one test."""

    class Passing(Pass, name="test-passing", contract=Exact()):
        def run(self, graph: Graph, context: Context) -> Graph:
            return run(graph, context)  # type: ignore[return-value]

    del PASSES["test-passing"]
    return Passing()


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda g, c: None, "test-passing: it gave NoneType, which is no graph"),
        (lambda g, c: g.nodes[100], "test-passing: it failed with IndexError"),
        (lambda g, c: g.node("no such"), "test-passing: no node is called"),
    ],
)
def test_errors_of_a_pass_name_it(run: Callable[[Graph, Context], object], message: str) -> None:
    for pipeline in (Pipeline([passing(run)]), passing(run)):
        with pytest.raises(GraphoptError, match=message) as caught:
            pipeline(relu_graph())
        assert caught.value.__cause__ is not None


def double(dtype: Callable[[float], object]) -> Pass:
    @rule(lambda add, x: add(x, x))
    def twice(add: Add, x: Value) -> Value:
        return Mul()(x, constant(dtype(2)))  # type: ignore[arg-type]

    class Double(RewritePass, name="test-double", contract=Exact()):
        """x + x to 2 x."""

        rules = (twice,)

    del PASSES["test-double"]
    return Double()


def test_constants_of_a_rule_fit_the_check_in_float64() -> None:
    x = arg("x", "float32", (2, 3))
    graph = Graph((x,), (Add()(x, x),))
    for check in (False, True):
        result = Pipeline([double(np.float32)], check=check)(graph)
        assert [n.op.name for n in result.nodes] == ["input", "constant", "mul"]
        assert result.outputs[0].type.dtype == "float32"
    assert str(constant(np.float32(2)).type) == "float32[]", "the check leaves nothing behind"


def test_an_error_of_the_check_says_where_it_runs() -> None:
    def strict(graph: Graph, context: Context) -> Graph:
        assert graph.inputs[0].type.dtype == "float32"
        return graph

    with pytest.raises(InvalidGraph, match="copy of the graph in float64"):
        Pipeline([passing(strict)], check=True)(relu_graph())
    with pytest.raises(InvalidGraph) as caught:
        Pipeline([double(np.int32)], check=True)(Graph((x := arg("x", "float32", (3,)),), (Add()(x, x),)))
    assert "float64" not in str(caught.value), "this one fails at once"


class Needy(Pass, name="test-needy", contract=Exact()):
    """Has an option that must be given."""

    ratio: float


def test_a_pipeline_takes_what_people_write_for_a_pass() -> None:
    wanted = (FoldBatchNorm(), Probe(x=1.0))
    text = "fold-batch-norm,test-probe{x=1.0}"
    for given in (text, [text], text.split(","), [FoldBatchNorm, Probe(x=1.0)], [FoldBatchNorm(), "test-probe{x=1.0}"]):
        assert Pipeline(given).order == wanted


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([Needy], r"write Needy\(ratio=\.\.\.\)"),
        (["test-needy"], "cannot have the options"),
        (["fuze"], "did you mean fuse"),
        (FoldBatchNorm(), r"write Pipeline\(\[Fuse\(\)\]\)"),
        (FoldBatchNorm, r"write Pipeline\(\[Fuse\(\)\]\)"),
        ([Graph], "is no pass\n.*'fuse'"),
        ([[FoldBatchNorm()]], "is no pass"),
        ([None], "None is no pass"),
    ],
)
def test_what_is_no_pass_is_refused_with_what_to_write(given: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Pipeline(given)


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
