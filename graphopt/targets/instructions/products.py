"""Routines that sum many products of int8 at once: their twins in C, their meaning, and how operands are packed.

Two products are one multiplication of 16 bits where weights stand in pairs, 256 w1 + w0, and elements x0, x1 are
*expanded* to x1 - 127 and 256 x0 - (x1 - 127), which fit 16 bits (256 x0 - x1 does not):

    (x1 - 127) (256 w1 + w0) + (256 x0 - (x1 - 127)) w0 = 256 (x0 w0 + x1 w1) - 127 * 256 w1

The last term is added to the bias. So the weights stay in bytes, and what is accumulated is 256 times the sum, exactly
as long as this has 23 bits. A *block* is four elements in depth, one word of weights and two words of elements.

Where speed is worth twice the bytes, weights are *wide*: pairs of 16 bits, two words in a block, and elements are
widened to such pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from textwrap import indent

import numpy as np

from graphopt.ir import Array
from graphopt.targets.instructions.base import Instruction, Span, instruction

BLOCK = 4
"""Elements in one word of weights."""
FACTOR_BITS = 8
"""By so many bits the accumulators are shifted up."""
LEAST_WEIGHT = -127
"""A pair with -128 in front of a negative weight does not fit 16 bits."""
PIXELS = 2
CHANNELS_OF_PAIRS = 2
CHANNELS_OF_ROW = 4
MOST_SUM = (1 << 31 - FACTOR_BITS) - 1


def pair(low: Array, high: Array) -> Array:
    """Two numbers of 16 bits in one word, the first in the lower half."""
    return np.asarray((high.astype(np.int64) << 16 | low.astype(np.int64) & 0xFFFF).astype(np.uint32).view(np.int32))


def halves(words: Array) -> Array:
    """The two signed halves of each word, [..., 2], int64."""
    return np.ascontiguousarray(words).view(np.int16).reshape(*words.shape, 2).astype(np.int64)


def expanded(elements: Array) -> Array:
    """Elements [..., 4 * blocks] int8 as [..., blocks, 2] int32: of each block the odd ones, then the even ones."""
    x0, x1, x2, x3 = np.moveaxis(elements.astype(np.int64).reshape(*elements.shape[:-1], -1, BLOCK), -1, 0)
    return np.stack([pair(x1 - 127, x3 - 127), pair(256 * x0 - x1 + 127, 256 * x2 - x3 + 127)], axis=-1)


def packed_weights(weight: Array) -> Array:
    """Weights [channels, 4 * blocks] of at least -127 as words [channels, blocks]."""
    w0, w1, w2, w3 = np.moveaxis(weight.astype(np.int64).reshape(len(weight), -1, BLOCK), -1, 0)
    return pair(256 * w1 + w0, 256 * w3 + w2)


def packed_bias(weight: Array, bias: Array) -> Array:
    """What accumulators of the channels of ``packed_weights`` start with, which may wrap around."""
    start = bias.astype(np.int64) + 127 * weight[:, 1::2].sum(axis=1, dtype=np.int64)
    return np.asarray((start << FACTOR_BITS).astype(np.uint64).astype(np.uint32).view(np.int32))


def widened(elements: Array) -> Array:
    """Elements or weights [..., 4 * blocks] as [..., blocks, 2] int32: of each block the even, then the odd ones."""
    x0, x1, x2, x3 = np.moveaxis(elements.astype(np.int64).reshape(*elements.shape[:-1], -1, BLOCK), -1, 0)
    return np.stack([pair(x0, x2), pair(x1, x3)], axis=-1)


def stream(weight: Array, bias: Array, scaling: Array, side_by_side: int, wide: bool = False) -> Array:
    """All words that a routine reads, of channels in groups of so many: biases, weights block by block, scaling.

    weight int8 [channels, depth], bias [channels], scaling int32 [channels, n]: nothing for sums, or multiplier, addend
    and shift. Depth is filled up to blocks with zeros, and so are channels to groups.
    """
    rows = np.pad(weight, ((0, -len(weight) % side_by_side), (0, -weight.shape[1] % BLOCK)))
    biases = np.pad(bias.astype(np.int64), (0, len(rows) - len(bias)))
    scalings = np.pad(scaling, ((0, len(rows) - len(scaling)), (0, 0))).reshape(len(rows) // side_by_side, -1)
    words = widened(rows) if wide else packed_weights(rows)[..., None]
    words = words.reshape(-1, side_by_side, *words.shape[1:])
    starts = biases.astype(np.int32) if wide else packed_bias(rows, biases)
    starts = starts.reshape(-1, side_by_side)
    blocks = words.transpose(0, 2, 3, 1).reshape(len(words), -1)
    return np.ascontiguousarray(np.concatenate([starts, blocks, scalings], axis=1, dtype=np.int32)).ravel()


EXPANDED = """\
        const int32_t x1 = {x}[4 * i + 1] - 127, x3 = {x}[4 * i + 3] - 127;
        target[{at}] = (int32_t)((uint32_t)x3 << 16 | ((uint32_t)x1 & 0xffffu));
        target[{at} + 1] = (int32_t)((uint32_t)(256 * {x}[4 * i + 2] - x3) << 16
            | ((uint32_t)(256 * {x}[4 * i] - x1) & 0xffffu));
