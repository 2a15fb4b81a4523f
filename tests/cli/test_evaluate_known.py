"""``graphopt evaluate`` on raw images and windows of sound, as they lie in files: the accuracies that are known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from compiling import in_long_runs
from shell import Shell

KNOWN = {
    "ic_resnet8": ("cifar10_subset.npz", ["--key", "x", "--layout", "nhwc"], 0.873, 2000),
    "vww_mobilenetv1_025_96": ("person_96.npz[56:]", ["--layout", "nhwc", "--scale", "1/255"], 0.870, 200),
    "sww_dscnn": ("sww_windows.npz", [], 41 / 45, 45),
}


@pytest.mark.parametrize("name", ["vww_mobilenetv1_025_96", "sww_dscnn", *in_long_runs("ic_resnet8")])
def test_the_accuracy_is_that_which_is_known(name: str, shell: Shell, shared: Path) -> None:
    data, options, accuracy, count = KNOWN[name]
    model = shared / "models" / "mlperf_tiny" / f"{name}.onnx"
    told = shell("evaluate", model, "--data", shared / "data" / data, "--labels", "y", "--json", *options)
    score = json.loads(told)["score"]
    assert score["value"] == pytest.approx(accuracy, abs=0.0006)
    assert score["count"] == count
