"""Long computations tell how far they are, with the whole where it is known."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Batch, Graph, arg, constant
from graphopt.ops import Linear
from graphopt.passes import InsertQuantization, PruneChannels, analyze_quantization
from graphopt.progress import counted, listening

Told = list[tuple[str, int, int | None]]


def layer() -> Graph:
    x = arg("x", "float32", (Batch(), 4))
    weights = constant(np.eye(4, dtype=np.float32)), constant(np.zeros(4, np.float32))
    return Graph((x,), (Linear()(Linear()(x, *weights), *weights),))


def test_steps_are_told_before_they_are_taken() -> None:
    told: Told = []
    with listening(lambda *step: told.append(step)):
        assert list(counted("ab", "letter")) == ["a", "b"]
        assert list(counted(iter("ab"), "letter")) == ["a", "b"]
    assert list(counted("c", "letter")) == ["c"]
    assert told == [("letter", 0, 2), ("letter", 1, 2), ("letter", 0, None), ("letter", 1, None)]


def test_calibration_analysis_and_pruning_count() -> None:
    told: Told = []
    samples = np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32)
    with listening(lambda *step: told.append(step)):
        InsertQuantization(calibration=samples)(layer())
        assert told == [(f"{what} of batch", i, 2) for what in ("ranges", "histograms") for i in range(2)]
        told.clear()
        PruneChannels(ratio=0.5, steps=3)(layer())
        assert told == [("step", i, 3) for i in range(3)]
        told.clear()
        analyze_quantization(layer(), samples)
    assert ("layer", 2, 3) in told and ("override", 3, 4) in told
