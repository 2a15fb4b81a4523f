"""Rules that are written wrongly say what to write, where they are defined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Union

import pytest

from graphopt.errors import InvalidInput
from graphopt.ir import Node, Value, arg
from graphopt.ops import Add, Clip, Relu
from graphopt.passes import Exact, RewritePass
from graphopt.rewrite import Const, node_rule, rule


def unannotated(relu: Relu, x) -> Value:  # type: ignore[no-untyped-def]
    return x


def of_a_number(relu: Relu, x: int) -> Value:
    return relu(x)  # type: ignore[arg-type]


def of_more(relu: Relu, x: Value, y: Value) -> Value:
    return y


def unknown(relu: Relu, x: NoSuchThing) -> Value:  # type: ignore[name-defined]  # noqa: F821
    return x  # type: ignore[no-any-return]


def right(relu: Relu, x: Value) -> Value:
    return x


def of_a_value(relu: Value, x: Value) -> Value:
    return x


WRONG: list[tuple[Callable[..., Any], Callable[..., Any], str]] = [
    (lambda relu, x: relu(x), unannotated, "x has no annotation\n.*x: Value"),
    (lambda relu, x: relu(x), of_a_number, "x: <class 'int'> stands for nothing"),
    (lambda relu, x: relu(x), of_more, "y is not in the pattern"),
    (lambda relu, x: relu(x), unknown, "an annotation cannot be read .*NoSuchThing.*\n.*import it"),
    (lambda relu, x: relu(x) + 1, right, "the pattern cannot be read .*\n.*write calls"),
    (lambda relu, x: relu(x), of_a_value, "the pattern cannot be read .*not callable"),
    (lambda relu, x: x, right, "must be the application of an operator"),
]


@pytest.mark.parametrize(("pattern", "build", "message"), WRONG, ids=[build.__name__ for _, build, _ in WRONG])
def test_a_wrong_rule_says_what_to_write(pattern: Callable[..., Any], build: Callable[..., Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as caught:
        rule(pattern)(build)
    assert build.__name__ in str(caught.value)


def test_unions_may_be_written_either_way() -> None:
    def old(op: Union[Relu, Clip], x: Value) -> Value:  # noqa: UP007
        return x

    assert rule(lambda op, x: op(x))(old).roots == (Relu, Clip)


def test_decorators_without_their_operators() -> None:
    def build(node: Node, inputs: tuple[Value, ...]) -> Value:
        return inputs[0]

    for given in ((build,), (), ("relu",)):
        with pytest.raises(InvalidInput, match=r"write @node_rule\(Relu"):
            node_rule(*given)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"Bare\.rules: <function .*build.* is no rule\n.*@rule"):

        class Bare(RewritePass, name="test-bare-rules", contract=Exact()):
            rules = (build,)  # type: ignore[assignment]


def test_a_lone_rule_is_a_tuple_of_one() -> None:
    @rule(lambda add, x, c: add(x, c))
    def drop(add: Add, x: Value, c: Const) -> Value:
        return arg("y", "float32", (1,))

    class Lone(RewritePass):
        rules = drop  # type: ignore[assignment]

    assert Lone.rules == (drop,)
