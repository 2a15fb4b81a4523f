"""Machine sounds: the area under the curve of an autoencoder's errors, by clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mlperf import NETS, data, program, sound_samples

import graphopt


def test_the_curve_is_that_which_is_known(shared: Path) -> None:
    windows = np.concatenate(list(sound_samples(shared)))
    labels = data(shared, "machine_sound.npz")["y"]
    compiled = program(shared, "ad", "host", NETS["ad"].batch)
    found = graphopt.evaluate(compiled, windows, labels, metric="anomaly-auc")
    assert found.score is not None
    assert found.score.value == pytest.approx(0.872, abs=0.001)
    assert (found.score.count, found.score.interval) == (200, "bootstrap")
