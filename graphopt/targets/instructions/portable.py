"""What C lacks, in C that every compiler takes."""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array
from graphopt.targets.c_types import C_TYPES
from graphopt.targets.instructions.base import Instruction, Span, instruction

MULTIPLY_ADD = instruction(
    Instruction(
        "multiply_add",
        None,
        {"a": "float32", "b": "float32", "c": "float32"},
        "float32",
        """\
#if defined(__ARM_FEATURE_FMA) || defined(__FMA__)
    return fmaf(a, b, c);
#else
    return a * b + c;
#endif""",
        lambda a, b, c: a * b + c,
        # where the product has 24 bits, it is the same with one rounding and with two
        defined=lambda a, b, c: a.astype(np.float64) * b == (a * b).astype(np.float64),
        comment="One rounding where the hardware has a fused multiply-add, two where it has not.",
        depth=1,
        includes=("math.h",),
    )
)

FLOAT_OF_HALF = instruction(
    Instruction(
        "float_of_half",
        None,
        {"half": "uint16"},
        "float32",
        """\
#if defined(__ARM_FP16_FORMAT_IEEE) && defined(__ARM_FP)
    const union {
        uint16_t bits;
        __fp16 value;
    } narrow = {half};
    return narrow.value;
#else
    const uint32_t magnitude = (uint32_t)(half & 0x7fffu) << 13;
    union {
        uint32_t bits;
        float value;
    } wide = {magnitude + (UINT32_C(112) << 23)};
    if (magnitude < UINT32_C(1) << 23) {
        wide.bits += UINT32_C(1) << 23;
        wide.value -= 6.103515625e-05f;
    }
    wide.bits |= (uint32_t)(half & 0x8000u) << 16;
    return wide.value;
#endif""",
        lambda half: half.view(np.float16).astype(np.float32),
        defined=lambda half: np.isfinite(half.view(np.float16)),
        comment="""\
The float of the bits of a float16 that is finite. In integers its fields are moved and its exponent is biased by 112
   more; if it is 0 or subnormal, a leading one is put in front, and subtracted.""",
    )
)


def is_requantize(acc: Array, multiplier: Array, shift: Array, zero_point: Array, low: Array, high: Array) -> Array:
    limits = [np.abs(n.astype(np.int64)) < 1 << 16 for n in (zero_point, low, high)]
    return np.asarray(np.logical_and.reduce([shift >= 1, shift <= 62, low <= high, *limits]))


def requantized(acc: Array, multiplier: Array, shift: Array, zero_point: Array, low: Array, high: Array) -> Array:
    t = shift.astype(np.int64)
    scaled = (acc.astype(np.int64) * multiplier + (np.int64(1) << (t - 1))) >> t
    return np.asarray(np.clip(scaled + zero_point, low, high))


def upper(a: Array, b: Array, c: Array) -> Array:
    return np.asarray((a.astype(np.int64) * b >> 32) + c)


REQUANTIZE = instruction(
    Instruction(
        "requantize",
        None,
        dict.fromkeys(("acc", "multiplier", "shift", "zero_point", "low", "high"), "int32"),
        "int32",
        """\
    const int64_t product = (int64_t)acc * multiplier;
    if (shift > 32) {
        const int32_t upper = (int32_t)(product >> 32) + ((int32_t)1 << (shift - 33));
        const int32_t scaled = (upper >> (shift - 32)) + zero_point;
        return scaled < low ? low : scaled > high ? high : scaled;
    }
    const int64_t wide = ((product + ((int64_t)1 << (shift - 1))) >> shift) + zero_point;
    return (int32_t)(wide < low ? low : wide > high ? high : wide);""",
        requantized,
        defined=is_requantize,
        comment="""\
zero_point + acc * multiplier / 2^shift, halves rounded up, in [low, high]. A right shift of a negative number is
   arithmetic, as every compiler has it. Of a shift beyond 32 the lower half of the product takes no part.""",
        depth=1,
    )
)

