"""What all tests share: Hypothesis profiles and the golden files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["graphopt.testing.pytest_plugin"]

settings.register_profile(
    "ci",
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of the trained nets go to one worker, which loads, quantizes and compiles each net once."""
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("trained nets"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of models and data beside the project; without it a test is skipped, except in CI."""
    folder = Path(os.environ.get("GRAPHOPT_SHARED", Path(__file__).parents[1].parent / "shared"))
    if not (folder / "models").is_dir():
        message = f"no shared models in {folder}: set GRAPHOPT_SHARED"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder
