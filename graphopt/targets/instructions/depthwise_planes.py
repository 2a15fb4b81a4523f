"""All loops of a depthwise convolution in one routine, which layers of any sizes share: for the fewest bytes of code.

There is one for each tile of ``dsp_depthwise``. What is another in each layer, it reads from a table.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from graphopt.ir import Array
from graphopt.targets.instructions.base import Instruction, instruction
from graphopt.targets.instructions.dsp_depthwise import Tile, depthwise_routine, taps_routine

NUMBERS = ("channels", "height", "width", "down", "across", "strip", "row", "stride", "top", "left", "zero_point")
"""What a table has: channels, the rows and columns of an operand and of its result, rows of the result in a strip, the
elements of a row in scratch, the rows between windows, the padding above and in front, and its value."""
BYTES = 520
"""About the code of one."""


@cache
def depthwise_planes(tile: Tile) -> Instruction:
    """The routine that goes over channels, and in each over strips of rows in scratch, by the routine of a tile.

    Tiles go down the rows of a strip. The last ends where the row ends, and so it may compute some pixels once more.
    """
    sums, packs = depthwise_routine(tile), taps_routine(replace(tile, alone=False, shift=None))
    return instruction(
        Instruction(
            sums.name.replace("depthwise", "depthwise_planes", 1),
            None,
            {
                "x": "const int8*",
                "weight": "const int8*",
                "bias": "const int32*",
                "scaling": "const int32*",
                "taps": "int32*",
                "rows": "int16*",
                "y": "int8*",
                "plane": "const int16*",
            },
            "void",
            body_of(tile, sums.name, packs.name),
            meant,
            comment="Depthwise convolution of planes as a table says, by strips of rows that are widened into scratch.",
            apart=True,
            nbytes=BYTES,
        )
    )


def meant(x: Array, weight: Array, bias: Array, zero_point: int, strides: tuple[int, int], pads: Array) -> Array:
    """The sums [down, across, channels] of a padded plane [height, width, channels] and weights [rows, columns, c]."""
    padded = np.pad(x.astype(np.int64), [*pads.tolist(), (0, 0)], constant_values=zero_point)
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[:2], axis=(0, 1))
    return np.asarray(
        np.einsum("yxcij,ijc->yxc", windows[:: strides[0], :: strides[1]], weight.astype(np.int64)) + bias
    )


def body_of(tile: Tile, sums: str, packs: str) -> str:
    numbers = [f"    const int32_t {name} = plane[{i}];" for i, name in enumerate(NUMBERS)]
    scaled = [f"        taps[{1 + tile.taps + i}] = numbers[{i}];" for i in range(tile.scaling)]
    size = tile.rows * tile.columns
    rows, result = f"&rows[{tile.stride} * column]", "&y[(first * across + column) * channels + c]"
    run = [
        f"for (int32_t at = 0; at < across; at += {tile.pixels}) {{",
        f"    const int32_t column = at < across - {tile.pixels} ? at : across - {tile.pixels};",
        f"    {sums}({rows}, taps, {result}, channels, row, stride * row, across * channels, size);",
        "}",
    ]
    lines = [
        *numbers,
        f"    const int32_t lines = (strip - 1) * stride + {tile.rows};",
        f"    const int32_t again = {tile.rows} > stride ? {tile.rows} - stride : 0;",
        "    fill_rows_int16(rows, zero_point, lines * row, 1, 0);",
        "    for (int32_t c = 0; c < channels; ++c) {",
        "        const int32_t *const numbers = &scaling[3 * c];",
        f"        {packs}(taps, &weight[{size} * c], &bias[c], {'0' if tile.shift is None else 'numbers[2]'});",
        *scaled,
        "        for (int32_t first = 0; first < down; first += strip) {",
        "            const int32_t begin = stride * first - top;",
        "            const int32_t size = down - first < strip ? down - first : strip;",
        "            const int32_t kept = first > 0 ? again : 0;",
        "            int32_t low = -begin > kept ? -begin : kept;",
        "            low = low < lines ? low : lines;",
        "            int32_t high = height - begin < lines ? height - begin : lines;",
        "            high = high > low ? high : low;",
        "            fill_rows_int16(&rows[kept * row + left], zero_point, width, low - kept, row);",
        "            fill_rows_int16(&rows[high * row + left], zero_point, width, lines - high, row);",
        "            if (low < high) {",
        "                const int8_t *const source = &x[(begin + low) * width * channels + c];",
        "                widen_rows(&rows[low * row + left], source, channels, width, high - low, row - width);",
        "            }",
        *(f"            {line}" for line in run),
        "            if (again > 0) {",
        "                move_rows_int16(rows, &rows[stride * strip * row], again * row);",
        "            }",
        "        }",
        "    }",
    ]
    return "\n".join(lines)
