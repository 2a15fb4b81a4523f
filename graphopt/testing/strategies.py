"""Hypothesis strategies. Needs hypothesis: ``pip install graphopt[testing]``.

@given(graphs(max_ops=6))
def test_my_pass(graph):
    check_pass(MyPass(), graph)
"""

from __future__ import annotations

from collections.abc import Collection

from graphopt.extras import optional_packages
from graphopt.ir import Graph
from graphopt.testing.drawing import draw_graph

with optional_packages():
    from hypothesis import strategies as st


@st.composite
def graphs(
    draw: st.DrawFn,
    max_ops: int = 8,
    dtype: str = "float32",
    ops: Collection[str] | None = None,
    symbolic: bool | None = None,
) -> Graph:
    """Whole graphs, valid by construction: one to three inputs, branches, shared weights, several outputs.

    The arguments are those of ``draw_graph``.
    """
    return draw_graph(lambda low, high: draw(st.integers(low, high)), max_ops, dtype, ops, symbolic)
