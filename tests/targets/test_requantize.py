"""Requantisation by constants: exactly the numbers of the operator, or declined with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from compiling import Weights, check_program, in_long_runs
from hypothesis import given
from hypothesis import strategies as st
from mlperf import quantized

import graphopt
from graphopt.ir import Array, Graph, Value, arg, bind_batch, constant
from graphopt.ops import Add, Conv, ConvInteger, Fused, LinearInteger, Relu, Requantize, WeightedSum
from graphopt.passes import Fuse, Quantize
from graphopt.rewrite import Decline
from graphopt.targets import get_target
from graphopt.targets.forms import formed
from graphopt.targets.kernels import KERNEL_RULES  # noqa: F401  (their import enters the rules)
from graphopt.targets.prepared import lowered_operators
from graphopt.targets.region import region_of
from graphopt.targets.requantize import INT32, alike, bounds_of, by_upper_half, constants_of, scaled
from graphopt.targets.requantize_sums import ShiftDown, shifted_down

SHIFTS = st.integers(1, 62)
MULTIPLIERS = st.one_of(st.integers(1 << 30, (1 << 31) - 1), st.integers(0, (1 << 31) - 1))
NUMBERS = st.integers(*INT32)


@given(
    multiplier=MULTIPLIERS,
    shift=SHIFTS,
    zero_point=st.integers(-(1 << 15), (1 << 16) - 1),
    ends=st.tuples(NUMBERS, NUMBERS),
    accs=st.lists(NUMBERS, min_size=3),
)
def test_constants_give_the_same_in_their_range(
    multiplier: int, shift: int, zero_point: int, ends: tuple[int, int], accs: list[int]
) -> None:
    least, greatest = sorted(ends)
    try:
        smaller, addend, beyond = constants_of(zero_point, multiplier, shift, least, greatest)
    except Decline:
        assert shift < 33 or shift > 55 or not -128 <= zero_point <= 127
        return
    assert 0 <= smaller < 1 << 31 and 1 <= beyond <= 30
    for acc in (least, greatest, *(min(max(acc, least), greatest) for acc in accs)):
        sum_ = (acc * smaller >> 32) + addend
        assert INT32[0] <= sum_ <= INT32[1]
        assert sum_ >> beyond == scaled((multiplier, shift), acc) + zero_point


@given(
    multiplier=st.integers(0, 100),
    other=st.integers(0, 100),
    shifts=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    ends=st.tuples(st.integers(-200, 200), st.integers(-200, 200)),
)
def test_alike_is_what_trying_all_shows(
    multiplier: int, other: int, shifts: tuple[int, int], ends: tuple[int, int]
) -> None:
    least, greatest = sorted(ends)
    one, two = (multiplier, shifts[0]), (other, shifts[1])
    assert alike(one, two, least, greatest) == all(
        scaled(one, acc) == scaled(two, acc) for acc in range(least, greatest + 1)
    )


@pytest.mark.parametrize("op", [ConvInteger(zero_point=-7, pads=(1, 1), group=2), LinearInteger(zero_point=100)])
def test_bounds_of_products_are_reached_and_never_left(op: ConvInteger | LinearInteger) -> None:
    rng = np.random.default_rng(0)
    conv = isinstance(op, ConvInteger)
    weight = rng.integers(-127, 128, (4, 2, 3) if conv else (4, 5)).astype(np.int8)
    x = arg("x", "int8", (1, 4, 6) if conv else (1, 5))
    acc = op(x, constant(weight), constant(rng.integers(-999, 999, 4).astype(np.int32)))
    graph = Graph((x,), (acc,))
    least, greatest = bounds_of(acc)
    reached: list[list[int]] = []
    for channel in range(4):
        signs = np.sign(weight[channel].astype(int))
        for wanted in (signs, -signs):
            column = np.where(wanted > 0, 127, -128).astype(np.int8)
            data = np.zeros(x.type.static_shape, np.int8)
            if conv:
                first = channel // 2 * 2
                data[0, first : first + 2, 1:4] = column
            else:
                data[0] = column
            y = graph(x=data)[0]
            assert (y >= least).all() and (y <= greatest).all()
            reached.append(y.reshape(4, -1)[channel].tolist())
    ends = list(zip(least.ravel().tolist(), greatest.ravel().tolist(), strict=True))
    for channel, (low, high) in enumerate(ends):
        if not conv or (weight[channel] != 0).all():
            assert high in reached[2 * channel] and low in reached[2 * channel + 1]


def narrowed(acc: Value, multiplier: Array, shift: Array, zero_point: int = 0, to: str = "int8") -> Value:
    limits = np.iinfo(to)
    op = Requantize(zero_point=zero_point, low=limits.min, high=limits.max, to=to)
    return by_upper_half(op, acc, constant(multiplier), constant(shift))


@pytest.mark.parametrize(
    ("acc", "shift", "zero_point", "why"),
    [
        ("int64", [40, 40], 0, "its accumulator is int64"),
        ("int32", [40, 32], 0, "channel 1: its shift 32 is below 33"),
        ("int32", [56, 40], -128, "channel 0: its shift 56 is too large, and a smaller one is not proved"),
        ("int32", [60, 60], 1 << 15, "channel 0: its shift 60 is too large"),
    ],
)
def test_what_declines_says_why(acc: str, shift: list[int], zero_point: int, why: str) -> None:
    multiplier = np.array([(1 << 31) - 1, 1 << 30], np.int32)
    with pytest.raises(Decline, match=why):
        narrowed(arg("acc", acc, (1, 2)), multiplier, np.array(shift, np.int32), zero_point, "int16")


def test_constants_that_are_computed_at_run_time_decline() -> None:
    acc, shift = arg("acc", "int32", (1, 2)), arg("shift", "int32", ())
    with pytest.raises(Decline, match="computed at run time"):
        by_upper_half(Requantize(), acc, constant(np.int32(1 << 30)), shift)


def dying() -> Graph:
    """A convolution of whose channels some are dead: no weights, or a scale of almost nothing; some with a bias."""
    rng = np.random.default_rng(1)
    weight = rng.integers(-127, 128, (8, 3, 3, 3)).astype(np.int8)
    weight[2:5] = 0
    x = arg("x", "int8", (1, 3, 6, 6))
    bias = np.array([100, -4000, 0, 1 << 29, -(1 << 30), 7, 0, 1000], np.int32)
    acc = ConvInteger(pads=(1, 1, 1, 1), zero_point=5)(x, constant(weight), constant(bias), name="conv")
    shift = np.array([40, 41, 62, 61, 60, 62, 40, 39], np.int32).reshape(-1, 1, 1)
    multiplier = rng.integers(1 << 30, 1 << 31, (8, 1, 1)).astype(np.int32)
    y = Requantize(zero_point=-100, low=-100, high=90)(acc, constant(multiplier), constant(shift), name="narrow")
    return graphopt.passes.Fuse()(Graph((x,), (y,)))


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m0", *in_long_runs("cortex-m3", "cortex-m55")])
def test_programs_with_dead_channels(target: str) -> None:
    graph = dying()
    program = graphopt.compile(graph, target)
    source = program.files["model.c"].decode()
    assert "requantize(" not in source and "INT64_C" not in source
    x = np.random.default_rng(2).integers(-128, 128, (1, 3, 6, 6)).astype(np.int8)
    np.testing.assert_array_equal(program.run(x), graph(x=x)[0])


def test_all_dead_channels_of_a_net(shared: Path) -> None:
    """The 971 channels of MobileNet on visual wake words whose weights are nothing: at both ends of their range."""
    dead = 0
    for node in bind_batch(quantized(shared, "vww"), 1).nodes:
        if not isinstance(node.op, Fused):
            continue
        region = region_of(node, lowered_operators())
        old = [n for n in region.compute if isinstance(n.op, Requantize)]
        if not old or not isinstance(old[0].inputs[0].op, ConvInteger):
            continue
        changed, ((_, choice),) = formed(region, get_target("cortex-m4"))
        (new,) = (n for n in changed.compute if n.op.name == "requantize")
        assert choice.isa == "c" and new.op != old[0].op
        shifts = old[0].inputs[2].constant
        assert shifts is not None
        dead += int((shifts > 55).sum())
        for acc in bounds_of(old[0].inputs[0]):
            both = [n.op.evaluate(acc.astype(np.int32), *(v.constant for v in n.inputs[1:])) for n in (old[0], new)]
            np.testing.assert_array_equal(*both)
    assert dead == 971


@given(
    factors=st.lists(st.integers(-(1 << 21), 1 << 21), min_size=1, max_size=2),
    offset=st.integers(-(1 << 28), 1 << 28),
    zero_point=st.integers(-128, 127),
    shift=st.integers(31, 61),
)
def test_weighted_sums_are_shifted_down(factors: list[int], offset: int, zero_point: int, shift: int) -> None:
    """By a power of two as the only multiplier: without a product, and the same for all pairs of extreme operands."""
    x = [arg(f"x{i}", "int8", (25,)) for i in range(len(factors))]
    total = WeightedSum(factors=tuple(factors), offset=offset)(*x)
    op = Requantize(zero_point=zero_point)
    numbers = constant(np.int32(1 << 30)), constant(np.int32(shift))
    try:
        form = shifted_down(op, total, *numbers)
    except Decline as why:
        assert "more than 32 bits" in str(why)
        return
    ends = np.meshgrid(*[np.array([-128, -127, 0, 1, 127], np.int8)] * 2)
    feed = {f"x{i}": ends[i].ravel() for i in range(len(factors))}
    plain = Graph(tuple(x), (op(total, *numbers),))
    np.testing.assert_array_equal(Graph(tuple(x), (form,))(**feed)[0], plain(**feed)[0])
    assert isinstance(form.op, ShiftDown) and not any(v.constant is not None for v in form.node.inputs)


@given(
    dtype=st.sampled_from(["int8", "uint8"]),
    factor=st.one_of(st.just(1), st.integers(-(1 << 21), 1 << 21)),
    offset=st.integers(-(1 << 28), 1 << 28),
    zero_point=st.integers(-128, 127),
    multiplier=st.integers(1 << 30, (1 << 31) - 1),
    shift=st.integers(28, 61),
)
def test_a_scale_goes_into_the_factor_of_one_operand(
    dtype: str, factor: int, offset: int, zero_point: int, multiplier: int, shift: int
) -> None:
    """Of a sum of one operand of 8 bits, and then the results are the same for all of its values."""
    values = np.arange(256).astype(np.uint8).view(dtype)
    x, op = arg("x", dtype, (256,)), Requantize(zero_point=zero_point)
    total = WeightedSum(factors=(factor,), offset=offset if factor > 1 else offset >> 20)(x)
    numbers = constant(np.int32(multiplier)), constant(np.int32(shift))
    try:
        form = shifted_down(op, total, *numbers)
    except Decline as why:
        assert "shifted down by" in str(why) or "does not give the same" in str(why)
        return
    plain = Graph((x,), (op(total, *numbers),))
    np.testing.assert_array_equal(Graph((x,), (form,))(x=values)[0], plain(x=values)[0])
    sum_ = form.node.inputs[0].op
    assert isinstance(form.op, ShiftDown) and isinstance(sum_, WeightedSum)
    for value in (int(values.min()), int(values.max())):
        assert all(abs(more + sum_.factors[0] * value) < 1 << 31 for more in (0, sum_.offset))


def test_inputs_of_a_concatenation_are_scaled_by_a_factor() -> None:
    """The usual scales of what is requantized for a concatenation: none declines."""
    rng = np.random.default_rng(0)
    for multiplier, shift in zip(rng.integers(1 << 30, 1 << 31, 99), rng.integers(30, 36, 99), strict=True):
        total = WeightedSum(factors=(1,), offset=int(rng.integers(-127, 128)))(arg("x", "int8", (5,)))
        op = Requantize(zero_point=int(rng.integers(-128, 128)))
        form = shifted_down(op, total, constant(np.int32(multiplier)), constant(np.int32(shift)))
        assert isinstance(form.op, ShiftDown)


@pytest.mark.parametrize("target", ["aarch64", *in_long_runs("armv7", "aarch64-dotprod", "x86-64-v2", "cortex-m3")])
@pytest.mark.parametrize("channels", [5, 16])
def test_sums_behind_a_convolution(channels: int, target: str) -> None:
    """A residual addition is computed in the vectors of the convolution in front of it."""
    g = Weights()
    x = arg("x", "float32", (1, channels, 6, 7))
    y = Conv(pads=(1, 1, 1, 1))(x, g.w(channels, channels, 3, 3), g.w(channels))
    samples = np.random.default_rng(0).standard_normal((8, channels, 6, 7)).astype(np.float32)
    graph = Fuse()(Quantize(calibration=samples)(Graph((x,), (Relu()(Add()(x, y)),))))
    assert any(isinstance(node.op, Fused) and len(node.inputs) > 4 for node in graph.nodes)
    check_program(graph, target)
