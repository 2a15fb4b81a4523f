"""The driver: what fires and why not, names and origins, use counts, termination, speed."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from graphopt.errors import InvalidGraph
from graphopt.ir import Graph, Node, Value, arg, constant, verify
from graphopt.ops import Abs, Add, Concat, Mul, Neg, Relu, Reshape, Sub, Tanh
from graphopt.passes import PASSES, Exact, Pipeline, RewritePass
from graphopt.rewrite import Const, Decline, RewriteLog, node_rule, rewrite, rule


@rule(lambda outer, inner, x: outer(inner(x)))
def cancel(outer: Neg, inner: Neg, x: Value) -> Value:
    return x


@rule(lambda outer, inner, x, c, d: outer(inner(x, c), d))
def merge(outer: Add, inner: Add, x: Value, c: Const, d: Const) -> Value:
    assert c.constant is not None and d.constant is not None
    if not c.constant.any():
        raise Decline("adds nothing")
    return Tanh()(Add()(x, constant(c.constant + d.constant, like=c)))


def x4() -> Value:
    return arg("x", "float32", (1, 4))


def ones(name: str) -> Value:
    return constant(np.ones(4, np.float32), name)


def test_replacement_has_the_name_of_the_root_and_all_origins() -> None:
    inner = Add()(x4(), ones("c"), name="first", origins=("model.first",))
    outer = Add()(inner, ones("d"), name="second", origins=("model.second", "model.more"))
    result = rewrite(Graph((inner.node.inputs[0],), (outer,)), [merge])
    (tanh,) = result.outputs
    assert tanh.node.name == "second"
    assert tanh.node.origins == ("model.first", "model.second", "model.more")
    made = tanh.node.inputs[0].node
    assert (made.name, made.origins) == ("second.add", tanh.node.origins)
    assert made.inputs[1].node.name == "c"
    verify(result)


def test_commutative_operands_match_in_both_orders_and_others_do_not() -> None:
    x = x4()
    result = rewrite(Graph((x,), (Add()(ones("d"), Add()(ones("c"), x)),)), [merge])
    assert isinstance(result.outputs[0].op, Tanh)

    @rule(lambda op, x, c: op(x, c))
    def drop(op: Sub, x: Value, c: Const) -> Value:
        return x

    graph = Graph((x,), (Sub()(ones("c"), x),))
    assert str(rewrite(graph, [drop])) == str(graph)


def test_decline_is_logged_with_its_reason() -> None:
    x, zero = x4(), constant(np.zeros(4, np.float32))
    log = RewriteLog()
    rewrite(Graph((x,), (Add()(Add()(x, zero), ones("d"), name="sum"),)), [merge], log)
    assert log.declined == [("merge", "sum", "adds nothing")]
    assert not log.fired


def test_inner_value_with_two_uses_is_left_and_the_log_says_so() -> None:
    x = x4()
    inner = Neg()(x, name="inner")
    log = RewriteLog()
    graph = Graph((x,), (Neg()(inner, name="outer"), inner))
    assert str(rewrite(graph, [cancel], log)) == str(graph)
    assert ("cancel", "outer", "inner has 2 uses") in log.declined


def test_hole_used_twice_stands_for_one_value() -> None:
    @rule(lambda op, x: op(x, x))
    def square(op: Mul, x: Value) -> Value:
        return Abs()(x)

    x, y = x4(), arg("y", "float32", (1, 4))
    result = rewrite(Graph((x, y), (Mul()(x, x), Mul()(x, y))), [square])
    assert [v.op.name for v in result.outputs] == ["abs", "mul"]


def test_rules_that_undo_each_other_are_an_error() -> None:
    @node_rule(Relu)
    def to_abs(node: Node, inputs: tuple[Value, ...]) -> Value:
        return Abs()(*inputs)

    @node_rule(Abs)
    def to_relu(node: Node, inputs: tuple[Value, ...]) -> Value:
        return Relu()(*inputs)

    x = x4()
    with pytest.raises(InvalidGraph, match="no fixed point"):
        rewrite(Graph((x,), (Relu()(x),)), [to_abs, to_relu])


def test_a_rule_that_holds_its_own_pattern_is_stopped() -> None:
    @rule(lambda relu, a: relu(a))
    def grow(relu: Relu, a: Value) -> Value:
        return Relu()(Relu()(a))

    x = x4()
    started = time.process_time()
    with pytest.raises(InvalidGraph, match="rule grow makes the graph grow without end"):
        rewrite(Graph((x,), (Relu()(x),)), [grow])
    assert time.process_time() - started < 1


def test_rules_that_feed_each_other_are_stopped() -> None:
    @node_rule(Relu)
    def to_abs(node: Node, inputs: tuple[Value, ...]) -> Value:
        return Abs()(Abs()(*inputs))

    @node_rule(Abs)
    def to_relu(node: Node, inputs: tuple[Value, ...]) -> Value:
        return Relu()(Relu()(*inputs))

    @node_rule(Tanh)
    def bystander(node: Node, inputs: tuple[Value, ...]) -> None:
        return None

    x = x4()
    with pytest.raises(InvalidGraph, match="grow without end"):
        rewrite(Graph((x,), (Relu()(x),)), [bystander, to_abs, to_relu])


def test_a_rule_that_adds_one_to_itself_is_stopped() -> None:
    @node_rule(Relu)
    def wrap(node: Node, inputs: tuple[Value, ...]) -> Value:
        return Abs()(Relu()(*inputs))

    x = x4()
    with pytest.raises(InvalidGraph, match="holds what it looks for"):
        rewrite(Graph((x,), (Relu()(x),)), [wrap])


@pytest.mark.parametrize("operands", [4, 3000])
def test_a_rule_that_unfolds_what_it_made_comes_to_its_end(operands: int) -> None:
    """Splitting in halves, as long as there is something to split."""

    @node_rule(Concat)
    def halve(node: Node, inputs: tuple[Value, ...]) -> Value | None:
        if len(inputs) <= 2:
            return None
        half = len(inputs) // 2
        parts = (Concat(axis=0)(*part) if len(part) > 1 else part[0] for part in (inputs[:half], inputs[half:]))
        return Concat(axis=0)(*parts)

    x = x4()
    result = rewrite(Graph((x,), (Concat(axis=0)(*(Neg()(x) for _ in range(operands))),)), [halve])
    assert sum(isinstance(n.op, Concat) for n in result.nodes) == operands - 1


def test_one_node_may_become_very_many() -> None:
    @node_rule(Tanh)
    def unroll(node: Node, inputs: tuple[Value, ...]) -> Value:
        (value,) = inputs
        for _ in range(20_000):
            value = Neg()(value)
        return value

    x = x4()
    assert len(rewrite(Graph((x,), (Tanh()(x),)), [unroll]).nodes) == 20_001


def raises(node: Node, inputs: tuple[Value, ...]) -> Value:
    raise KeyError("weights")


def ill_formed(node: Node, inputs: tuple[Value, ...]) -> Value:
    return Add()(inputs[0], constant(np.ones((7, 7), np.float32)))


def nothing_of_the_kind(node: Node, inputs: tuple[Value, ...]) -> Value:
    return np.ones(4)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("build", "why"),
    [(raises, "KeyError: 'weights'"), (ill_formed, "failed"), (nothing_of_the_kind, "returned ndarray, which is no")],
)
def test_an_error_names_pass_rule_and_node(build: Callable[..., Value], why: str) -> None:
    class Failing(RewritePass, name="test-failing", contract=Exact()):
        rules = (node_rule(Relu)(build),)

    x = x4()
    try:
        with pytest.raises(InvalidGraph, match=rf"^test-failing: act: rule {build.__name__} .*{why}") as caught:
            Pipeline([Failing()])(Graph((x,), (Relu()(x, name="act"),)))
    finally:
        del PASSES["test-failing"]
    cause = caught.value.__cause__
    assert cause is not None and (build is nothing_of_the_kind or cause.__cause__ is not None)


def test_rule_that_changes_a_type_is_an_error() -> None:
    @node_rule(Relu)
    def wrong(node: Node, inputs: tuple[Value, ...]) -> Value:
        return Reshape(shape=(4, 1))(*inputs)

    x = x4()
    with pytest.raises(InvalidGraph, match="rule wrong turned"):
        rewrite(Graph((x,), (Relu()(x, name="act"),)), [wrong])


def test_node_rule_that_says_none_leaves_no_trace() -> None:
    @node_rule(Relu)
    def indifferent(node: Node, inputs: tuple[Value, ...]) -> None:
        return None

    x, log = x4(), RewriteLog()
    rewrite(Graph((x,), (Relu()(x),)), [indifferent], log)
    assert log == RewriteLog()


def test_nodes_made_inside_a_replacement_are_made_once() -> None:
    """A later rule may reach into an earlier replacement; what it finds there is not copied."""

    @node_rule(Relu)
    def two(node: Node, inputs: tuple[Value, ...]) -> Value:
        return Abs()(Neg()(*inputs))

    @node_rule(Tanh)
    def reach(node: Node, inputs: tuple[Value, ...]) -> Value:
        return Abs()(inputs[0].node.inputs[0]) if isinstance(inputs[0].op, Abs) else Abs()(*inputs)

    x = x4()
    relu = Relu()(x)
    result = rewrite(Graph((x,), (relu, Tanh()(relu))), [two, reach])
    assert sum(isinstance(n.op, Neg) for n in result.nodes) == 1


def test_a_chain_that_shrinks_by_one_a_sweep_is_not_mistaken_for_a_loop() -> None:
    @rule(lambda root, inner, x: root(inner(x)))
    def swallow(root: Tanh, inner: Neg, x: Value) -> Value:
        return root(x)

    x = value = x4()
    for _ in range(150):
        value = Neg()(value)
    assert len(rewrite(Graph((x,), (Tanh()(value),)), [swallow]).nodes) == 2


@pytest.mark.parametrize("count", [5000])
def test_deep_graphs_are_rewritten_in_linear_time(count: int) -> None:
    x = value = x4()
    for i in range(count):
        value = Neg()(value, name=f"n{i}")
    started = time.process_time()
    result = rewrite(Graph((x,), (value,)), [cancel])
    assert result.outputs == result.inputs
    assert time.process_time() - started < 5
