"""What a table of rules says of classes that have none on purpose."""

from __future__ import annotations

from collections.abc import Callable

from graphopt.ir.registry import TABLES, Table


class Family: ...


class Odd(Family): ...


class Own(Odd): ...


def test_the_nearest_class_decides() -> None:
    table: Table[type, Callable[..., int]] = Table("a rule")
    try:
        table.enter(int, Family)
        table.unsupported("it is odd", Odd)
        assert (table.find(Family), table.find(Odd), table.find(Own)) == (int, None, None)
        assert (table.reason(Family), table.reason(Own), table.reason(str)) == (None, "it is odd", None)
        assert Odd not in table
        table.enter(round, Odd)  # a rule that somebody has all the same
        assert (table.find(Own), table.reason(Own)) == (round, None)
    finally:
        del TABLES[[t is table for t in TABLES].index(True)]
