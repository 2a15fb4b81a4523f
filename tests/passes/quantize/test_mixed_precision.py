"""Mixed precision: the best choice under a budget, which layers get the bits, and what is refused."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphopt
from graphopt.errors import InvalidInput
from graphopt.ir import Array, Batch, Graph, Value, arg, constant
from graphopt.ops import Add, Linear, Relu
from graphopt.passes import Context, MixedPrecision, Quantize
from graphopt.passes.prune import ConstantBytes, CostModel
from graphopt.passes.quantize.layers import packed_weights, quantized_layers
from graphopt.passes.quantize.mixed import choose_cheapest


@given(data=st.data(), rows=st.integers(1, 5), choices=st.integers(1, 3))
def test_the_choice_is_as_good_as_can_be(data: st.DataObject, rows: int, choices: int) -> None:
    numbers = st.lists(st.integers(0, 20), min_size=rows * choices, max_size=rows * choices)
    losses, costs = (np.array(data.draw(numbers), float).reshape(rows, choices) for _ in range(2))
    budget = costs.min(axis=1).sum() + data.draw(st.integers(0, 30))
    every = list(itertools.product(range(choices), repeat=rows))
    best = min(losses[np.arange(rows), c].sum() for c in map(list, every) if costs[np.arange(rows), c].sum() <= budget)
    chosen = choose_cheapest(losses, costs, budget)
    assert costs[np.arange(rows), chosen].sum() <= budget
    assert losses[np.arange(rows), chosen].sum() == best


@pytest.mark.parametrize("scale", [1, 10**4, 10**9])
def test_the_budget_holds_whatever_the_size_of_the_costs(scale: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        losses, costs = 10 ** rng.uniform(-9, 0, (6, 3)), rng.integers(1, 1000 * scale, (6, 3)).astype(float)
        budget = costs[np.arange(6), rng.integers(0, 3, 6)].sum()
        assert costs[np.arange(6), choose_cheapest(losses, costs, budget)].sum() <= budget


def test_a_choice_that_ruins_the_outputs_is_not_taken() -> None:
    losses, costs = np.array([[1.0, np.inf], [0.0, np.nan]]), np.array([[8.0, 4.0], [8.0, 4.0]])
    assert choose_cheapest(losses, costs, 16) == [0, 0]
    assert choose_cheapest(losses, costs, 12) == [1, 1]


def chain() -> Graph:
    """Four layers of 16 by 16, of which the last makes of its inputs what is a hundred times as loud in ``loud``."""
    rng = np.random.default_rng(0)

    def dense(x: Value, name: str) -> Value:
        weight = rng.standard_normal((16, 16)) / 4
        return Linear()(x, constant(weight.astype("float32")), constant(np.zeros(16, "float32")), name=name)

    x = arg("x", "float32", (Batch(), 16))
    trunk = Relu()(dense(x, "first"))
    loud, quiet = (dense(trunk, name) for name in ("loud", "quiet"))
    loud = loud.op(trunk, constant(loud.node.inputs[1].constant * np.float32(100)), loud.node.inputs[2], name="loud")
    return Graph((x,), (dense(Add()(loud, quiet), "last"),))


def data() -> Array:
    return np.random.default_rng(1).standard_normal((64, 16)).astype("float32")


def bits(pass_: MixedPrecision, graph: Graph) -> dict[str, int]:
    inserted = pass_.insert(graph, Context())
    return {inserted.names[n]: layer.bits for n, layer in quantized_layers(inserted).items()}


@pytest.mark.parametrize("unit", ["bytes", "mac-bits"])
def test_the_layer_that_does_not_matter_gets_the_fewest_bits(unit: str) -> None:
    found = bits(MixedPrecision(calibration=data(), budget=0.875, unit=unit), chain())
    assert found == {"first": 8, "loud": 8, "quiet": 4, "last": 8}


@pytest.mark.parametrize(
    ("narrow", "budgets"), [("int4", (0.5, 0.625, 512.0, 640.0)), ("int4-grouped", (0.625, 688.0))]
)
def test_budgets_hold(narrow: str, budgets: tuple[float, ...]) -> None:
    for budget in (*budgets, 0.75, 1024.0):
        widths = ("int8", narrow)
        packed = packed_weights(MixedPrecision(calibration=data(), budget=budget, widths=widths)(chain()))
        stored = sum(size for _, size in packed.values())
        assert stored <= (1024 * budget if budget <= 1 else budget)


def test_overrides_come_first_and_are_not_in_the_budget() -> None:
    pass_ = MixedPrecision(calibration=data(), budget=0.5, overrides={"quiet": "int8", "first": "float32"})
    assert bits(pass_, chain()) == {"loud": 4, "quiet": 8, "last": 4}


def test_what_cannot_be_is_refused() -> None:
    graph = chain()
    with pytest.raises(InvalidInput, match=r"(?s)no widths of weights cost 100 bytes.*the least is 512"):
        MixedPrecision(calibration=data(), budget=100)(graph)
    with pytest.raises(InvalidInput, match="unit: 'kg' is none of bytes, mac-bits"):
        MixedPrecision(calibration=data(), unit="kg")(graph)
    with pytest.raises(InvalidInput, match="widths: 'int3' is none of"):
        MixedPrecision(calibration=data(), widths=("int3",))(graph)


@dataclass(frozen=True)
class WithSharedCode:
    """Bytes of constants, and 300 more if any are packed."""

    def cost(self, graph: Graph) -> float:
        packed = any(bits < 8 for bits, _ in packed_weights(graph).values())
        return ConstantBytes().cost(graph) + 300 * packed


@pytest.mark.parametrize(("model", "narrow"), [(ConstantBytes(), 1), (WithSharedCode(), 4)])
def test_a_budget_of_what_a_model_costs(model: CostModel, narrow: int) -> None:
    """Each narrow layer saves 128 bytes; if they need code too, more of them must pay for it."""
    budget = model.cost(Quantize(calibration=data())(chain())) - 128
    pass_ = MixedPrecision(calibration=data(), budget=budget, cost=model, recover=())
    assert model.cost(pass_(chain())) <= budget
    found = bits(pass_, chain())
    assert found["quiet"] == 4
    assert list(found.values()).count(4) == narrow


def test_a_budget_by_a_model_holds_after_recovery() -> None:
    """It gives narrow layers biases of their own, where equal ones were stored once."""
    budget = ConstantBytes().cost(Quantize(calibration=data())(chain())) - 128
    pass_ = MixedPrecision(calibration=data(), budget=budget, cost=ConstantBytes())
    assert ConstantBytes().cost(pass_(chain())) <= budget


def test_a_budget_that_no_widths_meet_by_a_model_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"(?s)no widths of weights cost 100 by the cost model.*the least that was"):
        MixedPrecision(calibration=data(), budget=100, cost=ConstantBytes())(chain())


def test_a_budget_of_the_flash_of_a_board() -> None:
    """Where the code that narrow weights need is larger than what they save, none are narrow."""
    model = graphopt.cost("cortex-m4", "bytes")
    found = MixedPrecision(calibration=data(), budget=1.0, cost=model, overrides={"first": "int8"})(chain())
    assert model.cost(found) <= model.cost(Quantize(calibration=data())(chain()))