MULTIPLY_UPPER = instruction(
    Instruction(
        "multiply_upper",
        None,
        {"a": "int32", "b": "int32", "c": "int32"},
        "int32",
        "    return (int32_t)(((int64_t)a * b) >> 32) + c;",
        upper,
        defined=lambda a, b, c: np.abs(upper(a, b, c)) < 1 << 31,
        comment="The upper half of a * b in 64 bits, plus c.",
        depth=1,
    )
)


CLIP_INT8 = instruction(
    Instruction(
        "clip_int8",
        None,
        {"x": "int32"},
        "int32",
        "    return x < -128 ? -128 : x > 127 ? 127 : x;",
        lambda x: np.clip(x, -128, 127),
        comment="The nearest number that int8 has.",
    )
)


INTEGER_SQRT = instruction(
    Instruction(
        "integer_sqrt",
        None,
        {"x": "int64"},
        "int64",
        """\
#if defined(__ARM_FP) && (__ARM_FP & 8) && defined(__GNUC__)
    const double wide = (double)(uint32_t)(x >> 20) * 1048576.0 + (double)(uint32_t)(x & 0xfffff);
    double root;
    __asm__("vsqrt.f64 %P0, %P1" : "=w"(root) : "w"(wide));
    return (uint32_t)root;
#else
    uint32_t root = 0, rest = 0, digits = (uint32_t)(x >> 20);
    for (int32_t left = 26; left > 0; --left) {
        if (left == 10) {
            digits = (uint32_t)x << 12;
        }
        rest = rest << 2 | digits >> 30;
        digits <<= 2;
        root <<= 1;
        if (rest > root << 1) {
            rest -= root << 1 | 1;
            root |= 1;
        }
    }
    return root;
#endif""",
        lambda x: np.sqrt(x.astype(np.float64)).astype(np.int64),
        defined=lambda x: (x >= 0) & (x < 1 << 52),
        comment="""\
The root of x < 2^52, rounded down: that of a double where the core has it, else a bit for two of x, from the highest
   on, of which the first 16 come from the upper 32 bits.""",
    )
)


CLIP_INT16 = instruction(
    Instruction(
        "clip_int16",
        None,
        {"x": "int32"},
        "int32",
        "    return x < -32768 ? -32768 : x > 32767 ? 32767 : x;",
        lambda x: np.clip(x, -(1 << 15), (1 << 15) - 1),
        comment="The nearest number that int16 has.",
    )
)


def interpolated(table: Array, x: Array) -> Array:
    place = np.clip(x, -(1 << 15), (1 << 15) - 1) + (1 << 15)
    low, high = (table[(place >> 7) + i].astype(np.int32) for i in (0, 1))
    return np.asarray(low + ((high - low) * (place & 127) + 64 >> 7))


INTERPOLATE = instruction(
    Instruction(
        "interpolate",
        None,
        {"table": "const int16*", "x": "int32"},
        "int32",
        """\
    const int32_t place = (x < -32768 ? -32768 : x > 32767 ? 32767 : x) + 32768;
    const int16_t *const entry = table + (place >> 7);
    return entry[0] + (((entry[1] - entry[0]) * (place & 127) + 64) >> 7);""",
        interpolated,
        comment="""\
The function of a table of 513 entries, 128 apart, between the two at the nearest int16.""",
        spans={"table": Span("1026")},
    )
)

CLIP_BYTES = instruction(
    Instruction(
        "clip_bytes",
        None,
        {"y": "int8*", **dict.fromkeys(("low", "high", "count"), "int32")},
        "void",
        """\
    for (int32_t i = 0; i < count; ++i) {
        y[i] = (int8_t)(y[i] < low ? low : y[i] > high ? high : y[i]);
    }""",
        lambda y, low, high: np.clip(y, low, high),
        comment="Brings elements to the nearest between two limits.",
        spans={"y": Span("count")},
    )
)


def products_added(a: Array, b: Array, total: Array) -> Array:
    low, high = (x.astype(np.int16).astype(np.int64) for x in (a, b)), ((x >> 16).astype(np.int64) for x in (a, b))
    return np.asarray(total + np.prod(list(low), axis=0) + np.prod(list(high), axis=0))


