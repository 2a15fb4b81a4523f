"""Every operator in every type, as the file has it and in integers, against LiteRT's reference kernels."""

from __future__ import annotations

from pathlib import Path

import pytest
import tflite

import graphopt
from frontends.tflite.cases import CASES
from frontends.tflite.checking import drawn, worst
from graphopt.frontends.tflite import importer as importer  # its import enters the rules
from graphopt.frontends.tflite.node import TFLITE_RULES

OPERATORS = sorted(name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int))


@pytest.mark.parametrize("name", CASES)
def test_an_operator_gives_what_litert_gives(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    for variant in case.variants:
        graph, found, wanted = drawn(name, case, variant, tmp_path)
        assert worst(graph, found, wanted) <= case.steps, variant
        assert worst(graphopt.optimize(graph), found, wanted) <= case.steps, f"{variant}, in integers"


def test_every_operator_has_a_rule_or_a_reason() -> None:
    for name in OPERATORS:
        assert (name in TFLITE_RULES) != (name in TFLITE_RULES.reasons), name


def test_every_rule_has_a_case() -> None:
    elsewhere = {"SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM"}
    assert set(TFLITE_RULES) - elsewhere == {case.op for case in CASES.values()}
