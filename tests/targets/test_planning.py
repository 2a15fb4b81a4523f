"""The arena plan, layouts and schedules: properties over random lifetimes and sizes."""

from __future__ import annotations

from math import prod

import pytest
from compiling import Weights
from hypothesis import given
from hypothesis import strategies as st

from graphopt.ir import Value
from graphopt.ops import Add, Conv, Linear, Neg, Relu, Reshape
from graphopt.targets import get_target
from graphopt.targets.layout import Layout, assign_layouts, channels_last, row_major
from graphopt.targets.plan import Lifetime, interference, plan_arena
from graphopt.targets.schedule import balanced, channel_segments, choose_tile, runs

ALIGNMENTS = st.sampled_from([1, 8, 16, 64])


@st.composite
def lifetimes(draw: st.DrawFn, most: int = 14) -> list[Lifetime]:
    made = []
    for i in range(draw(st.integers(0, most))):
        first = draw(st.integers(0, 12))
        made.append(Lifetime(f"b{i}", draw(st.integers(1, 500)), first, first + draw(st.integers(0, 5))))
    return made


def rounded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


@given(buffers=lifetimes(), alignment=ALIGNMENTS)
def test_plans_are_valid_tight_and_repeatable(buffers: list[Lifetime], alignment: int) -> None:
    plan = plan_arena(buffers, alignment)
    assert set(plan.offsets) == {b.name for b in buffers}
    for a in buffers:
        assert plan.offsets[a.name] % alignment == 0
        assert 0 <= plan.offsets[a.name] <= plan.size - a.size
        for b in buffers:
            if a is not b and a.first <= b.last and b.first <= a.last:
                apart = plan.offsets[a.name] + a.size <= plan.offsets[b.name]
                assert apart or plan.offsets[b.name] + b.size <= plan.offsets[a.name]
    live = [sum(rounded(b.size, alignment) for b in buffers if b.first <= s <= b.last) for s in range(20)]
    assert max(live) <= plan.size <= sum(rounded(b.size, alignment) for b in buffers)
    assert plan == plan_arena(buffers, alignment)
    assert sum(rounded(b.size, alignment) for b in plan.peak) == max(live)
    trimmed = plan_arena(buffers, alignment, trimmed=True)
    assert trimmed.bound <= trimmed.size == max((trimmed.offsets[b.name] + b.size for b in buffers), default=0)
    steps = [s for s in range(20) if all(b.first <= s <= b.last for b in plan.peak)]
    assert steps, "the peak's buffers live together"


@pytest.mark.parametrize(
    ("buffers", "size"),
    [
        ([], 0),
        ([Lifetime("a", 10, 0, 1)], 16),
        ([Lifetime("a", 16, 0, 1), Lifetime("b", 32, 1, 2), Lifetime("c", 16, 2, 3)], 48),
        # by size alone, first fit takes 80 here
        ([Lifetime(n, s, f, f + 1) for f, (n, s) in enumerate([("a", 48), ("b", 16), ("c", 48), ("d", 16)])], 64),
    ],
)
def test_small_plans_by_hand(buffers: list[Lifetime], size: int) -> None:
    assert plan_arena(buffers, 16).size == size


class Step(int):
    """A number that counts how often any of its kind is compared."""

    comparisons = 0

    def __ge__(self, other: int) -> bool:
        Step.comparisons += 1
        return super().__ge__(other)

    def __lt__(self, other: int) -> bool:
        Step.comparisons += 1
        return super().__lt__(other)

    def __le__(self, other: int) -> bool:
        Step.comparisons += 1
        return super().__le__(other)


def comparisons(count: int) -> int:
    """Of steps, in joining the buffers of a chain of layers."""
    Step.comparisons = 0
    graph = interference([Lifetime(f"b{i}", 16, Step(i), Step(i + 1)) for i in range(count)])
    assert graph.number_of_edges() == count - 1
    return Step.comparisons


def test_lifetimes_are_compared_with_those_that_are_alive_only() -> None:
    assert comparisons(1000) < 2.5 * comparisons(500)


