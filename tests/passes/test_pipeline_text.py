"""Passes in their command-line form."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from graphopt.errors import InvalidInput
from graphopt.ir import Graph
from graphopt.passes import PASSES, Context, Exact, FoldBatchNorm, Pass, Quantize, default_pipeline, parse_passes


class Options(Pass, name="test-options", contract=Exact()):
    """Has an option of any kind, and one that must be given."""

    x: object = 0.0
    axes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.x == "bad":
            raise ValueError("x is bad")

    def run(self, graph: Graph, context: Context) -> Graph:
        return graph


@pytest.fixture(autouse=True, scope="module")
def registered() -> Iterator[None]:
    yield
    del PASSES["test-options"]


def test_passes_are_read_from_text() -> None:
    assert parse_passes("fold-batch-norm,test-options{x=1, axes=(1, 2)},") == [
        FoldBatchNorm(),
        Options(x=1, axes=(1, 2)),
    ]
    assert [type(p) for p in parse_passes(",".join(p.name for p in default_pipeline()))] == [
        type(p) for p in default_pipeline()
    ]
    assert parse_passes("quantize{weights=int4, overrides={'conv_1': float32}}, fuse")[0] == Quantize(
        weights="int4", overrides={"conv_1": "float32"}
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"conv_1": "float32"}', {"conv_1": "float32"}),
        ("{'a': [1, (2, 3)], 'b': {'c': None}}", {"a": [1, (2, 3)], "b": {"c": None}}),
        ('"},{,=\\"\'"', "},{,=\"'"),
        ("int8", "int8"),
        ("geometric-median", "geometric-median"),
        ("one-two-three", "one-two-three"),
        ("[int8, word]", ["int8", "word"]),
        ("True", True),
        ("-1.5e-3", -1.5e-3),
        ("{}", {}),
    ],
)
def test_values_nest_and_words_need_no_quotes(text: str, value: object) -> None:
    assert parse_passes(f"test-options{{x={text}}},cse")[0] == Options(x=value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fold-batchnorm", "did you mean fold-batch-norm"),
        ("test-options{y=1}", r"unknown options \['y'\]"),
        ("test-options{x=}", "cannot read the options"),
        ("test-options{x=open('f')}", "cannot read the options"),
        ("test-options{1}", "cannot read the options"),
        ("test-options{**{'x': 1}}", "cannot read the options"),
        ("test-options{x=1)+f(x=2}", "cannot read the options"),
        ("test-options{x=1, x=2}", "cannot read the options"),
        ("test-options{x=bad}", "x is bad"),
        ("test-options{x={[]: 1}}", "cannot read the options"),
        ("test-options{x=" + "[" * 5000 + "]" * 5000 + "}", "cannot read the"),
        ("test-options{x=1", "cannot read the passes"),
        ("test-options}", "cannot read the passes"),
        ("", "cannot read the passes"),
        (",", "cannot read the passes"),
        ("cse,,fuse", "cannot read the passes"),
        ("cse fuse", "cannot read the passes"),
    ],
)
def test_what_cannot_be_read_is_refused_with_advice(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse_passes(text)
