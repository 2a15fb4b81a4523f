"""Results that lie over their operands: every byte is read before it is overwritten, whatever the shapes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from compiling import check_program
from hypothesis import given, settings
from hypothesis import strategies as st
from mlperf import quantized
from tagged import lowered_with_values, run_tagged
from targets.test_planning import lifetimes, rounded

from graphopt.ir import Array, Graph, Op, Value, arg, bind_batch, constant
from graphopt.ops import AveragePool, Conv, ConvInteger, MaxPool, Pool, Relu, Requantize, SumPool
from graphopt.passes import Fuse
from graphopt.targets import get_target
from graphopt.targets.plan import Lifetime, Overlap, plan_arena

TARGET = get_target("cortex-m4")
Draw = Callable[[int, int], int]


def weights(dtype: str, *shape: int) -> Value:
    rng = np.random.default_rng(sum(shape))
    data: Array = rng.integers(-9, 9, shape) if dtype != "float32" else rng.uniform(-1, 1, shape)
    return constant(data.astype(dtype))


def conv(x: Value, out: int, kernel: int, stride: int, pads: tuple[int, ...], depthwise: bool) -> Value:
    """A convolution, requantized where it is of integers."""
    channels = x.type.static_shape[1]
    group, inner, out = (channels, 1, channels) if depthwise else (1, channels, out)
    whole = x.type.dtype == "int8"
    kind: type[Conv] | type[ConvInteger] = ConvInteger if whole else Conv
    op: Op = kind(strides=(stride, stride), pads=pads, group=group)
    w = weights("int8" if whole else "float32", out, inner, kernel, kernel)
    y = op(x, w, weights("int32" if whole else "float32", out))
    return narrowed(y) if whole else Relu()(y)


def narrowed(x: Value) -> Value:
    return Requantize()(x, constant(np.int32(1 << 30)), constant(np.int32(36)))


def pool(x: Value, kernel: int, stride: int) -> Value:
    square = {"kernel": (kernel, kernel), "strides": (stride, stride)}
    if x.type.dtype == "int8":
        return narrowed(SumPool(**square)(x))
    kind: type[Pool] = MaxPool if kernel == 2 else AveragePool
    return kind(**square)(x)


def layer(x: Value, draw: Draw) -> Value:
    """A layer over what is left of a plane."""
    most = min(3, *x.type.static_shape[2:])
    kernel, stride = draw(1, most), draw(1, 2)
    what = draw(0, 3)
    if what == 0:
        return pool(x, kernel, stride)
    pads = tuple(draw(0, kernel - 1) for _ in range(4))
    return conv(x, draw(1, 17), kernel, stride, pads, depthwise=what == 1)


def chain(draw: Draw, layers: int = 5) -> Graph:
    x = arg("x", "int8" if draw(0, 1) else "float32", (1, draw(1, 12), draw(3, 9), draw(3, 9)))
    y = x
    for _ in range(layers):
        y = layer(y, draw)
    return Fuse()(Graph((x,), (y,)))


@settings(max_examples=8)
@given(data=st.data())
def test_drawn_chains(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    graph = chain(lambda low, high: data.draw(st.integers(low, high)))
    assert run_tagged(graph, TARGET, tmp_path_factory.mktemp("tagged")) == ""


@pytest.mark.slow
@settings(max_examples=300)
@given(data=st.data())
def test_many_chains(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    graph = chain(lambda low, high: data.draw(st.integers(low, high)), 7)
    assert run_tagged(graph, TARGET, tmp_path_factory.mktemp("tagged")) == ""


def three(dtype: str, depthwise: bool, kernel: int, stride: int = 1) -> Graph:
    """A layer between two others, so that its operand and its result are in the arena."""
    x = arg("x", dtype, (1, 4, 7, 6))
    y = conv(x, 16, 1, 1, (0,) * 4, False)
    y = conv(y, 16, kernel, stride, (kernel // 2,) * 4, depthwise)
    return Fuse()(Graph((x,), (conv(y, 3, 1, 1, (0,) * 4, False),)))


FORMS = [(d, w, k, s) for d in ("int8", "float32") for w in (False, True) for k, s in ((1, 1), (3, 1), (3, 2))]


@pytest.mark.parametrize(("dtype", "depthwise", "kernel", "stride"), FORMS)
def test_the_gap_is_used_and_no_larger_than_it_must_be(
    dtype: str, depthwise: bool, kernel: int, stride: int, tmp_path: Path
) -> None:
    """One that begins a little higher overwrites what is still to be read, and is caught."""
    graph = three(dtype, depthwise, kernel, stride)
    lowering, lowered = lowered_with_values(graph, TARGET)
    ((pair, overlap),) = lowering.overlaps.items()
    operand, result = (graph.names.get(v.node, lowering.graph.names[v.node]) for v in pair)
    sizes = [v.type.nbytes for v in pair]
    gap, plan = rounded(overlap.gap, TARGET.alignment), lowered.plan
    spans = [
        (plan.offsets[name], plan.offsets[name] + size) for name, size in zip((operand, result), sizes, strict=True)
    ]
    together = max(end for _, end in spans) - min(start for start, _ in spans)
    assert together == max(gap + sizes[0], sizes[1]) < sum(sizes)
    assert run_tagged(graph, TARGET, tmp_path) == ""
    if overlap.gap:
        step = max(overlap.step, np.dtype(dtype).itemsize)
        behind = rounded(plan.size, TARGET.alignment)  # away from scratch
        closer = {operand: behind + overlap.gap - step, result: behind}
        wrong = dataclasses.replace(plan, offsets={**plan.offsets, **closer}, size=behind + sum(sizes))
        assert "reads byte" in run_tagged(graph, TARGET, tmp_path, wrong)


def test_a_channel_that_is_left_over_of_pairs(tmp_path: Path) -> None:
    """It is copied alone, after those before it were written over the operand."""
    x = arg("x", "int8", (1, 4, 12, 10))
    y = conv(conv(x, 5, 1, 1, (0,) * 4, False), 5, 3, 1, (1,) * 4, True)
    graph = Fuse()(Graph((x,), (conv(y, 3, 1, 1, (0,) * 4, False),)))
    lowering, lowered = lowered_with_values(graph, TARGET)
    assert lowering.overlaps
    functions = "".join(str(built.function) for built in lowered.kernels.values())
    assert "widen_two" in functions and "widen_rows" in functions
    assert run_tagged(graph, TARGET, tmp_path) == ""


def test_programs_give_the_same() -> None:
    check_program(three("int8", True, 3, 2), "cortex-m4")
    check_program(three("float32", False, 3), "cortex-m4")


def test_a_net(shared: Path, tmp_path: Path) -> None:
    graph = bind_batch(quantized(shared, "kws"), 1)
    lowered = lowered_with_values(graph, TARGET)[1]
    assert max(call.live_bytes for call in lowered.calls) <= lowered.plan.size <= 10_816
    assert run_tagged(graph, TARGET, tmp_path) == ""


def test_nothing_overlaps_for_llvm() -> None:
    """Its functions are told that their parameters do not."""
    assert not lowered_with_values(three("float32", True, 3), get_target("x86-64-v3"))[0].overlaps


def test_a_kernel_that_is_run_twice_is_written_for_parameters_that_overlap_once() -> None:
    """The same depthwise kernel over a value that is read again later, and then over one that is not."""
    x = arg("x", "float32", (1, 4, 6, 6))
    a = conv(x, 16, 1, 1, (0,) * 4, False)
    b = conv(a, 16, 3, 1, (1,) * 4, True)
    c = conv(b, 16, 3, 1, (1,) * 4, True)
    graph = Fuse()(Graph((x,), tuple(conv(v, 4, 1, 1, (0,) * 4, False) for v in (c, a))))
    lowering, lowered = lowered_with_values(graph, TARGET)
    depthwise = [call.kernel for call in lowered.calls if call.kernel.startswith("depthwise")]
    assert depthwise[0] == depthwise[1] and len(lowering.overlaps) == 1
    assert lowered.kernels[depthwise[0]].overlapping == {"x0", "y"}


def test_an_operand_that_is_read_later_stays_whole() -> None:
    x = arg("x", "float32", (1, 4, 6, 6))
    a = conv(x, 16, 1, 1, (0,) * 4, False)
    b = conv(a, 16, 3, 1, (1,) * 4, True)
    graph = Graph((x,), (conv(b, 4, 1, 1, (0,) * 4, False), conv(a, 4, 1, 1, (0,) * 4, False)))
    assert not lowered_with_values(Fuse()(graph), TARGET)[0].overlaps


GAPS = st.lists(st.integers(0, 60), min_size=20, max_size=20)


@given(buffers=lifetimes(), gaps=GAPS, step=st.sampled_from([1, 16, 48]))
def test_plans_with_overlaps_are_valid(buffers: list[Lifetime], gaps: list[int], step: int) -> None:
    """Those that meet lie apart, or as they may."""
    pairs = [(a, b) for a in buffers for b in buffers if a.first < a.last == b.first]
    made = [Overlap(gap * step if step > 1 else gap, step) for gap in gaps]
    overlaps = {(a.name, b.name): overlap for (a, b), overlap in zip(pairs, made, strict=False)}
    plan = plan_arena(buffers, 16, overlaps)
    for a in buffers:
        assert plan.offsets[a.name] % 16 == 0 and 0 <= plan.offsets[a.name] <= plan.size - rounded(a.size, 16)
        for b in buffers:
            if a is b or a.last < b.first or b.last < a.first:
                continue
            down = plan.offsets[a.name] - plan.offsets[b.name]
            apart = down >= b.size or -down >= a.size
            allowed = overlaps.get((a.name, b.name)), down
            turned = overlaps.get((b.name, a.name)), -down
            assert apart or any(o and d >= o.gap and (d - o.gap) % o.step == 0 for o, d in (allowed, turned))