@given(channels=st.integers(1, 300), lanes=st.sampled_from([1, 4, 8, 16]), vectors=st.integers(1, 8))
def test_channel_segments_cover_every_channel_once(channels: int, lanes: int, vectors: int) -> None:
    covered = []
    for segment in channel_segments(channels, lanes, vectors):
        assert segment.vectors <= vectors
        assert segment.lanes <= lanes
        covered += range(segment.start, segment.start + segment.blocks * segment.width)
    assert covered == list(range(channels))


@given(total=st.integers(0, 500), size=st.integers(1, 40))
def test_runs_cover_every_element_once(total: int, size: int) -> None:
    parts = runs(total, size)
    assert [start + k * n + i for start, count, n in parts for k in range(count) for i in range(n)] == [*range(total)]
    assert all(n <= size for _, _, n in parts)


@given(total=st.integers(1, 500), most=st.integers(1, 40))
def test_balanced_parts_are_few_and_equal(total: int, most: int) -> None:
    part = balanced(total, most)
    assert 1 <= part <= most
    assert -(-total // part) == -(-total // most)
    assert part == 1 or -(-total // (part - 1)) > -(-total // most)


@given(
    name=st.sampled_from(["x86-64-v2", "x86-64-v4", "armv7", "aarch64", "cortex-m0", "cortex-m4"]),
    row=st.integers(1, 200),
    channels=st.integers(1, 300),
)
def test_tiles_fit_the_registers(name: str, row: int, channels: int) -> None:
    target = get_target(name)
    tile = choose_tile(target, row, channels)
    assert 1 <= tile.pixels <= row
    assert 1 <= tile.vectors <= max(1, channels // target.lanes)
    assert tile.pixels * tile.vectors + tile.vectors <= target.registers or tile.pixels == 1


@given(shape=st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple), data=st.data())
def test_strides_reach_every_element_once(shape: tuple[int, ...], data: st.DataObject) -> None:
    layout = Layout(shape, tuple(data.draw(st.permutations(range(len(shape))))))
    reached = {0}
    for size, stride in zip(shape, layout.strides, strict=True):
        reached = {at + i * stride for at in reached for i in range(size)}
    assert reached == set(range(prod(shape)))
    assert layout.size == prod(shape)


def test_layouts_of_a_graph() -> None:
    g = Weights()
    x = g.x(1, 3, 4, 5)
    inner = Conv()(x, g.w(4, 3, 1, 1), g.w(4))
    reshaped = Relu()(inner)
    flat = Reshape(shape=(1, 80))(reshaped)
    graph = g.graph(Relu()(flat), Relu()(inner))
    layouts = assign_layouts(graph)

    def order(value: Value) -> tuple[int, ...]:
        return layouts[value].order

    assert order(x) == order(graph.outputs[1]) == order(reshaped) == (0, 1, 2, 3)
    assert order(inner) == (0, 2, 3, 1)
    assert layouts[inner] == channels_last((1, 4, 4, 5))
    assert layouts[x] == row_major((1, 3, 4, 5))
    assert channels_last((1, 1, 4, 1)).is_row_major
    assert not channels_last((1, 2, 4, 1)).is_row_major


def test_sequences_that_meet_no_window_stay_row_major() -> None:
    """Channels-last rows of a matrix product would not be one run of memory."""
    g = Weights()
    x = g.x(4, 7, 16)
    hidden = Relu()(Linear()(x, g.w(16, 16), g.w(16)))
    other = Add()(Relu()(x), hidden)
    graph = g.graph(Linear()(other, g.w(8, 16), g.w(8)))
    assert all(layout.is_row_major for layout in assign_layouts(graph).values())


def test_what_reads_and_writes_alike_shares_the_layout_of_its_window() -> None:
    g = Weights()
    x = g.x(1, 3, 9)
    inner = Relu()(Add()(Relu()(x), Neg()(x)))
    graph = g.graph(Conv(pads=(1, 1))(inner, g.w(4, 3, 3), g.w(4)))
    layouts = assign_layouts(graph)
    assert all(layouts[v].order == (0, 2, 1) for v in (inner, *inner.node.inputs))
