"""The testing tools themselves."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from graphopt.errors import ContractViolation
from graphopt.ir import Batch, Graph, Value, arg, constant
from graphopt.ops import Add, Mul, Neg
from graphopt.passes import Context, Exact, Pass
from graphopt.testing import MOTIFS, Drawing, assert_equivalent, check_pass, motif, random_graph

X = arg("x", "float32", (Batch(), 3))
TWICE = Graph((X,), (Add()(X, X),))

pytest_plugins = ["pytester"]


def test_a_seed_always_draws_the_same_graph() -> None:
    assert str(random_graph(5)) == str(random_graph(5))
    assert str(random_graph(5)) != str(random_graph(6))


def test_drawn_graphs_are_deep_and_share() -> None:
    drawn = [random_graph(seed) for seed in range(300)]
    assert np.mean([len([n for n in g.nodes if n.inputs]) for g in drawn]) > 4
    assert any(len(g.outputs) > 1 for g in drawn) and any(len(g.inputs) > 1 for g in drawn)
    shared = [v for g in drawn for v, users in g.uses.items() if v.constant is not None and len(users) > 1]
    assert len(shared) > 20
    assert 0.3 < np.mean([g.is_symbolic for g in drawn]) < 0.7


def test_equivalence_finds_differences_of_values_and_of_types() -> None:
    assert_equivalent(TWICE, Graph((X,), (Mul()(X, constant(np.float32(2))),)), rtol=1e-6)
    with pytest.raises(ContractViolation, match="output 'output_0' moved"):
        assert_equivalent(TWICE, Graph((X,), (Mul()(X, constant(np.float32(2.001))),)), rtol=1e-6)
    with pytest.raises(ContractViolation, match="is not"):
        assert_equivalent(TWICE, Graph((X,), (X,), ("other",)), rtol=1.0)


class Growing(Pass):
    """Adds zero, each time it runs."""

    name = "growing"
    contract = Exact()

    def run(self, graph: Graph, context: Context) -> Graph:
        zero = constant(np.zeros((), graph.outputs[0].type.dtype))
        return Graph(graph.inputs, tuple(Add()(v, zero) for v in graph.outputs), graph.output_names, graph.name)


class Renaming(Growing):
    def run(self, graph: Graph, context: Context) -> Graph:
        return Graph(graph.inputs, graph.outputs, ("renamed",), graph.name)


def test_passes_that_do_not_rest_or_rename_outputs_are_caught() -> None:
    with pytest.raises(ContractViolation, match="second run"):
        check_pass(Growing(), TWICE)
    with pytest.raises(ContractViolation, match="it turned"):
        check_pass(Renaming(), TWICE)


def test_users_add_motifs_of_their_own() -> None:
    @motif
    def negated(draw: Drawing, x: Value) -> Value | None:
        return Neg()(x)

    try:
        assert negated in MOTIFS
    finally:
        MOTIFS.remove(negated)


def test_golden_files_are_held_and_updated(pytester: pytest.Pytester) -> None:
    pytester.makeconftest('pytest_plugins = ["graphopt.testing.pytest_plugin"]')
    pytester.makepyfile("def test_it(golden):\n    golden('a', 'one')\n")
    pytester.runpytest_inprocess("-p", "no:xdist").assert_outcomes(failed=1)
    pytester.runpytest_inprocess("-p", "no:xdist", "--update-golden").assert_outcomes(passed=1)
    assert (pytester.path / "tests/golden/a.txt").read_text() == "one\n"
    pytester.runpytest_inprocess("-p", "no:xdist").assert_outcomes(passed=1)


def test_hypothesis_and_pytest_are_not_needed_to_import() -> None:
    code = (
        "import sys; sys.modules['hypothesis'] = sys.modules['pytest'] = None\n"
        "import graphopt, graphopt.passes, graphopt.testing"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
