"""The tests of the ONNX backend: none may give a wrong result, and what is refused is refused for reasons we know."""

from __future__ import annotations

import logging
import multiprocessing
import re
from collections.abc import Iterable, Sequence
from functools import partial

import pytest
from compiling import in_long_runs

from conformance.backend import PASSED, WRONG, Outcome, cases, run

EVERY = 36
"""The fast test takes one case in so many, in the order of their names."""
EMULATED = ("aarch64", "cortex-m7")
SELDOM = 300
"""The fast tests on emulators take each of so many."""

REVIEWED = [
    r"it is a (sequence|optional|map) and no tensor",
    r"it is a tensor of (strings|bfloat16|float[468]\w*|u?int[24])",
    r"it works on (strings|sequences or optional values)",
    r"turns \w+ into (bfloat16|float[468]\w*|u?int[24]|object)",
    r"the shape of its result depends on data",
    r"it is random",
    r"it belongs to (training|classical machine learning)",
    r"it decodes files of images",
    r"dropout in training mode",
    r"batch norm in training mode",
    r"opset 1 ",
    r"has no elements|have no elements|is empty",
    r"result \d+, '\w+', is used; only the first can be imported",
    r"a scan of opset 8",
    r"an LSTM with peepholes",
    r"an inverse transform to complex numbers",
    r"tensors of a dtype without kernels: .*float16",
    r"pow of int\d+ has no kernel",
    r"it pools over regions that data gives",
    r"its windows have offsets that data gives",
    r"it needs the positions of a MaxPool",
    r"no operator stands for determinants",
    r"it reads the bits of one dtype",
    r"it makes a table of numbers",
]
"""The reasons of refusal that were looked at and found right, as patterns; any other fails the test."""


def one(index: int, target: str = "host") -> Outcome:
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        return run(cases()[index], target)
    finally:
        logging.disable(level)


def several(indices: Iterable[int], target: str = "host") -> list[Outcome]:
    """The outcomes of some cases, in two processes."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        return pool.map(partial(one, target=target), indices, chunksize=8)


def check(outcomes: Sequence[Outcome]) -> None:
    """Nothing wrong, and no reason that was not reviewed."""
    wrong = [f"{o.name}: {o.why} {o.why_program}" for o in outcomes if WRONG in (o.evaluator, o.program)]
    assert not wrong
    reasons = {f"{o.name}: {why}" for o in outcomes for why in (o.why, o.why_program) if why}
    assert not sorted(r for r in reasons if not any(re.search(pattern, r) for pattern in REVIEWED))


def test_a_sample() -> None:
    outcomes = [one(i) for i in range(0, len(cases()), EVERY)]
    check(outcomes)
    assert sum(o.program == PASSED for o in outcomes) > len(outcomes) // 2


@pytest.mark.parametrize("target", ["cortex-m7", *in_long_runs("aarch64")])
def test_a_few_on_emulators(target: str) -> None:
    outcomes = [one(i, target) for i in range(0, len(cases()), SELDOM)]
    check(outcomes)
    assert sum(o.program == PASSED for o in outcomes) > len(outcomes) // 2


@pytest.mark.slow
@pytest.mark.parametrize("target", EMULATED)
def test_a_sample_on_emulators(target: str) -> None:
    outcomes = several(range(0, len(cases()), EVERY), target)
    check(outcomes)
    assert sum(o.program == PASSED for o in outcomes) > len(outcomes) // 2


@pytest.mark.slow
def test_all() -> None:
    outcomes = several(range(len(cases())))
    check(outcomes)
    plain = [o for o in outcomes if o.kind == "node" and not o.is_expanded]
    for place in ("evaluator", "program"):
        assert sum(getattr(o, place) == PASSED for o in plain) >= 1000