"""
WIDENED = """\
        target[{at}] = (int32_t)((uint32_t){x}[4 * i + 2] << 16 | ((uint32_t){x}[4 * i] & 0xffffu));
        target[{at} + 1] = (int32_t)((uint32_t){x}[4 * i + 3] << 16 | ((uint32_t){x}[4 * i + 1] & 0xffffu));
"""
"""The C for one word of elements."""


def one_by_one(name: str, text: str, meaning: Callable[[Array], Array], comment: str) -> Instruction:
    """The routine that brings words of one pixel into a form."""
    return instruction(
        Instruction(
            name,
            None,
            {"target": "int32*", "source": "const int8*", "words": "int32"},
            "void",
            f"    for (int32_t i = 0; i < words; ++i) {{\n{text.format(x='source', at='2 * i')}    }}",
            meaning,
            comment=comment,
            depth=BLOCK,
            spans={"target": Span("8 * words"), "source": Span("4 * words")},
        )
    )


def two_in_turn(name: str, text: str, meaning: Callable[[Array], Array], comment: str) -> Instruction:
    """The same of two pixels."""
    first, second = text.format(x="first", at="4 * i"), text.format(x="second", at="4 * i + 2")
    return instruction(
        Instruction(
            name,
            None,
            {"target": "int32*", "first": "const int8*", "second": "const int8*", "words": "int32"},
            "void",
            f"    for (int32_t i = 0; i < words; ++i) {{\n        {{\n{first}        }}\n{second}    }}",
            lambda first, second: np.stack([meaning(first), meaning(second)], axis=1),
            comment=comment,
            depth=BLOCK,
            spans={"target": Span("16 * words"), "first": Span("4 * words"), "second": Span("4 * words")},
        )
    )


EXPAND_WORDS = one_by_one(
    "expand_words",
    EXPANDED,
    lambda source: expanded(source),
    """\
Expands words of four elements each to two words of two pairs: (x1 - 127, x3 - 127), and 256 times (x0, x2) less
   that.""",
)
EXPAND_PAIR = two_in_turn(
    "expand_pair",
    EXPANDED,
    lambda source: expanded(source),
    "Expands the words of two pixels so, in turn.",
)
WIDEN_WORDS = one_by_one(
    "widen_words",
    WIDENED,
    lambda source: widened(source),
    "Widens words of four elements each to two words of two pairs: (x0, x2), (x1, x3).",
)
WIDEN_PAIR = two_in_turn(
    "widen_pair", WIDENED, lambda source: widened(source), "Widens the words of two pixels so, in turn."
)

GATHER_PAIR = instruction(
    Instruction(
        "gather_pair",
        None,
        {
            "target": "int32*",
            "source": "const int32*",
            **dict.fromkeys(("distance", "blocks", "runs", "skipped"), "int32"),
        },
        "void",
        """\
    for (int32_t run = 0; run < runs; ++run) {
        for (int32_t i = 0; i < blocks; ++i) {
            *target++ = source[0];
            *target++ = source[1];
            *target++ = source[distance];
            *target++ = source[distance + 1];
            source += 2;
        }
        source += skipped;
    }""",
        lambda first, second: np.stack([first, second], axis=1),
        comment="""\
