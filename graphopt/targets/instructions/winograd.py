"""Winograd's convolution F(2x2, 3x3) of int8, exactly: routines in C, their meaning, and how their operands are packed.

A tile of 4x4 inputs d gives 2x2 results A^T ((G w G^T) * (B^T d B)) A, where * goes element by element and is summed
over channels: 16 products where the direct form has 36. G has halves in it. With 2 G in its place all are integers, and
the results are 4 times the sums of the direct form: exactly, if these have 30 bits, though sums on the way may wrap
around. Transformed elements, sums of four, have 11 bits, and transformed weights 12.

Routines take two tiles side by side, over 6x4 inputs, and two channels: a *block* is four elements in depth, of which
words have the even and the odd ones, as in ``products``.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from graphopt.ir import Array
from graphopt.targets.instructions.base import Instruction, Span, instruction
from graphopt.targets.instructions.products import BLOCK, halves, widened

INPUT = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
"""B^T."""
DOUBLED = ((2, 0, 0), (1, 1, 1), (1, -1, 1), (0, 0, 2))
"""2 G."""
RESULT = ((1, 1, 1, 0), (0, 1, -1, -1))
"""A^T."""
SIDE, STEP, PLACES = 4, 2, 16
"""Of a tile: the inputs along an axis, the results along it, and the products."""
TILES, CHANNELS = 2, 2
"""That a routine takes at once."""
COLUMNS = STEP * TILES
"""Of results."""
PATCH = COLUMNS + SIDE - STEP
"""Columns of inputs."""
COLUMN_BYTES, SUM_BYTES = 4 * PATCH * 2 * SIDE, 4 * PLACES * TILES * CHANNELS
"""That routines need for words of their own, one after the other."""
FACTOR_BITS = 2
"""By so many bits the sums are shifted up."""
MOST_BLOCKS = 16
"""Of the routines that have no loop over them."""


def spread(patch: Array) -> Array:
    """Elements [4, 6, 4 * blocks] of two tiles, transformed, as words [16, blocks, 2 halves, 2 tiles]."""
    matrix, elements = np.array(INPUT), patch.astype(np.int64)
    tiles = [np.einsum("ai,ijc,bj->abc", matrix, elements[:, STEP * t :][:, :SIDE], matrix) for t in range(TILES)]
    words = widened(np.stack([tile.reshape(PLACES, -1) for tile in tiles]))
    return np.ascontiguousarray(words.transpose(1, 2, 3, 0))


def transformed(weight: Array) -> Array:
    """Weights [o, c, 3, 3] as 2 G w (2 G)^T, [o, 16, c]; they have 16 bits whatever int8 they are."""
    places = np.einsum("ai,ocij,bj->oabc", DOUBLED, weight.astype(np.int64), DOUBLED)
    return np.asarray(places.reshape(len(weight), PLACES, -1))


def stream(weight: Array, bias: Array, scaling: Array) -> Array:
    """All words that a routine reads: of each two channels transformed weights, place by place, then other numbers.

    weight int8 [channels, c, 3, 3], bias [channels], scaling int32 [channels, n]: nothing for sums, or multiplier,
    addend and shift of sums that are shifted up. Depth is filled up to blocks with zeros, and channels to pairs.
    """
    places = transformed(weight)
    spare = -len(places) % CHANNELS
    words = widened(np.pad(places, ((0, spare), (0, 0), (0, -places.shape[2] % BLOCK))))
    pairs = words.reshape(-1, CHANNELS, *words.shape[1:]).transpose(0, 2, 3, 4, 1).reshape(len(words) // CHANNELS, -1)
    starts = (bias.astype(np.int64) << FACTOR_BITS).astype(np.uint64).astype(np.uint32).view(np.int32)
    numbers = np.pad(np.column_stack([scaling, starts]), ((0, spare), (0, 0))).reshape(len(pairs), -1)
    return np.ascontiguousarray(np.concatenate([pairs, numbers], axis=1, dtype=np.int32)).ravel()


def meant(x: Array, w: Array, scaled: bool) -> Array:
    """The results [channels, 2, 4] of words ``spread`` and a ``stream``."""
    blocks, count = x.shape[1], 4 if scaled else 1
    groups = w.reshape(-1, CHANNELS * (PLACES * blocks * 2 + count))
    weights = halves(groups[:, : -CHANNELS * count].reshape(len(groups), PLACES, blocks, 2, CHANNELS))
    products = np.einsum("pbhtk,gpbhck->gctp", halves(x), weights).reshape(len(groups), CHANNELS, TILES, SIDE, SIDE)
    found = np.einsum("ri,gctij,sj->gcrts", RESULT, products, RESULT).reshape(-1, STEP, COLUMNS)
    numbers = groups[:, -CHANNELS * count :].reshape(-1, count).astype(np.int64)
    acc = (found + numbers[:, -1, None, None]).astype(np.uint64).astype(np.uint32).view(np.int32).astype(np.int64)
    if not scaled:
        return np.asarray((acc >> FACTOR_BITS).astype(np.int32))
    multiplier, addend, shift = (numbers[:, i, None, None] for i in range(3))
    return np.asarray(np.clip(((acc * multiplier >> 32) + addend) >> shift, -128, 127).astype(np.int8))


SPREAD = instruction(
    Instruction(
        "spread_tiles",
        None,
        {
            "target": "int32*",
            "source": "const int8*",
            "columns": "int8*",
            **dict.fromkeys(("blocks", "pitch", "step"), "int32"),
        },
        "void",
        """\
    (void)columns;
    static const int8_t from[4] = {0, 1, 2, 1}, with[4] = {2, 2, 1, 3};
    for (int32_t i = 0; i < 64 * blocks; ++i) {
        const int32_t place = i / (4 * blocks), row = place / 4, column = place % 4;
        const int8_t *const x = source + i / 4 % blocks * 4 + i / 2 % 2 + 2 * (i % 2) * step;
        int32_t v[2];
        for (int32_t k = 0; k < 2; ++k) {
            const int8_t *const a = x + 2 * k + from[row] * pitch, *const b = x + 2 * k + with[row] * pitch;
            const int32_t sign = row == 1 ? 1 : -1;
            const int32_t p = a[from[column] * step] + sign * b[from[column] * step];
            const int32_t q = a[with[column] * step] + sign * b[with[column] * step];
            v[k] = column == 1 ? p + q : p - q;
        }
        target[i] = (int32_t)((uint32_t)v[1] << 16 | ((uint32_t)v[0] & 0xffffu));
    }""",
        spread,
        comment="""\