ADD_PRODUCTS = instruction(
    Instruction(
        "add_products",
        None,
        {"a": "int32", "b": "int32", "total": "int32"},
        "int32",
        "    return total + (int16_t)a * (int16_t)b + (a >> 16) * (b >> 16);",
        products_added,
        defined=lambda a, b, total: (
            (np.abs(products_added(a, b, total)) < 1 << 31)
            & (np.abs(products_added(a & 0xFFFF, b & 0xFFFF, total)) < 1 << 31)
        ),
        comment="The total plus the products of the two halves of a and b.",
        depth=2,
    )
)

PAIR_AT = instruction(
    Instruction(
        "pair_at",
        None,
        {"x": "const int16*"},
        "int32",
        "    return (int32_t)((uint32_t)x[1] << 16 | (uint16_t)x[0]);",
        lambda x: x[..., 1].astype(np.int32) << 16 | x[..., 0].view(np.uint16),
        comment="Two elements side by side in one word, the first in the lower half.",
        spans={"x": Span("4")},
    )
)

FILL_ROWS: dict[str, Instruction] = {}
MOVE_ROWS: dict[str, Instruction] = {}
for _dtype, _bytes in (("int16", 2), ("uint8", 1)):
    FILL_ROWS[_dtype] = instruction(
        Instruction(
            f"fill_rows_{_dtype}",
            None,
            {"target": f"{_dtype}*", **dict.fromkeys(("value", "width", "lines", "pitch"), "int32")},
            "void",
            f"""\
    for (int32_t line = 0; line < lines; ++line) {{
        for (int32_t i = 0; i < width; ++i) {{
            target[line * pitch + i] = ({C_TYPES[_dtype]})value;
        }}
    }}""",
            lambda value: value,
            comment="Sets as many elements as the width of each of some rows.",
            spans={"target": Span(f"{_bytes} * width", (("lines", f"{_bytes} * pitch"),))},
            apart=_dtype == "int16",
        )
    )
    MOVE_ROWS[_dtype] = instruction(
        Instruction(
            f"move_rows_{_dtype}",
            None,
            {"target": f"{_dtype}*", "source": f"const {_dtype}*", "count": "int32"},
            "void",
            """\
    for (int32_t i = 0; i < count; ++i) {
        target[i] = source[i];
    }""",
            lambda source: source,
            comment="Moves elements to lower places; the two may overlap.",
            spans=dict.fromkeys(("target", "source"), Span(f"{_bytes} * count")),
        )
    )

COPY_RUNS = instruction(
    Instruction(
        "copy_runs",
        None,
        {"target": "int8*", "source": "const int8*", "length": "int32", "count": "int32", "step": "int32"},
        "void",
        """\
    for (int32_t run = 0; run < count; ++run) {
        for (int32_t i = 0; i < length; ++i) {
            *target++ = source[i];
        }
        source += step;
    }""",
        lambda source: source,
        comment="Copies runs that begin a step apart to one line.",
        spans={"target": Span("length * count"), "source": Span("length", (("count", "step"),))},
    )
)

COUNT_ONES = instruction(
    Instruction(
        "count_ones",
        None,
        {"word": "uint32"},
        "uint32",
        """\
    word -= (word >> 1) & 0x55555555u;
    word = (word & 0x33333333u) + ((word >> 2) & 0x33333333u);
    word = (word + (word >> 4)) & 0x0f0f0f0fu;
    return (word * 0x01010101u) >> 24;""",
        lambda word: np.asarray(np.unpackbits(word.view(np.uint8).reshape(-1, 4), axis=1).sum(axis=1)),
    )
)

for _dtype in C_TYPES:
    for _name, _sign, _compare in (("min", "<", np.less), ("max", ">", np.greater)):
        instruction(
            Instruction(
                f"{_name}_{_dtype}",
                None,
                {"a": _dtype, "b": _dtype},
                _dtype,
                f"    return a {_sign} b ? a : b;",
                lambda a, b, compare=_compare: np.asarray(np.where(compare(a, b), a, b)),
            )
        )
