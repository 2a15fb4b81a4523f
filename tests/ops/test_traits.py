"""What operators promise by their traits holds of drawn applications."""

from __future__ import annotations

import numpy as np
import pytest

from graphopt.ir import REGISTRY, Op, Trait, bind_batch
from graphopt.ops.macs import macs_of
from graphopt.testing import random_graph

BUILT_IN = sorted(n for n, op in REGISTRY.items() if op.__module__.startswith("graphopt.ops") and op.traits)


@pytest.mark.parametrize("name", BUILT_IN)
def test_traits_fit_the_shapes_of_drawn_applications(name: str) -> None:
    for seed in range(8):
        for node in bind_batch(random_graph(seed, max_ops=2, ops=[name]), 2).nodes:
            shape, traits = node.types[0].static_shape, node.op.traits
            if traits & (Trait.ELEMENTWISE | Trait.WINDOW | Trait.PRODUCT | Trait.REDUCTION):
                assert len(node.types) == 1
            if Trait.ELEMENTWISE in traits:
                assert np.broadcast_shapes(shape, node.inputs[0].type.static_shape) == shape
            if Trait.PRODUCT in traits:
                assert macs_of(node) > 0
            if Trait.WINDOW in traits:
                assert node.inputs[0].type.static_shape[0] == shape[0]


def test_a_class_has_the_traits_of_its_family() -> None:
    family = type("Family", (Op,), {"traits": Trait.MOVE})
    assert type("Mine", (family,), {}).traits == Trait.MOVE
    assert not Op.traits
