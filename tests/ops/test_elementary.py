"""Elementary functions of float32: how far they are from the exact ones, over all magnitudes, and at the edges."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from scipy import special

from graphopt.ir import Array, Op
from graphopt.ops import Cos, Erf, Exp, Gelu, Log, Mish, Pow, Sigmoid, Silu, Sin, Softplus, Tanh
from graphopt.ops.elementary import evaluated

STRIDE, FINE_STRIDE, CHUNK = 4099, 61, 1 << 20
LEAST_NORMAL = 2.0**-126


def exact_softplus(x: Array) -> Array:
    return np.asarray(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


def exact_mish(x: Array) -> Array:
    t = np.exp(np.minimum(x, 30))
    return np.asarray(x * (t * (t + 2) / (t * (t + 2) + 2)))


EXACT: dict[str, Callable[[Array], Array]] = {
    "cos": np.cos,
    "exp": np.exp,
    "low_exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "sigmoid": special.expit,
    "sin": np.sin,
    "tanh": np.tanh,
    "erf": special.erf,
    "silu": lambda x: x * special.expit(x),
    "gelu": lambda x: 0.5 * x * special.erfc(-x * np.sqrt(0.5)),
    "tanh_gelu": lambda x: x * special.expit(np.sqrt(8 / np.pi) * (x + 0.044715 * x**3)),
    "softplus": exact_softplus,
    "mish": exact_mish,
}
"""In float64."""

BOUNDS = {
    "cos": 2.5,
    "exp": 1.1,
    "low_exp": 1.1,
    "expm1": 1.1,
    "log": 1.0,
    "sigmoid": 2.6,
    "sin": 2.5,
    "tanh": 2.8,
    "erf": 2.5,
    "silu": 2.5,
    "gelu": 2.0,
    "tanh_gelu": 2.6,
    "softplus": 3.0,
    "mish": 3.0,
}
"""In units in the last place, as docs/performance.md has them; of results that are normal numbers."""
LOWEST = {"gelu": 0.0, "tanh_gelu": 0.0, "mish": -88.0}
"""From where on the bounds hold. Below, factors are subnormal, or the sum of 1 and a number near -1 has few digits."""
HIGHEST = {"expm1": 0.0, "low_exp": 43.0}
BELOW = {"gelu": 2e-7, "tanh_gelu": 2e-7, "mish": 1e-43}
"""The largest error below, in absolute terms."""


def numbers(stride: int) -> Iterator[Array]:
    """All float32 from 0 to infinity of which the bits are multiples of ``stride``, and their negatives."""
    for start in range(0, 0x7F800001, stride * CHUNK):
        bits = np.arange(start, min(start + stride * CHUNK, 0x7F800001), stride, dtype=np.uint32)
        for sign in (0, 1 << 31):
            yield (bits | np.uint32(sign)).view(np.float32)


def errors(name: str, x: Array) -> tuple[Array, Array]:
    """The error of each result that is finite, in units in the last place of a normal number, and absolute."""
    with np.errstate(all="ignore"):
        y, exact = evaluated(name, EXACT[name], x), EXACT[name](x.astype(np.float64))
        rounded = exact.astype(np.float32)
        absolute = np.abs(y - exact)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(rounded), name)
    np.testing.assert_array_equal(np.isinf(y), np.isinf(rounded), name)
    finite = np.isfinite(rounded)
    units = np.spacing(np.maximum(np.abs(rounded[finite]), np.float32(LEAST_NORMAL)))
    return absolute[finite] / units, absolute[finite]


def check(name: str, stride: int) -> None:
    low, high = LOWEST.get(name, -np.inf), HIGHEST.get(name, np.inf)
    for x in numbers(stride):
        above, below = x[(x >= low) & (x <= high)], x[x < low]
        assert errors(name, above)[0].max(initial=0.0) <= BOUNDS[name]
        if len(below):
            assert errors(name, below)[1].max(initial=0.0) <= BELOW[name]


@pytest.mark.parametrize("name", EXACT)
def test_the_error_is_within_its_bound(name: str) -> None:
    check(name, STRIDE)


@pytest.mark.parametrize(("name", "x"), [("sin", 5.155643093889843e16), ("cos", 197090336.0)])
def test_large_arguments(name: str, x: float) -> None:
    """Those of every fifth float32 whose reduction, rounded once more, was farthest off."""
    assert errors(name, np.array([x], np.float32))[0].max() <= BOUNDS[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
def test_the_error_of_many_more_numbers_is_within_its_bound(name: str) -> None:
    check(name, FINE_STRIDE)


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        *[("exp", x, y) for x, y in ((-np.inf, 0), (-104, 0), (88.73, np.inf), (np.inf, np.inf), (0, 1), (-0.0, 1))],
        *[("log", x, y) for x, y in ((0, -np.inf), (-0.0, -np.inf), (-1, np.nan), (np.inf, np.inf), (1, 0))],
        *[("sigmoid", x, y) for x, y in ((-np.inf, 0), (np.inf, 1), (0, 0.5), (-88, 6.0546e-39))],
        *[(name, x, x) for name in ("tanh", "erf") for x in (0.0, -0.0, 1e-45, -1e-45)],
        *[(name, x, np.sign(x)) for name in ("tanh", "erf") for x in (10, -10, np.inf, -np.inf)],
        *[("softplus", x, y) for x, y in ((-np.inf, 0), (np.inf, np.inf), (100, 100))],
        *[("silu", 100.0, 100.0), ("gelu", 100.0, 100.0), ("gelu", -100.0, 0.0), ("mish", 100.0, 100.0)],
        *[(name, x, x) for name in ("silu", "mish") for x in (0.0, -0.0, 3e38, np.inf)],
        *[(name, x, y) for name in ("silu", "mish") for x, y in ((-120, 0), (-3e38, 0), (-np.inf, np.nan))],
        *[("sin", x, y) for x, y in ((0, 0), (np.inf, np.nan), (-np.inf, np.nan))],
        *[("cos", x, y) for x, y in ((0, 1), (-0.0, 1), (np.inf, np.nan))],
        *[(name, np.nan, np.nan) for name in EXACT],
    ],
)
def test_edges(name: str, x: float, y: float) -> None:
    got = evaluated(name, EXACT[name], np.array([x], np.float32))
    np.testing.assert_allclose(got, np.array([y], np.float32), rtol=1e-4 if 0 < abs(y) < LEAST_NORMAL else 0)
    if x == 0 and y == 0:
        assert np.signbit(got) == np.signbit(np.float32(y))


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("sin", 2.0**128 - 2.0**104, -0.5218765233336586),
        ("cos", 16367173 * 2.0**72, -1.6147697982476211e-09),  # of all float32 the nearest to a zero
    ],
)
def test_large_angles(name: str, x: float, y: float) -> None:
    """The values are of 300 bits."""
    got = evaluated(name, EXACT[name], np.array([x], np.float32))
    assert abs(float(got[0]) - y) <= 2.5 * np.spacing(np.float32(abs(y)))


@pytest.mark.parametrize("shape", [(), (0, 3), (3, 1, 2), (2, 5000)])
def test_shapes_and_strides(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32).T
    y = evaluated("tanh", np.tanh, x)
    assert y.shape == x.shape and y.dtype == np.float32
    np.testing.assert_allclose(y, np.tanh(x), rtol=1e-6)


@pytest.mark.parametrize(
    "op",
    [Cos(), Erf(), Exp(), Gelu(), Gelu(tanh=True), Log(), Mish(), Sigmoid(), Silu(), Sin(), Softplus(), Tanh()],
)
def test_other_floats_keep_the_functions_of_numpy(op: Op) -> None:
    """Contracts of passes are checked in float64, to 1e-9."""
    x = np.linspace(0.1, 5, 50)
    exact = EXACT["tanh_gelu" if isinstance(op, Gelu) and op.tanh else op.name](x)
    np.testing.assert_allclose(op.evaluate(x), exact, rtol=1e-12)
    assert op.evaluate(x.astype(np.float16)).dtype == np.float16


POW_BOUND = 1.2
SPECIAL = np.float32(
    [*(0.0, 1, 2, 0.5, 3, 0.7, np.inf, 1e-45, 3e38, 2.0**24 - 1, 2.0**24, 2.0**23 - 0.5, 1 + 2.0**-23, 1 - 2.0**-24)]
)


def bases_and_exponents(count: int, seed: int) -> tuple[Array, Array]:
    """Positive numbers, of all magnitudes and near 1, and exponents that lead over all results, or usual ones."""
    rng = np.random.default_rng(seed)
    anything = rng.integers(1, 0x7F800000, count, dtype=np.uint32).view(np.float32)
    near = np.abs(1 + rng.normal(size=count) * 10.0 ** rng.uniform(-7, 0, count)).astype(np.float32)
    x = np.where(rng.random(count) < 0.5, anything, near)
    logarithm = np.log2(x.astype(np.float64))
    y = (rng.uniform(-150, 129, count) / np.where(logarithm == 0, 1, logarithm)).astype(np.float32)
    usual = rng.choice(np.float32([2, 3, 0.5, -0.5, -1, 4, 1.5, 10]), count)
    return x, np.where(rng.random(count) < 0.8, y, usual)


def check_pow(x: Array, y: Array) -> None:
    with np.errstate(all="ignore"):
        got, exact = evaluated("pow", np.power, x, y), np.power(x.astype(np.float64), y.astype(np.float64))
        rounded = exact.astype(np.float32)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(rounded))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(rounded))
    np.testing.assert_array_equal(np.signbit(got)[~np.isnan(got)], np.signbit(rounded)[~np.isnan(got)])
    finite = np.isfinite(rounded)
    units = np.spacing(np.maximum(np.abs(rounded[finite]), np.float32(LEAST_NORMAL)))
    assert (np.abs(got[finite] - exact[finite]) / units).max() <= POW_BOUND


def test_the_error_of_pow_is_within_its_bound() -> None:
    check_pow(*bases_and_exponents(1 << 17, seed=0))


@pytest.mark.slow
def test_the_error_of_many_more_powers_is_within_its_bound() -> None:
    for seed in range(1, 200):
        check_pow(*bases_and_exponents(1 << 17, seed))


def test_edges_of_pow() -> None:
    """Zeros, infinities and NaN; signs, integers that are odd, and exponents too large to have a fraction."""
    numbers = np.concatenate([SPECIAL, -SPECIAL, np.float32([np.nan])])
    check_pow(*(a.ravel() for a in np.meshgrid(numbers, numbers)))


def test_pow_broadcasts_and_keeps_integers_and_other_floats() -> None:
    x = np.float32([[1, 2, 3]])
    np.testing.assert_allclose(Pow().evaluate(x, np.float32([[2], [3]])), [[1, 4, 9], [1, 8, 27]], rtol=2e-7)
    for dtype in (np.int32, np.float16, np.float64):
        y = Pow().evaluate(x.astype(dtype), np.array(2, dtype))
        assert y.dtype == dtype and (y == [[1, 4, 9]]).all()
