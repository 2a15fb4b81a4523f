"""Elementwise comparisons, logic, bit operators, selection and casts."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from graphopt.ir import Array, Op, Sampler, TensorType, Trait, Value, constant, expect
from graphopt.ir.types import DTYPES
from graphopt.ops.elementwise import Binary, broadcast

__all__ = [
    "And",
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
    "Cast",
    "Comparison",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "IsInf",
    "IsNan",
    "Less",
    "LessOrEqual",
    "Logical",
    "Mod",
    "Not",
    "Or",
    "ShiftLeft",
    "ShiftRight",
    "Where",
    "Xor",
]


class Comparison(Op):
    """Compares two operands of one dtype, broadcast as numpy does; the result is bool."""

    traits = Trait.ELEMENTWISE | Trait.PER_SAMPLE

    function: ClassVar[str]

    def infer(self, *inputs: TensorType) -> TensorType:
        a, b = inputs
        expect(a.dtype == b.dtype, f"{self.name} of {a} and {b}")
        return TensorType("bool", broadcast(a.shape, b.shape))

    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(getattr(np, self.function)(*inputs))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if not x.type.is_float:
            return None
        return Cast(to=x.type.dtype)(cls()(x, draw.value(x.type)))


class Equal(Comparison, name="equal"):
    function = "equal"
    commutative = True


class Less(Comparison, name="less"):
    function = "less"


class LessOrEqual(Comparison, name="less_or_equal"):
    function = "less_equal"


class Greater(Comparison, name="greater"):
    function = "greater"


class GreaterOrEqual(Comparison, name="greater_or_equal"):
    function = "greater_equal"


class Logical(Op):
    """Operands of bool, broadcast as numpy does."""

    traits = Trait.ELEMENTWISE | Trait.PER_SAMPLE

    function: ClassVar[str]

    def infer(self, *inputs: TensorType) -> TensorType:
        expect(all(t.dtype == "bool" for t in inputs), f"{self.name} of {', '.join(map(str, inputs))}")
        return TensorType("bool", broadcast(*(t.shape for t in inputs)))

    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(getattr(np, self.function)(*inputs))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if not x.type.is_float:
            return None
        a, b = Less()(x, draw.value(x.type)), Greater()(x, draw.value(x.type))
        return Cast(to=x.type.dtype)(cls()(a) if cls is Not else cls()(a, b))


class And(Logical, name="and"):
    function = "logical_and"
    commutative = True


class Or(Logical, name="or"):
    function = "logical_or"
    commutative = True


class Xor(Logical, name="xor"):
    function = "logical_xor"
    commutative = True


class Not(Logical, name="not"):
    function = "logical_not"


class Integral(Binary):
    """Two operands of one integer dtype, broadcast as numpy does."""

    function: ClassVar[str]

    def infer(self, *inputs: TensorType) -> TensorType:
        expect("int" in inputs[0].dtype, f"{self.name} of {inputs[0]}: it works on integers")
        return super().infer(*inputs)

    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(getattr(np, self.function)(*inputs))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if not x.type.is_float:
            return None
        a, b = (Cast(to="int32")(v) for v in (x, draw.value(x.type)))
        return Cast(to=x.type.dtype)(cls()(a, b))


class BitwiseAnd(Integral, name="bitwise_and"):
    function = "bitwise_and"
    commutative = True


class BitwiseOr(Integral, name="bitwise_or"):
    function = "bitwise_or"
    commutative = True


class BitwiseXor(Integral, name="bitwise_xor"):
    function = "bitwise_xor"
    commutative = True


class BitwiseNot(Op, name="bitwise_not"):
    """All bits flipped."""

    traits = Trait.ELEMENTWISE | Trait.PER_SAMPLE

    def infer(self, *inputs: TensorType) -> TensorType:
        (x,) = inputs
        expect("int" in x.dtype, f"{self.name} of {x}: it works on integers")
        return x

    def evaluate(self, *inputs: Array) -> Array:
        return np.invert(inputs[0])

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return Cast(to=x.type.dtype)(cls()(Cast(to="int32")(x))) if x.type.is_float else None


class ShiftLeft(Integral, name="shift_left"):
    """a * 2^b; b is less than the bits of a."""

    function = "left_shift"

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if not x.type.is_float:
            return None
        shift = constant(np.int32(draw.integer(0, 4)))
        return Cast(to=x.type.dtype)(cls()(Cast(to="int32")(x), shift))


class ShiftRight(ShiftLeft, name="shift_right"):
    """a / 2^b, rounded down; b is less than the bits of a."""

    function = "right_shift"


class Mod(Binary, name="mod"):
    """The remainder: with the sign of b, as in Python, or if ``fmod`` with the sign of a, as in C."""

    fmod: bool = False

    def infer(self, *inputs: TensorType) -> TensorType:
        expect(self.fmod or not inputs[0].is_float, f"mod of {inputs[0]}: floats need fmod")
        return super().infer(*inputs)

    def evaluate(self, *inputs: Array) -> Array:
        return np.asarray(np.fmod(*inputs) if self.fmod else np.mod(*inputs))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if not x.type.is_float:
            return None
        divisor = constant(np.int32(draw.choice([-3, 2, 5])))
        return Cast(to=x.type.dtype)(cls(fmod=draw.choice([False, True]))(Cast(to="int32")(x), divisor))


class IsNan(Op, name="is_nan"):
    """Whether x is not a number."""

    traits = Trait.ELEMENTWISE | Trait.PER_SAMPLE

    def infer(self, *inputs: TensorType) -> TensorType:
        expect(inputs[0].is_float, f"{self.name} of {inputs[0]}: it works on floats")
        return inputs[0].with_dtype("bool")

    def evaluate(self, *inputs: Array) -> Array:
        return np.isnan(inputs[0])

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        return Cast(to=x.type.dtype)(cls()(x)) if x.type.is_float else None


class IsInf(IsNan, name="is_inf"):
    """Whether x is infinite, with a sign that the attributes ask for."""

    negative: bool = True
    positive: bool = True

    def evaluate(self, *inputs: Array) -> Array:
        (x,) = inputs
        return np.asarray((np.isneginf(x) & self.negative) | (np.isposinf(x) & self.positive))


class Where(Op, name="where"):
    """a where the condition holds, else b; the three broadcast as numpy does."""

    traits = Trait.ELEMENTWISE | Trait.PER_SAMPLE

    def infer(self, *inputs: TensorType) -> TensorType:
        condition, a, b = inputs
        expect(condition.dtype == "bool" and a.dtype == b.dtype, f"where of {condition}, {a} and {b}")
        return a.with_shape(broadcast(condition.shape, a.shape, b.shape))

    def evaluate(self, *inputs: Array) -> Array:
        return np.where(*inputs)

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if not x.type.is_float:
            return None
        return cls()(Less()(x, draw.value(x.type)), x, draw.value(x.type))


def floats_to_integers(x: Array, dtype: str) -> Array:
    """The cast of floats to integers that ``Cast`` defines. numpy leaves floats that do not fit to the machine."""
    x = x.astype(np.promote_types(x.dtype, np.float32))
    bits = max(32, np.iinfo(dtype).bits)
    half = x.dtype.type(2.0 ** (bits - 1))
    with np.errstate(invalid="ignore"):
        upper = (x >= half) & (dtype in ("uint32", "uint64"))
        low = np.where(upper, x - half, x)
        signed = np.where(np.abs(low) < half, low, -half).astype(f"int{bits}")
    return np.asarray(np.where(upper, signed ^ np.iinfo(signed.dtype).min, signed).astype(dtype))


class Cast(Op, name="cast"):
    """x in another dtype: floats truncate toward zero, integers wrap around, anything but zero (NaN too) is true.

    C leaves the cast of floats that the integer dtype does not hold undefined. Here it is defined, for every machine,
    as NumPy, PyTorch and ONNX Runtime compute it on x86-64. int32 and int64 have their lowest number for NaN, infinity
    and finite floats that they do not hold. Integers of 8 and 16 bits are the lower bits of the cast to int32. So uint8
    of [-1, -50.7, 300, 3e9] is [255, 206, 44, 0]. uint32 and uint64, of b bits, are the cast to the signed dtype of b
    bits, wrapped around, if x < 2^(b-1), else 2^(b-1) plus the cast of x - 2^(b-1).
    """

    traits = Trait.ELEMENTWISE | Trait.PER_SAMPLE

    to: str

    def infer(self, *inputs: TensorType) -> TensorType:
        expect(self.to in DTYPES, f"cast to {self.to!r}")
        return inputs[0].with_dtype(self.to)

    def evaluate(self, *inputs: Array) -> Array:
        (x,) = inputs
        if x.dtype.kind == "f" and "int" in self.to:
            return floats_to_integers(x, self.to)
        with np.errstate(over="ignore"):
            return x.astype(self.to)

    def with_float_dtype(self, dtype: str) -> Self:
        return type(self)(to=dtype) if self.to == "float32" else self

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        if not x.type.is_float:
            return None
        return cls(to=x.type.dtype)(cls(to=draw.choice(["int32", "int8", "bool"]))(x))
