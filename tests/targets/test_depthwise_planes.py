"""Depthwise convolution by loops that layers share: exact for all planes that it takes, and few bytes."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pytest
from test_dsp_kernels import conv

import graphopt
from graphopt.ir import Graph
from graphopt.ops import ConvInteger
from graphopt.passes import Fuse
from graphopt.targets import lowering
from graphopt.targets.candidates import Candidate
from graphopt.targets.choice import KernelChoice
from graphopt.targets.gathering import Lowering
from graphopt.targets.kernels import products

PLANES = f"{products.__name__}.conv_of_planes_by_products"
LAYERS: list[tuple[tuple[int, ...], tuple[int, int], dict[str, tuple[int, ...]]]] = [
    ((1, 4, 12, 12), (3, 3), {"pads": (1, 1, 1, 1)}),
    ((1, 3, 12, 6), (3, 3), {"pads": (1, 1, 1, 1)}),  # the last tile computes two pixels again
    ((1, 4, 12, 12), (3, 3), {"strides": (2, 2), "pads": (0, 0, 1, 1)}),
    ((1, 3, 9, 13), (3, 3), {"strides": (2, 2), "pads": (1, 1, 1, 1)}),
    ((1, 5, 11, 5), (3, 3), {"pads": (1, 1, 1, 1)}),  # one tile in a row
    ((2, 2, 60, 48), (3, 3), {"pads": (1, 1, 1, 1)}),  # several strips, and samples
    ((1, 2, 40, 48), (5, 5), {"pads": (2, 2, 2, 2)}),
    ((1, 2, 5, 12), (5, 5), {"pads": (4, 4, 4, 4)}),  # strips that begin and end in the padding
    ((1, 3, 40, 1), (10, 1), {"pads": (3, 0, 4, 0)}),
    ((1, 3, 12, 12), (3, 3), {}),
    ((1, 3, 4, 6), (1, 3), {"strides": (1, 2), "pads": (2, 1, 2, 2)}),
]


def planes(whole: Lowering, ram: int | None, tight: Collection[str] = ()) -> KernelChoice:
    """Each depthwise convolution by this kernel, what else there is by the usual one."""
    tasks = {n: task.region.anchor for n, task in whole.tasks.items()}
    deep = [n for n, a in tasks.items() if a is not None and isinstance(a.op, ConvInteger) and a.op.group > 1]
    return KernelChoice({n: tuple(Candidate(PLANES, 0, 0, 0) for _ in "ab") for n in deep}, (1,) * len(deep))


def test_planes_of_all_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lowering, "chosen_kernels", planes)
    rng = np.random.default_rng(0)
    layers = [conv(rng, shape, shape[1], kernel, True, -128, False, **window) for shape, kernel, window in LAYERS]
    graph = Fuse()(Graph(tuple(x for x, _ in layers), tuple(y for _, y in layers)))
    program = graphopt.compile(graph, "cortex-m4")
    deep = [call for call in program.manifest["kernels"] if call["kernel"].startswith("depthwise")]
    assert [call["rule"].split(" ")[0] for call in deep] == [PLANES] * len(LAYERS)
    feed = [rng.integers(-128, 128, x.type.static_shape).astype(np.int8) for x, _ in layers]
    for got, want, layer in zip(program.run(*feed), graph(*feed), layers, strict=True):
        np.testing.assert_array_equal(got, want, err_msg=str(layer[1].node))


def test_many_layers_take_few_bytes() -> None:
    """Layers of eight sizes have the loops once, and what they take is foreseen."""
    rng = np.random.default_rng(0)
    sizes = [(24, 24, 3), (12, 12, 20), (20, 8, 8), (8, 16, 12), (6, 6, 31), (12, 24, 5), (16, 16, 9), (9, 12, 16)]
    layers = [
        conv(rng, (1, channels, *size), channels, (3, 3), depthwise=True, pads=(1, 1, 1, 1))
        for *size, channels in sizes
    ]
    graph = Fuse()(Graph(tuple(x for x, _ in layers), tuple(y for _, y in layers)))
    feed = [rng.integers(-128, 128, x.type.static_shape).astype(np.int8) for x, _ in layers]
    small, usual = (graphopt.compile(graph, "cortex-m4", optimize=optimize) for optimize in ("size", "balanced"))
    rules = [call["rule"].split(" ")[0] for call in small.manifest["kernels"]]
    assert rules.count(PLANES) == len(sizes)
    runs = [program.measure(feed) for program in (small, usual)]
    assert runs[0].instructions is not None and runs[1].instructions is not None
    assert runs[0].instructions <= 1.4 * runs[1].instructions
    assert small.sizes.code <= 0.75 * usual.sizes.code
    assert small.manifest["predicted"]["instructions"] == pytest.approx(runs[0].instructions, rel=0.05)
