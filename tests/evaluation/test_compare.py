"""Variants side by side."""

from __future__ import annotations

import json

import numpy as np
import pytest

import graphopt
from evaluation.nets import echo, rectified
from graphopt.errors import InvalidInput
from graphopt.evaluation import Score, Variant
from graphopt.evaluation.comparison import marked
from graphopt.passes import Fuse, Pipeline, Quantize


def test_a_graph_and_an_integer_program_on_a_board() -> None:
    x = np.random.default_rng(0).standard_normal((40, 5)).astype("float32")
    y = x.argmax(1)
    net = rectified()
    int8 = graphopt.compile(Pipeline([Quantize(calibration=x), Fuse()])(net), "cortex-m4")
    found = graphopt.compare({"float": net, "int8": int8}, x, y, samples=10, target="cortex-m4")
    as_float, as_int8 = found.variants
    for variant, model in zip(found.variants, (net, int8), strict=True):
        assert variant.score == graphopt.evaluate(model, x, y, samples=10).score
        assert (variant.target, variant.seconds) == ("cortex-m4", None)
    assert (as_float.macs, as_int8.macs) == (25, None)
    assert (as_int8.flash, as_int8.ram) == (int8.sizes.code + int8.sizes.weights, int8.sizes.workspace)
    assert as_int8.instructions == int8.measure([x[:1]]).instructions
    lines = str(found).splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("int8")
    record = json.loads(found.to_json(), parse_constant=pytest.fail)
    assert (record["version"], record["variants"][1]["ram"]) == (1, as_int8.ram)


def variant(name: str, accuracy: float, flash: int, ram: int, instructions: int | None = 5) -> Variant:
    return Variant(name, "cortex-m4", Score("top1", accuracy, 100), 10, flash, ram, instructions, None)


@pytest.mark.parametrize(
    ("rows", "front"),
    [
        ([variant("a", 0.9, 10, 10), variant("b", 0.8, 5, 10), variant("c", 0.8, 6, 10)], "ab"),
        ([variant("a", 0.9, 10, 10), variant("b", 0.9, 10, 10)], "ab"),
        ([variant("a", 0.9, 10, 10), variant("b", 0.9, 10, 9)], "b"),
        ([variant("a", 0.9, 10, 10, None), variant("b", 0.9, 9, 10, 99)], "b"),
        ([variant("a", np.nan, 10, 10), variant("b", 0.9, 9, 10)], "b"),
    ],
)
def test_the_pareto_front(rows: list[Variant], front: str) -> None:
    assert "".join(row.name for row in marked(rows) if row.pareto) == front


def test_of_the_same_name_and_without_data() -> None:
    found = graphopt.compare([echo(5), echo(5)], target="cortex-m4")
    assert [v.name for v in found.variants] == ["echo", "echo (2)"]
    assert all(v.score is None and v.pareto and v.instructions for v in found.variants)
    with pytest.raises(InvalidInput, match="there is nothing to compare"):
        graphopt.compare([])
