"""Transposed convolutions by phases: every stride, dilation, pad and group, against PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from compiling import FLOAT32_BOUND, NATIVE, in_long_runs

from graphopt import compile
from graphopt.ir import Array, Graph, arg, constant, worst_difference
from graphopt.ops import ConvTranspose, ConvTransposeInteger, Relu
from graphopt.passes import Fuse


@dataclass(frozen=True)
class Case:
    """A transposed convolution: sizes of the input, kernel and fields by axis, channels of a group in and out."""

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    output_padding: tuple[int, ...]
    channels: tuple[int, int, int]

    @property
    def fields(self) -> dict[str, object]:
        group = self.channels[0]
        names = ("strides", "dilations", "pads", "output_padding")
        return {**{name: getattr(self, name) for name in names}, "group": group}

    def by_torch(self, x: Array, weight: Array, bias: Array) -> Array:
        """In float64: the whole of it, with zeros behind, of which the pads are cut off."""
        rank, group = len(self.size), self.channels[0]
        function = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)[rank - 1]
        x64, w64 = (torch.from_numpy(a.astype(np.float64)) for a in (x, weight))
        whole = function(x64, w64, stride=self.strides, dilation=self.dilations, groups=group).numpy()
        low, high = self.pads[:rank], self.pads[rank:]
        behind = [(0, 0), (0, 0), *((0, extra) for extra in self.output_padding)]
        stops = [d + e - h for d, e, h in zip(whole.shape[2:], self.output_padding, high, strict=True)]
        cut = (slice(None), slice(None), *map(slice, low, stops))
        return np.asarray(np.pad(whole, behind)[cut] + bias.reshape(-1, *[1] * rank))


def drawn(seed: int, rank: int) -> Case:
    """One whose result has elements."""
    rng = np.random.default_rng(seed)
    while True:
        size, kernel, strides = (tuple(int(n) for n in rng.integers(1, most, rank)) for most in (6, 6, 5))
        dilations = tuple(int(n) for n in rng.integers(1, 4, rank))
        pads = tuple(int(n) for n in rng.integers(0, 4, 2 * rank))
        extra = tuple(int(rng.integers(0, max(s, d))) for s, d in zip(strides, dilations, strict=True))
        group, inside, out = (int(n) for n in rng.integers(1, (4, 6, 20)))
        shapes = zip(size, kernel, strides, dilations, pads[:rank], pads[rank:], extra, strict=True)
        if all((s - 1) * st + d * (k - 1) + 1 - lo - hi + e > 0 for s, k, st, d, lo, hi, e in shapes):
            return Case(size, kernel, strides, dilations, pads, extra, (group, inside, out))


WRITTEN = [
    Case((5, 13), (2, 2), (2, 2), (1, 1), (0, 0, 0, 0), (0, 0), (1, 16, 32)),
    Case((4, 9), (4, 4), (2, 2), (1, 1), (1, 1, 1, 1), (0, 0), (1, 5, 8)),
    Case((3, 4), (3, 3), (2, 2), (1, 1), (1, 1, 1, 1), (1, 1), (19, 1, 1)),  # each channel by itself
    Case((2, 3), (1, 2), (3, 5), (1, 1), (0, 0, 0, 0), (2, 0), (1, 3, 4)),  # phases without taps
    Case((3, 2), (16, 8), (8, 4), (1, 1), (4, 2, 4, 2), (0, 0), (1, 2, 3)),
    Case((1,), (1,), (4,), (1,), (0, 1), (2,), (1, 2, 3)),  # no tap reaches the result, but one
    Case((1,), (1,), (4,), (1,), (1, 0), (3,), (1, 2, 3)),  # none does
    Case((3, 3), (7, 7), (5, 5), (3, 3), (2, 0, 1, 3), (1, 1), (1, 2, 3)),
]
DRAWN = [drawn(seed, rank) for seed, rank in enumerate([1, 2, 3] * 5)]
CASES = {"few": [*WRITTEN, *DRAWN[:3]], "many": DRAWN[3:]}
TARGETS = [NATIVE[0], "cortex-m4"]
SLOW = [*in_long_runs(*NATIVE[1:], "aarch64")]


def graph_of(cases: list[Case], integers: bool) -> tuple[Graph, list[Array]]:
    """All cases in one graph, and what PyTorch gives for ``inputs_of`` it."""
    rng = np.random.default_rng(1)
    inputs, outputs, wanted = [], [], []
    for i, case in enumerate(cases):
        group, inside, out = case.channels
        x = arg(f"x{i}", "int8" if integers else "float32", (2, group * inside, *case.size))
        weight = rng.integers(-127, 128, (group * inside, out, *case.kernel))
        bias = rng.integers(-999, 999, group * out)
        w, b = (
            (weight.astype(np.int8), bias.astype(np.int32))
            if integers
            else (weight.astype(np.float32) / 127, bias.astype(np.float32) / 999)
        )
        data = sample(x.type.static_shape, integers)
        if integers:
            y = ConvTransposeInteger(zero_point=3, **case.fields)(x, constant(w), constant(b))  # type: ignore[arg-type]
            wanted.append(case.by_torch(data.astype(np.int64) - 3, w, b).astype(np.int64))
        else:
            y = Relu()(ConvTranspose(**case.fields)(Relu()(x), constant(w), constant(b)))  # type: ignore[arg-type]
            wanted.append(np.maximum(0, case.by_torch(np.maximum(0, data), w, b)))
        inputs.append(x)
        outputs.append(y)
    return Fuse()(Graph(tuple(inputs), tuple(outputs))), wanted


def sample(shape: tuple[int, ...], integers: bool) -> Array:
    rng = np.random.default_rng(len(shape))
    return rng.integers(-128, 128, shape, np.int8) if integers else rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("target", [*TARGETS, *SLOW])
@pytest.mark.parametrize("cases", ["few", *in_long_runs("many")])
@pytest.mark.parametrize("integers", [False, True], ids=["float32", "int8"])
def test_transposed_convolutions(integers: bool, cases: str, target: str) -> None:
    graph, wanted = graph_of(CASES[cases], integers)
    program = compile(graph, target)
    (got,) = program.measure([sample(v.type.static_shape, integers) for v in graph.inputs], count=False).outputs
    for case, y, reference in zip(CASES[cases], got, wanted, strict=True):
        assert y.shape == reference.shape, case
        if integers:
            assert np.array_equal(y, reference), case
        else:
            assert worst_difference(reference.astype(np.float32), y) <= FLOAT32_BOUND, case


def test_why_it_is_gathered() -> None:
    """The last two of the written cases."""
    graph, _ = graph_of(WRITTEN[-2:], False)
    others = [row["others"] for row in compile(graph).manifest["kernels"] if row["kernel"].startswith("conv_transpose")]
    assert ["no tap reaches its result" in why for (why,) in others] == [True, False]
    assert ["25 kinds, more than 16" in why for (why,) in others] == [False, True]


IN_WORDS = [
    Case((7, 5), (2, 2), (2, 2), (1, 1), (0, 0, 0, 0), (0, 0), (1, 33, 21)),
    Case((4, 6), (3, 4), (2, 2), (1, 1), (1, 1, 1, 0), (1, 0), (1, 5, 3)),
    Case((9,), (5,), (2,), (3,), (3, 1), (1,), (1, 17, 40)),
    Case((3, 3), (2, 3), (1, 3), (1, 1), (0, 2, 1, 2), (0, 2), (1, 2, 70)),
]
WORDS = [name for name in NATIVE if name.startswith("x86")]


@pytest.mark.skipif(not WORDS, reason="it is about x86-64")
@pytest.mark.parametrize("target", [*in_long_runs(*WORDS[:-1]), *WORDS[-1:]])
def test_integers_go_by_words(target: str) -> None:
    """Wherever there is one group, and every phase has taps; any number of channels."""
    graph, wanted = graph_of(IN_WORDS, True)
    program = compile(graph, target)
    results = program.run(*(sample(v.type.static_shape, True) for v in graph.inputs))
    for case, y, reference in zip(IN_WORDS, results, wanted, strict=True):
        assert np.array_equal(y, reference), case
    rules = [row["rule"] for row in program.manifest["kernels"]]
    assert all("conv_transpose_by" in rule for rule in rules), rules
