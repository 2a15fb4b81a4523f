"""The interface of integer lowering rules: quantized operands, the wanted result, and the table of rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from graphopt.errors import InvalidGraph
from graphopt.ir import Array, Node, Op, Value, constant, fixed_point
from graphopt.ir.registry import Table
from graphopt.ops import Binarize, Dequantize, Requantize, WeightedSum
from graphopt.rewrite import Decline

BIAS_STEPS = 1 << 30
"""A bias has at most so many steps in its accumulator: where weights are tiny, their scale is floored by it."""


@dataclass(frozen=True, eq=False)
class Quantized:
    """Integers that stand for (value - zero_point) * scale.

    ``scale`` is float64: [] or, for weights, [c] along ``axis``. ``array`` has the integers if they are constant.
    """

    value: Value
    scale: Array
    zero_point: int
    axis: int | None = None

    @property
    def array(self) -> Array | None:
        return self.value.constant

    @property
    def dtype(self) -> str:
        return self.value.type.dtype

    @property
    def steps(self) -> int:
        """The largest magnitude of an integer minus its zero_point, plus one."""
        return 1 << 8 * np.dtype(self.dtype).itemsize

    @property
    def reals(self) -> Array:
        """The numbers that constant integers stand for, in float64."""
        if self.array is None:
            raise InvalidGraph(f"{self.value} is not constant")
        shape = tuple(-1 if a == self.axis else 1 for a in range(self.array.ndim)) if self.scale.ndim else ()
        return np.asarray((self.array.astype(np.float64) - self.zero_point) * self.scale.reshape(shape))


def dequantized(value: Value) -> Quantized | None:
    """The operand of a dequantize with constant scale and zero_point; None for any other value."""
    if not isinstance(value.op, Dequantize):
        return None
    q, scale, zero = value.node.inputs
    if scale.constant is None or zero.constant is None or np.ptp(zero.constant.astype(np.int64)):
        return None
    axis = value.op.axis if scale.type.rank == 1 else None
    return Quantized(q, scale.constant.astype(np.float64), int(zero.constant.flat[0]), axis)


@dataclass(frozen=True, eq=False)
class Signs:
    """The signs of ``source``, times a scale."""

    source: Value
    scale: float


def binarized(value: Value) -> Signs | None:
    """The result of a binarize with a constant scale as ``Signs``; None for any other value."""
    if not isinstance(value.op, Binarize):
        return None
    source, scale = value.node.inputs
    return None if scale.constant is None else Signs(source, float(scale.constant))


Operand = Quantized | Value
"""An operand of a float operator: quantized, or a plain value (a float constant, or indices)."""


@dataclass(frozen=True, eq=False)
class Wanted:
    """The wanted form of a result: scale, zero_point, dtype, and the limits that clamp the integers.

    ``result`` is the index among the node's results.
    """

    scale: float
    zero_point: int
    dtype: str
    low: int
    high: int
    result: int = 0

    @property
    def levels(self) -> int:
        """The number of integers of the dtype."""
        return 1 << 8 * np.dtype(self.dtype).itemsize

    def quantize(self, reals: Array) -> Array:
        """Reals as these integers, computed in float64."""
        with np.errstate(over="ignore"):  # a bound of a clip may be infinite, and saturates
            steps = np.rint(np.asarray(reals, np.float64) / self.scale) + self.zero_point
        return np.asarray(np.clip(steps, self.low, self.high).astype(self.dtype))

    def holds(self, x: Quantized) -> bool:
        """Whether integers of an operand stand for the same numbers as those of the result."""
        return x.scale.ndim == 0 and (float(x.scale), x.zero_point, x.dtype) == (
            self.scale,
            self.zero_point,
            self.dtype,
        )


Lower = Callable[[Node, tuple[Operand, ...], Wanted], Value]


@dataclass(frozen=True)
class IntegerRule:
    """The integer form of a float operator.

    ``weights`` are the operands that are quantized as weights, each with the axis of its channels; ``bias`` is the
    operand that is added to their accumulators. A ``move`` does not change integers, so its result shares the
    parameters of its operand. With ``activates``, the operator has an accumulator whose clamp takes in a ReLU or clip
    after it. ``states`` are the first operand and the first result that are recurrent states; all later ones are too.
    ``lower`` raises ``Decline`` if it is not sure.
    """

    lower: Lower
    weights: tuple[tuple[int, int], ...] = ()
    bias: int | None = None
    states: tuple[int, int] | None = None
    move: bool = False
    activates: bool = False
    fixed: tuple[float, float] | None = None
    """The range of the result, if it is known without data."""


INTEGER_RULES: Table[type[Op], IntegerRule] = Table("an integer form", lambda rule: rule.lower)
"""The rules by operator, or by family of operators."""


def integer_rule(
    *ops: type[Op],
    weights: tuple[tuple[int, int], ...] = (),
    bias: int | None = None,
    states: tuple[int, int] | None = None,
    move: bool = False,
    activates: bool = False,
    fixed: tuple[float, float] | None = None,
) -> Callable[[Lower], Lower]:
    """Register the integer form of operators; see ``IntegerRule``."""

    def register(lower: Lower) -> Lower:
        INTEGER_RULES.enter(IntegerRule(lower, weights, bias, states, move, activates, fixed), *ops)
        return lower

    return register


def rule_of(op: Op) -> IntegerRule | None:
    """The rule of an operator: its own, or that of its nearest family."""
    return INTEGER_RULES.find(type(op))


def quantized(operand: Operand, what: str) -> Quantized:
    """The operand, which must be quantized with one scale; declines any other."""
    if not isinstance(operand, Quantized):
        raise Decline(f"{what} is not quantized")
    if operand.scale.ndim:
        raise Decline(f"{what} is quantized by channel")
    return operand


def reals_of(operand: Operand) -> Array | None:
    """The numbers of a constant operand; None for any other."""
    if isinstance(operand, Quantized):
        return None if operand.array is None else operand.reals
    return None if operand.constant is None else operand.constant.astype(np.float64)


def fixed_points(ratio: Array) -> tuple[Array, Array]:
    """Multipliers and shifts, int32, of ratios; see ``fixed_point``. Declines ratios beyond its range."""
    if not np.isfinite(ratio).all() or np.abs(ratio).max(initial=0.0) >= 2.0**29:
        raise Decline(f"the scales of its operands and result are too far apart: {np.abs(ratio).max():.3g}")
    pairs = [fixed_point(float(r)) for r in ratio.ravel()]
    multiplier, shift = (np.asarray(p, np.int32).reshape(ratio.shape) for p in zip(*pairs, strict=True))
    return multiplier, shift


def requantized(acc: Value, ratio: Array, wanted: Wanted, node: Node) -> Value:
    """Requantize an accumulator to the wanted integers; its unit is ``ratio`` times the wanted scale.

    ``ratio`` broadcasts to the accumulator; equal ratios become a scalar. Declines ratios beyond ``fixed_point``.
    """
    if ratio.size and np.all(ratio == ratio.flat[0]):
        ratio = ratio.flat[0].reshape(())
    multiplier, shift = fixed_points(ratio)
    if acc.type.dtype == "int64" and shift.min(initial=17) < 17:
        raise Decline("a ratio above 2^14 for an int64 accumulator")
    op = Requantize(zero_point=wanted.zero_point, low=wanted.low, high=wanted.high, to=wanted.dtype)
    name = node.name or node.op.name
    parts = constant(multiplier, f"{name}.multiplier"), constant(shift, f"{name}.shift")
    return op(acc, *parts, name=node.name, origins=node.origins)


def centred(x: Quantized) -> Value:
    """The integers minus their zero_point, as an accumulator."""
    return WeightedSum(factors=(1,), offset=-x.zero_point)(x.value)


def rescaled(operand: Operand, wanted: Wanted, node: Node) -> Value:
    """An operand as the wanted integers: constants are computed now, others requantize if their parameters differ."""
    reals = reals_of(operand)
    if reals is not None:
        name = operand.value.node.name if isinstance(operand, Quantized) else operand.node.name
        return constant(wanted.quantize(reals), name)
    x = quantized(operand, "an operand")
    if wanted.holds(x):
        return x.value
    return requantized(centred(x), x.scale / wanted.scale, wanted, node)
