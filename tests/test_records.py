"""Dataclasses from data: what is read, and which field a refusal names."""

from __future__ import annotations

from typing import Any

import pytest

from graphopt.records import fits, record, type_name
from graphopt.runtime.machine import Memory, Runner, Size

BOARD = {"kind": "board", "arguments": ["-m", "16M"], "flash": {"origin": 8, "size": "64K"}, "ram": None}


def test_what_is_nested_is_made_of_its_type() -> None:
    flash = Memory(8, 65536)
    assert record(Runner, BOARD, "runner") == Runner("board", arguments=("-m", "16M"), flash=flash)
    assert record(Runner, {**BOARD, "flash": flash}, "runner").flash is flash


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"kind": 3}, "runner: kind = 3 is not str"),
        ({"arguments": ["a", 3]}, r"runner: arguments = \('a', 3\) is not tuple"),
        ({"flash": 3}, "runner.flash = 3 is not a table"),
        ({"flash": {"origin": True, "size": 3}}, "runner.flash: origin = True is not int"),
        ({"flash": {"origin": 0, "size": 1.5}}, "runner.flash: size = 1.5 is not int"),
        ({"flash": {"origin": -1, "size": 3}}, "no memory of 3 bytes at -1"),
        ({"flash": {"origin": 0, "size": "3Q"}}, "'3Q' is no number of bytes"),
        ({"flsh": 3}, "runner has no flsh; it has kind, emulator, "),
    ],
)
def test_a_refusal_names_the_field(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        record(Runner, {**BOARD, **changed}, "runner")


def test_a_type_is_named_in_plain_words() -> None:
    assert type_name(Size | None) == "int or None"
    assert type_name(float) == "float"


@pytest.mark.parametrize(
    ("value", "hint", "right"),
    [
        (1, float, True),
        (True, int, False),
        ((1, 2), tuple[int, ...], True),
        ((1, 2.5), tuple[int, ...], False),
        ((1, "a"), tuple[int, str], True),
        ((1,), tuple[int, str], False),
        (None, int | None, True),
        ("a", int | None, False),
        ({"a": 1}, dict[str, int], True),
        ({"a": "b"}, dict[str, int], False),
        ({"a": [1]}, dict[str, Any], True),
        ("a", str | dict[str, Any], True),
    ],
)
def test_types(value: Any, hint: Any, right: bool) -> None:
    assert fits(value, hint) is right
