"""Users are told what stays float, why, and at what cost."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Graph, arg, constant
from graphopt.ops import CumSum, Linear, Neg
from graphopt.passes import Context, InsertQuantization, LowerInteger


def test_users_are_told_what_stays_float_why_and_at_what_cost() -> None:
    x = arg("x", "float32", (2, 6))
    y = CumSum(axis=1)(Neg()(x, name="negative"), name="running")
    weight = np.full((3, 6), 3e7, np.float32)
    z = Linear()(Neg()(y, name="again"), constant(weight), constant(np.zeros(3, np.float32)), name="dense")
    context = Context()
    batch = np.linspace(-1, 1, 12, dtype=np.float32).reshape(2, 6)
    LowerInteger().run(InsertQuantization(calibration=[batch])(Graph((x,), (z,))), context)
    told = [str(n) for n in context.notes if n.declined]
    assert told == [
        "lower-integer: running: stays float: its sums grow along the axis and need more range than its operand;"
        " it costs 12 elements"
    ]


def test_declined_products_tell_their_macs() -> None:
    x = arg("x", "float32", (1, 70000))
    weight = constant(np.ones((2, 70000), np.float32))
    graph = Graph((x,), (Linear()(x, weight, constant(np.zeros(2, np.float32)), name="dense"),))
    context = Context()
    LowerInteger().run(InsertQuantization(calibration=[np.ones((1, 70000), np.float32)])(graph), context)
    (note,) = [n for n in context.notes if n.declined]
    assert str(note) == (
        "lower-integer: dense: stays float: the accumulator of channel 0 may overflow; it costs 140,000 MACs"
    )
