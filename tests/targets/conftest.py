"""Fixtures of the tests of targets."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from graphopt.ops import ConvInteger, LinearInteger
from graphopt.targets import lowering
from graphopt.targets.candidates import Candidate
from graphopt.targets.choice import KernelChoice
from graphopt.targets.gathering import Lowering
from graphopt.targets.kernels import products

WIDE = {ConvInteger: "conv_wide_by_products", LinearInteger: "linear_wide_by_products"}


def usual(whole: Lowering, ram: int | None, tight: Collection[str] = ()) -> KernelChoice:
    """Each layer by the usual rule for it, or for speed by that with wide weights, whatever they cost."""
    if whole.target.optimize != "speed":
        return KernelChoice()
    tasks = {name: task for name, task in whole.tasks.items() if task.region.anchor is not None}
    names = {name: WIDE[type(task.op)] for name, task in tasks.items() if type(task.op) in WIDE}
    pairs = {n: tuple(Candidate(f"{products.__name__}.{rule}", 0, 0, 0) for _ in "ab") for n, rule in names.items()}
    return KernelChoice(pairs, (1,) * len(pairs))


@pytest.fixture
def usual_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is chosen by costs is tested with whole nets alone."""
    monkeypatch.setattr(lowering, "chosen_kernels", usual)