Copies the expanded words of two pixels, which are a distance apart, block by block in turn: runs of blocks, between
   which words are skipped.""",
        depth=BLOCK,
        spans={
            "target": Span("16 * blocks * runs"),
            "source": Span("8 * blocks", (("runs", "8 * blocks + 4 * skipped"), ("2", "4 * distance"))),
        },
    )
)


def twin(results: list[str], side_by_side: int, scaled: bool, wide: bool, to: str) -> str:
    """The C of a routine: sums of one pixel for each result, by groups of channels."""
    pixels, words = len(results), "2 * blocks" if wide else "blocks"
    low, high = np.iinfo(to).min, np.iinfo(to).max
    lines = [
        "    for (int32_t group = 0; group < groups; ++group) {",
        f"        for (int32_t c = 0; c < {side_by_side}; ++c) {{",
        f"            const int32_t *const s = w + {side_by_side} * ({words} + 1) + 3 * c;" * scaled,
    ]
    for p, result in enumerate(results):
        at = f"{result}[{side_by_side} * group + c]"
        lines += [
            f"            uint32_t sum{p} = (uint32_t)w[c];",
            "            for (int32_t i = 0; i < blocks; ++i) {",
            f"                const int32_t a = x[{2 * pixels} * i + {2 * p}], b = x[{2 * pixels} * i + {2 * p + 1}];",
            *(f"                {line}" for line in block_of(f"sum{p}", side_by_side, wide)),
            "            }",
        ]
        if scaled:
            upper = f"(int32_t)((int64_t)(int32_t)sum{p} * s[0] >> 32)"
            lines += [
                f"            const int32_t y{p} = ({upper} + s[1]) >> s[2];",
                f"            {at} = ({to}_t)(y{p} < {low} ? {low} : y{p} > {high} ? {high} : y{p});",
            ]
        else:
            lines += [f"            {at} = (int32_t)sum{p}{'' if wide else f' >> {FACTOR_BITS}'};"]
    step = f"{side_by_side} * ({words} + {4 if scaled else 1})"
    return "\n".join([*filter(None, lines), "        }", f"        w += {step};", "    }"])


def block_of(total: str, side_by_side: int, wide: bool) -> list[str]:
    """The products of one block, whose elements are a and b."""
    if wide:
        return [
            f"const int32_t u = w[{side_by_side} * (2 * i + 1) + c], v = w[{side_by_side} * (2 * i + 2) + c];",
            f"{total} += (uint32_t)((int16_t)a * (int16_t)u + (a >> 16) * (u >> 16));",
            f"{total} += (uint32_t)((int16_t)b * (int16_t)v + (b >> 16) * (v >> 16));",
        ]
    return [
        f"const int32_t v = w[{side_by_side} * (i + 1) + c];",
        f"{total} += (uint32_t)((int16_t)a * (int16_t)v + (a >> 16) * (v >> 16));",
        f"{total} += (uint32_t)((int16_t)b * (int8_t)v + (b >> 16) * (int8_t)(v >> 16));",
    ]


def sums(x: Array, w: Array, side_by_side: int, scaled: bool, wide: bool, to: str) -> Array:
    """What a routine gives, [pixels, channels], of expanded elements [blocks, pixels, 2] and a ``stream``."""
    words = 2 if wide else 1
    groups = w.reshape(-1, side_by_side * (words * len(x) + (4 if scaled else 1)))
    weights = groups[:, side_by_side : side_by_side * (words * len(x) + 1)]
    pairs = halves(weights.reshape(len(groups), len(x), words, side_by_side))
    first, second = (pairs[:, :, 0], pairs[:, :, 1]) if wide else (pairs[:, :, 0], (pairs[:, :, 0] + 128 & 255) - 128)
    elements = halves(x)
    found = np.einsum("bph,gbch->pgc", elements[:, :, 0], first) + np.einsum("bph,gbch->pgc", elements[:, :, 1], second)
    acc = (found + groups[:, :side_by_side]).astype(np.uint64).astype(np.uint32).view(np.int32).astype(np.int64)
    if scaled:
        multiplier, addend, shift = np.moveaxis(groups[:, -3 * side_by_side :].reshape(-1, side_by_side, 3), 2, 0)
        limits = np.iinfo(to)
        acc = np.clip(((acc * multiplier >> 32) + addend) >> shift, limits.min, limits.max)
    elif not wide:
        acc = acc >> FACTOR_BITS
    return np.asarray(acc.reshape(len(acc), -1).astype(to if scaled else np.int32))


def bare_routine(scaled: bool) -> Instruction:
    """The routine of one pixel that expands its elements on the way, anew for each group of channels."""
    dtype = "int8" if scaled else "int32"
    expanding = f"""\
    int32_t target[2];
    for (int32_t group = 0; group < groups; ++group) {{
        uint32_t sums[{CHANNELS_OF_ROW}];
        for (int32_t c = 0; c < {CHANNELS_OF_ROW}; ++c) {{
            sums[c] = (uint32_t)w[c];
        }}
        for (int32_t i = 0; i < blocks; ++i) {{
{indent(EXPANDED.format(x="x", at="0"), "    ")}\
            const int32_t a = target[0], b = target[1];
            for (int32_t c = 0; c < {CHANNELS_OF_ROW}; ++c) {{
"""
    products = [f"                {line}" for line in block_of("sums[c]", CHANNELS_OF_ROW, wide=False)]
    place = f"y[{CHANNELS_OF_ROW} * group + c]"
    stored = [
        f"            const int32_t *const s = w + {CHANNELS_OF_ROW} * (blocks + 1) + 3 * c;",
        "            const int32_t upper = (int32_t)((int64_t)(int32_t)sums[c] * s[0] >> 32);",
        "            const int32_t scaled = (upper + s[1]) >> s[2];",
        f"            {place} = (int8_t)(scaled < -128 ? -128 : scaled > 127 ? 127 : scaled);",
    ]
    lines = [
        *products,
        "            }",
        "        }",
        f"        for (int32_t c = 0; c < {CHANNELS_OF_ROW}; ++c) {{",
        *(stored if scaled else [f"            {place} = (int32_t)sums[c] >> {FACTOR_BITS};"]),
        "        }",
        f"        w += {CHANNELS_OF_ROW} * (blocks + {4 if scaled else 1});",
        "    }",
    ]
    return instruction(
        Instruction(
            f"{VERBS[dtype]}_bare_row",
            None,
            {"x": "const int8*", "w": "const int32*", "y": f"{dtype}*", "blocks": "int32", "groups": "int32"},
            "void",
            expanding + "\n".join(lines),
            lambda x, w: sums(expanded(x).transpose(1, 0, 2), w, CHANNELS_OF_ROW, scaled, False, "int8"),
            comment="""\
Sums of products of elements x, which are expanded on the way, and packed weights w, block by block, for groups of four
   channels of one pixel"""
            + ("; each sum is scaled to 8 bits." if scaled else "."),
            depth=BLOCK,
            lanes=CHANNELS_OF_ROW,
            spans={
                "x": Span("4 * blocks"),
                "w": Span(f"{4 * CHANNELS_OF_ROW} * groups * (blocks + {4 if scaled else 1})"),
                "y": Span(f"{np.dtype(dtype).itemsize * CHANNELS_OF_ROW} * groups"),
            },
        )
    )


VERBS = {"int8": "multiply", "int16": "scale", "int32": "sum"}
"""What routines do, by what they give, as their names say it."""


def routine(pixels: int, scaled: bool, wide: bool, to: str = "int8") -> Instruction:
    """A routine over groups of channels, of one pixel or two; it scales sums to a dtype."""
    names, lanes = (["y"], CHANNELS_OF_ROW) if pixels == 1 else (["first", "second"], CHANNELS_OF_PAIRS)
    dtype = to if scaled else "int32"
    size = np.dtype(dtype).itemsize
    words = f"{lanes} * groups * ({'2 * blocks' if wide else 'blocks'} + {4 if scaled else 1})"
    operands = "widened elements x and wide weights w" if wide else "expanded elements x and packed weights w"
    what = "four channels\n   of one pixel" if pixels == 1 else "two channels\n   of two pixels"
    comment = f"Sums of products of {operands}, block by block, for groups of {what}"
    comment += f"; each sum is scaled to {8 * size} bits." if scaled else "."
    return instruction(
        Instruction(
            f"{VERBS[dtype]}_{'wide_' * wide}{'row' if pixels == 1 else 'pairs'}",
            None,
            {
                "x": "const int32*",
                "w": "const int32*",
                **dict.fromkeys(names, f"{dtype}*"),
                "blocks": "int32",
                "groups": "int32",
            },
            "void",
            twin(names, lanes, scaled, wide, to),
            lambda x, w: sums(x, w, lanes, scaled, wide, to),
            comment=comment,
            depth=BLOCK,
            lanes=lanes,
            spans={
                "x": Span(f"{8 * pixels} * blocks"),
                "w": Span(f"4 * {words}"),
                **dict.fromkeys(names, Span(f"{size * lanes} * groups")),
            },
        )
    )


@dataclass(frozen=True)
class Form:
    """How elements and weights stand in words: sums are shifted up by ``bits``, and no weight is below the least.

    A block of elements has so many ``words``. Routines of ``bare`` elements expand them on the way; they are found by
    whether they scale.

    ``elements`` of one pixel, or of two in turn, are brought into it by routines, as ``of`` has it in numpy; others,
    found by whether they take one pixel, and whether they scale, sum the products with a ``stream``.
    """

    of: Callable[[Array], Array]
    elements: Mapping[int, Instruction]
    routines: Mapping[tuple[bool, bool], Instruction]
    stream: Callable[[Array, Array, Array, int], Array]
    bits: int
    least_weight: int
    words: int = 2
    bare: Mapping[bool, Instruction] = field(default_factory=dict)


def routines(wide: bool) -> dict[tuple[bool, bool], Instruction]:
    return {(pixels == 1, scaled): routine(pixels, scaled, wide) for pixels in (2, 1) for scaled in (True, False)}


PACKED = Form(
    expanded,
    {1: EXPAND_WORDS, 2: EXPAND_PAIR},
    routines(wide=False),
    stream,
    FACTOR_BITS,
    LEAST_WEIGHT,
    bare={scaled: bare_routine(scaled) for scaled in (True, False)},
)
WIDE = Form(widened, {1: WIDEN_WORDS, 2: WIDEN_PAIR}, routines(wide=True), partial(stream, wide=True), 0, -128)
SUM_ROW = PACKED.routines[True, False]
SCALE_ROW = routine(1, True, wide=False, to="int16")