Transforms the elements of two tiles, 6x4 pixels, for Winograd's convolution: for each place words of even and of odd
   elements, of the two tiles in turn. Columns that are transformed along one axis are kept on the way.""",
        depth=BLOCK,
        spans={
            "target": Span("256 * blocks"),
            "source": Span("4 * blocks", (("6", "step"), ("4", "pitch"))),
            "columns": Span(str(COLUMN_BYTES)),
        },
    )
)


SCALED = """\
                    const int32_t scaled = ((int32_t)((int64_t)sum * s[0] >> 32) + s[1]) >> s[2];
                    y[at] = (int8_t)(scaled < -128 ? -128 : scaled > 127 ? 127 : scaled);"""


def twin(scaled: bool) -> str:
    """The C of a routine."""
    count, stored = 1, f"                    y[at] = sum >> {FACTOR_BITS};"
    if scaled:
        count, stored = 4, SCALED
    return f"""\
    (void)sums;
    for (int32_t group = 0; group < groups; ++group, w += 64 * blocks + {2 * count}) {{
        for (int32_t i = 0; i < 4; ++i) {{
            const int32_t c = i / 2, tile = i % 2;
            const int32_t *const s = w + 64 * blocks + {count} * c;
            uint32_t m[16], t[4];
            for (int32_t place = 0; place < 16; ++place) {{
                m[place] = 0;
                for (int32_t k = 2 * place * blocks; k < 2 * (place + 1) * blocks; ++k) {{
                    const int32_t a = x[2 * k + tile], v = w[2 * k + c];
                    m[place] += (uint32_t)((int16_t)a * (int16_t)v) + (uint32_t)((a >> 16) * (v >> 16));
                }}
            }}
            for (int32_t row = 1; row >= 0; --row) {{
                for (int32_t k = 0; k < 4; ++k) {{
                    t[k] = row ? m[4 + k] - m[8 + k] - m[12 + k] : m[k] + m[4 + k] + m[8 + k];
                }}
                for (int32_t k = 0; k < 2; ++k) {{
                    const uint32_t found = k ? t[1] - t[2] - t[3] : t[0] + t[1] + t[2];
                    const int32_t sum = (int32_t)(found + (uint32_t)s[{count - 1}]);
                    const int32_t at = row * pitch + (2 * tile + k) * step + 2 * group + c;
{stored}
                }}
            }}
        }}
    }}"""


def routine(scaled: bool, deep: bool) -> Instruction:
    """A routine over pairs of channels, of at most 16 blocks or ``deep``, of two tiles; it scales sums to int8."""
    size, count = (1, 4) if scaled else (4, 1)
    ending = "; each is scaled to 8 bits" if scaled else ""
    comment = f"""\
Multiplies two transformed tiles x with transformed weights w, place by place, for pairs of channels, and transforms
   that, the sums of two channels, to 4x2 pixels{ending}.
   The second row is stored first: if pitch is 0, it gives way to the first."""
    if not deep:
        comment += f" There are at most {MOST_BLOCKS} blocks."
    return instruction(
        Instruction(
            f"{'multiply' if scaled else 'sum'}_{'deep_' * deep}tiles",
            None,
            {
                "x": "const int32*",
                "w": "const int32*",
                "y": "int8*" if scaled else "int32*",
                "sums": "int8*",
                **dict.fromkeys(("blocks", "groups", "pitch", "step"), "int32"),
            },
            "void",
            twin(scaled),
            partial(meant, scaled=scaled),
            comment=comment,
            depth=BLOCK,
            lanes=CHANNELS,
            spans={
                "x": Span("256 * blocks"),
                "w": Span(f"8 * groups * (32 * blocks + {count})"),
                "y": Span(
                    f"{CHANNELS * size} * groups",
                    (("4", "step" if size == 1 else "4 * step"), ("2", "pitch" if size == 1 else "4 * pitch")),
                ),
                "sums": Span(str(SUM_BYTES)),
            },
        )
    )


ROUTINES = {(scaled, deep): routine(scaled, deep) for deep in (False, True) for scaled in (True, False)}
"""By whether they scale, and whether they take any number of blocks."""
