"""Every architecture: from one graph of symbolic batch, what PyTorch computes, evaluated, compiled and exported."""

from __future__ import annotations

import pytest

from zoo.catalogue import ZOO
from zoo.compare import compare

BOUND = 1e-4
PARAMETERS = [pytest.param(name, marks=pytest.mark.slow if entry.slow else ()) for name, entry in ZOO.items()]


@pytest.mark.parametrize("name", PARAMETERS)
def test_equals_torch(name: str) -> None:
    for result in compare(ZOO[name]).results:
        assert result.evaluated <= BOUND
        assert result.compiled <= BOUND
        assert result.exported <= BOUND
