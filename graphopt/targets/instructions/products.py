"""Routines that sum many products of int8 at once: their twins in C, their meaning, and how operands are packed.

Two products are one multiplication of 16 bits where weights stand in pairs, 256 w1 + w0, and elements x0, x1 are
*expanded* to x1 - 127 and 256 x0 - (x1 - 127), which fit 16 bits (256 x0 - x1 does not):

    (x1 - 127) (256 w1 + w0) + (256 x0 - (x1 - 127)) w0 = 256 (x0 w0 + x1 w1) - 127 * 256 w1

The last term is added to the bias. So the weights stay in bytes, and what is accumulated is 256 times the sum, exactly
as long as this has 23 bits. A *block* is four elements in depth, one word of weights and two words of elements.
"""

from __future__ import annotations

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


def stream(weight: Array, bias: Array, scaling: Array, side_by_side: int) -> Array:
    """All words that a routine reads, of channels in groups of so many: biases, weights block by block, scaling.

    weight int8 [channels, depth], bias [channels], scaling int32 [channels, n]: nothing for sums, or multiplier, addend
    and shift. Depth is filled up to blocks with zeros, and so are channels to groups.
    """
    rows = np.pad(weight, ((0, -len(weight) % side_by_side), (0, -weight.shape[1] % BLOCK)))
    biases = np.pad(bias.astype(np.int64), (0, len(rows) - len(bias)))
    scalings = np.pad(scaling, ((0, len(rows) - len(scaling)), (0, 0))).reshape(len(rows) // side_by_side, -1)
    words = packed_weights(rows).reshape(-1, side_by_side, rows.shape[1] // BLOCK)
    starts = packed_bias(rows, biases).reshape(-1, side_by_side)
    blocks = words.transpose(0, 2, 1).reshape(len(words), -1)
    return np.ascontiguousarray(np.concatenate([starts, blocks, scalings], axis=1, dtype=np.int32)).ravel()


EXPANDED = """\
        const int32_t x1 = {x}[4 * i + 1] - 127, x3 = {x}[4 * i + 3] - 127;
        target[{at}] = (int32_t)((uint32_t)x3 << 16 | ((uint32_t)x1 & 0xffffu));
        target[{at} + 1] = (int32_t)((uint32_t)(256 * {x}[4 * i + 2] - x3) << 16
            | ((uint32_t)(256 * {x}[4 * i] - x1) & 0xffffu));
"""
"""The C for one word of elements."""

EXPAND_WORDS = instruction(
    Instruction(
        "expand_words",
        None,
        {"target": "int32*", "source": "const int8*", "words": "int32"},
        "void",
        f"    for (int32_t i = 0; i < words; ++i) {{\n{EXPANDED.format(x='source', at='2 * i')}    }}",
        lambda source: expanded(source),
        comment="""\
Expands words of four elements each to two words of two pairs: (x1 - 127, x3 - 127), and 256 times (x0, x2) less
   that.""",
        depth=BLOCK,
        spans={"target": Span("8 * words"), "source": Span("4 * words")},
    )
)

EXPAND_PAIR = instruction(
    Instruction(
        "expand_pair",
        None,
        {"target": "int32*", "first": "const int8*", "second": "const int8*", "words": "int32"},
        "void",
        "\n".join(
            [
                "    for (int32_t i = 0; i < words; ++i) {",
                f"        {{\n{EXPANDED.format(x='first', at='4 * i')}        }}",
                EXPANDED.format(x="second", at="4 * i + 2") + "    }",
            ]
        ),
        lambda first, second: np.stack([expanded(first), expanded(second)], axis=1),
        comment="Expands the words of two pixels in the same way, in turn.",
        depth=BLOCK,
        spans={"target": Span("16 * words"), "first": Span("4 * words"), "second": Span("4 * words")},
    )
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


def twin(results: list[str], side_by_side: int, scaled: bool) -> str:
    """The C of a routine: sums of one pixel for each result, by groups of channels."""
    pixels = len(results)
    lines = [
        "    for (int32_t group = 0; group < groups; ++group) {",
        f"        for (int32_t c = 0; c < {side_by_side}; ++c) {{",
        f"            const int32_t *const s = w + {side_by_side} * (blocks + 1) + 3 * c;" * scaled,
    ]
    for p, result in enumerate(results):
        at = f"{result}[{side_by_side} * group + c]"
        lines += [
            f"            uint32_t sum{p} = (uint32_t)w[c];",
            "            for (int32_t i = 0; i < blocks; ++i) {",
            f"                const int32_t a = x[{2 * pixels} * i + {2 * p}], b = x[{2 * pixels} * i + {2 * p + 1}];",
            f"                const int32_t v = w[{side_by_side} * (i + 1) + c];",
            f"                sum{p} += (uint32_t)((int16_t)a * (int16_t)v + (a >> 16) * (v >> 16));",
            f"                sum{p} += (uint32_t)((int16_t)b * (int8_t)v + (b >> 16) * (int8_t)(v >> 16));",
            "            }",
        ]
        if scaled:
            upper = f"(int32_t)((int64_t)(int32_t)sum{p} * s[0] >> 32)"
            lines += [
                f"            const int32_t y{p} = ({upper} + s[1]) >> s[2];",
                f"            {at} = (int8_t)(y{p} < -128 ? -128 : y{p} > 127 ? 127 : y{p});",
            ]
        else:
            lines += [f"            {at} = (int32_t)sum{p} >> {FACTOR_BITS};"]
    words = f"{side_by_side} * (blocks + {4 if scaled else 1})"
    return "\n".join([*filter(None, lines), "        }", f"        w += {words};", "    }"])


def sums(x: Array, w: Array, side_by_side: int, scaled: bool) -> Array:
    """What a routine gives, [pixels, channels], of expanded elements [blocks, pixels, 2] and a ``stream``."""
    groups = w.reshape(-1, side_by_side * (len(x) + (4 if scaled else 1)))
    weights = halves(groups[:, side_by_side : side_by_side * (len(x) + 1)].reshape(len(groups), len(x), side_by_side))
    low = (weights + 128 & 255) - 128
    found = np.einsum("bpjh,gbch->pgc", halves(x)[:, :, :1], weights) + np.einsum(
        "bpjh,gbch->pgc", halves(x)[:, :, 1:], low
    )
    acc = (found + groups[:, :side_by_side]).astype(np.uint64).astype(np.uint32).view(np.int32).astype(np.int64)
    if scaled:
        multiplier, addend, shift = np.moveaxis(groups[:, -3 * side_by_side :].reshape(-1, side_by_side, 3), 2, 0)
        acc = np.clip(((acc * multiplier >> 32) + addend) >> shift, -128, 127)
    else:
        acc = acc >> FACTOR_BITS
    return np.asarray(acc.reshape(len(acc), -1).astype(np.int8 if scaled else np.int32))


def routine(name: str, results: list[str], side_by_side: int, scaled: bool, comment: str) -> Instruction:
    """A routine over groups of channels, of as many pixels as it has results."""
    kind, size = ("int8*", 1) if scaled else ("int32*", 4)
    operands = {"x": "const int32*", "w": "const int32*", **dict.fromkeys(results, kind)}
    written = dict.fromkeys(results, Span(f"{size * side_by_side} * groups"))
    words = f"{side_by_side} * groups * (blocks + {4 if scaled else 1})"
    read = {"x": Span(f"{8 * len(results)} * blocks"), "w": Span(f"4 * {words}")}
    return instruction(
        Instruction(
            name,
            None,
            {**operands, "blocks": "int32", "groups": "int32"},
            "void",
            twin(results, side_by_side, scaled),
            lambda x, w: sums(x, w, side_by_side, scaled),
            comment=comment,
            depth=BLOCK,
            lanes=side_by_side,
            spans={**read, **written},
        )
    )


SUMMED = "Sums of products of expanded elements x and packed weights w, block by block, for groups of"
MULTIPLY_PAIRS = routine(
    "multiply_pairs",
    ["first", "second"],
    CHANNELS_OF_PAIRS,
    True,
    f"{SUMMED} two channels\n   and for two pixels; each sum is scaled to 8 bits.",
)
SUM_PAIRS = routine(
    "sum_pairs", ["first", "second"], CHANNELS_OF_PAIRS, False, f"{SUMMED} two channels\n   and for two pixels."
)
MULTIPLY_ROW = routine(
    "multiply_row", ["y"], CHANNELS_OF_ROW, True, f"{SUMMED} four channels;\n   each sum is scaled to 8 bits."
)
SUM_ROW = routine("sum_row", ["y"], CHANNELS_OF_ROW, False, f"{SUMMED} four channels.")
