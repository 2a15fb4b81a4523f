"""Assertions that graphs compute the same, by the means of ``graphopt.passes.contract``."""

from __future__ import annotations

from graphopt.errors import ContractViolation
from graphopt.ir import Graph, bind_batch, signature, verify
from graphopt.passes.base import Pass
from graphopt.passes.contract import check_contract, compare, random_inputs


def assert_equivalent(a: Graph, b: Graph, rtol: float, atol: float = 0.0, seed: int = 0, batch: int = 2) -> None:
    """Hold two graphs to the same outputs, to ``rtol`` of max|y| plus ``atol``, on random inputs of a seed.

    A symbolic batch is bound to ``batch``. Raises ``ContractViolation`` naming the output that differs.
    """
    if signature(a) != signature(b):
        raise ContractViolation(f"{signature(b)} is not {signature(a)}", where=b.name)
    a, b = bind_batch(a, batch), bind_batch(b, batch)
    compare(a, b, random_inputs(a, seed), rtol, atol, f"{b.name} against {a.name}")


def check_pass(pass_: Pass, graph: Graph) -> Graph:
    """Run a pass and hold it to all that is asked of one; returns its result.

    The result verifies, keeps the names and types of inputs and outputs, meets the contract in float64
    and float32, and a second run changes nothing. Raises ``InvalidGraph`` or ``ContractViolation``.
    """
    result = pass_(graph)
    verify(result)
    if signature(result) != signature(graph):
        raise ContractViolation(f"it turned {signature(graph)} into {signature(result)}", where=pass_.name)
    check_contract(pass_, graph, pass_.contract, pass_.name)
    if str(pass_(result)) != str(result):
        raise ContractViolation("a second run changes its result", where=pass_.name)
    return result
