"""Rules are found from the most special instruction set to all; those that decline give way and are told of."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from compiling import Weights
from shell import Shell

import graphopt
from graphopt.errors import Unsupported
from graphopt.ir import Graph, arg, constant
from graphopt.ops import Linear, Relu, Requantize
from graphopt.rewrite import Decline
from graphopt.targets import get_target
from graphopt.targets.kernels import KERNEL_RULES, Kernel, Task
from graphopt.targets.kernels.nest import linear_nest
from graphopt.targets.lookup import choose
from graphopt.targets.lowering import lower
from graphopt.targets.scalars import SCALARS

TARGET = replace(get_target("cortex-m4"), isa=("special", "general"))
ORDER = ("special", "general", "c", None)


def declined(why: str) -> NoReturn:
    raise Decline(why)


def rules(isas: tuple[str | None, ...]) -> dict[tuple[str, str | None], Callable[[], str]]:
    """A rule for each set, which gives its name."""
    return {("op", isa): lambda isa=isa: str(isa) for isa in reversed(isas)}  # type: ignore[misc]


def test_the_sets_of_a_target_end_in_its_code_generator() -> None:
    assert TARGET.sets == ("special", "general", "c")
    assert get_target("x86-64-v3").sets == ("avx2", "x86", "llvm")


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_the_most_special_rule_is_found(first: int) -> None:
    choice = choose(rules(ORDER[first:]), "op", TARGET, lambda rule: rule())
    assert (choice.result, choice.isa, choice.declined) == (str(ORDER[first]), ORDER[first], ())


@pytest.mark.parametrize("declining", range(len(ORDER) + 1))
def test_one_that_declines_gives_way_and_is_told_of(declining: int) -> None:
    gone = [str(isa) for isa in ORDER[:declining]]

    def ask(rule: Callable[[], str]) -> str:
        return declined("not I") if rule() in gone else rule()

    found = choose(rules(ORDER), "op", TARGET, ask)
    assert [str(d.isa) for d in found.declined] == gone
    assert found.result == (str(ORDER[declining]) if declining < len(ORDER) else None)


def declining(task: Task[Linear]) -> Kernel:
    return declined("its rows are odd") if task.inputs[0].type.shape[1] == 3 else linear_nest(task)


def net(columns: int) -> Graph:
    g = Weights()
    return g.graph(Relu()(Linear()(g.x(1, columns), g.w(2, columns), g.w(2), name="classes")))


@pytest.mark.parametrize(("columns", "rule"), [(3, "linear_kernel for all"), (4, "declining for special")])
def test_kernels(columns: int, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KERNEL_RULES, (Linear, "special"), declining)
    how = lower(net(columns), TARGET).calls[0].how
    assert rule in how.rule and how.layout == "row-major"
    wanted = [f"{__name__}.declining for special declined: its rows are odd"] if columns == 3 else []
    assert list(how.others) == wanted


def test_where_all_decline_the_error_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KERNEL_RULES, (Linear, None), lambda task: declined("it is a Monday"))
    with pytest.raises(Unsupported, match=r"no rule for linear on cortex-m4.*declined: it is a Monday"):
        lower(net(3), TARGET)


def test_scalars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCALARS, (Relu, "special"), lambda op, x: declined("not today"))
    how = lower(net(3), TARGET).calls[1].how
    assert [text.partition(" for special ")[2] for text in how.others] == ["declined: not today"]


def test_explain_shows_rules_tiles_layouts_and_who_declined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    acc = arg("acc", "int64", (1, 4))
    q = Requantize()(acc, constant(np.int32(1 << 30)), constant(np.int32(40)), name="narrow")
    graphopt.save(Graph((acc,), (q,)), tmp_path / "net.gopt")
    options = (tmp_path / "net.gopt", "-o", tmp_path / "out", "-t", "cortex-m4", "--explain")
    shown = " ".join(Shell(monkeypatch, capfd)("compile", *options).split())
    assert "row-major" in shown and "its accumulator is int64" in shown
    (row,) = json.loads((tmp_path / "out" / "manifest.json").read_text())["kernels"]
    assert row["rule"].startswith("graphopt.targets.kernels.nest.elementwise_nest")
    rules = "requantize.by_upper_half", "scalars_integer.requantize_by_helper"
    assert row["others"] == [f"graphopt.targets.{r} for c declined: its accumulator is int64" for r in rules]
