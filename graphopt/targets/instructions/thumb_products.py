"""Routines for Thumb without a DSP extension, that sum products of int8 one at a time: of windows, and four channels.

What is new against C is where things stand. ARMv7-M adds a product in one instruction, has registers for the sums of
four channels and two windows, and reads weights in one line, *by element*: of each element those of the four channels.
ARMv6-M has registers for one window, and reads weights *by channel*, with one index for all four and for the elements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from graphopt.ir import Array
from graphopt.targets.instructions.base import Instruction, Span, instruction

LANES = 4
"""Channels of a group."""
UNROLLED = 8
"""Elements in a turn of the loop over a window, which is entered so that the last turn is a whole one."""

SUFFIXES = {"int8": "", "uint8": "_of_bytes"}
"""Of the names of routines, by the dtype of elements."""
LOADS = {"int8": "ldrsb", "uint8": "ldrb"}
Routines = Mapping[tuple[bool, bool], Instruction]
"""By whether they take one window, and whether they scale."""


def stream(weight: Array, bias: Array, scaling: Array, side_by_side: int, by_element: bool) -> Array:
    """All words that a routine reads, in order, of channels in groups of so many: biases, weights, scaling.

    weight int8 [channels, depth], bias [channels], scaling [channels, n]: nothing for sums, or multiplier, addend and
    shift. Channels are filled up to groups with zeros.
    """
    more = -len(weight) % side_by_side
    rows, biases, scalings = (np.pad(a, ((0, more), (0, 0))) for a in (weight, bias[:, None], scaling))
    groups = len(rows) // side_by_side
    weights = rows.reshape(groups, side_by_side, -1)
    ordered = np.ascontiguousarray(weights.transpose(0, 2, 1) if by_element else weights)
    words = ordered.reshape(groups, -1).view(np.int32)
    parts = [biases.astype(np.int32).reshape(groups, -1), words, scalings.astype(np.int32).reshape(groups, -1)]
    return np.concatenate(parts, axis=1).ravel()


def twin(several: bool, scales: bool, by_element: bool) -> str:
    """The C of a routine."""
    x, y = ("x[p * step + k]", "y[p * y_step + c]") if several else ("x[k]", "y[c]")
    place = f"{LANES} * k + lane" if by_element else "lane * depth + k"
    lines = [
        "    for (int32_t p = 0; p < pixels; ++p) {" * several,
        "    for (int32_t c = 0; c < channels; ++c) {",
        f"        const int32_t lane = c % {LANES};",
        f"        const int32_t *const group = w + c / {LANES} * (depth + {LANES * (4 if scales else 1)});",
        f"        const int8_t *const v = (const int8_t *)(group + {LANES});",
        "        uint32_t sum = (uint32_t)group[lane];",
        "        for (int32_t k = 0; k < depth; ++k) {",
        f"            sum += (uint32_t)({x} * v[{place}]);",
        "        }",
    ]
    if scales:
        lines += [
            f"        const int32_t *const s = group + {LANES} + depth + 3 * lane;",
            "        const int32_t upper = (int32_t)((int64_t)(int32_t)sum * s[0] >> 32);",
            "        const int32_t scaled = (upper + s[1]) >> s[2];",
            f"        {y} = (int8_t)(scaled < -128 ? -128 : scaled > 127 ? 127 : scaled);",
        ]
    else:
        lines += [f"        {y} = (int32_t)sum;"]
    return "\n".join([*filter(None, lines), "    }", *["    }"] * several])


def sums(x: Array, w: Array, channels: int, scales: bool, by_element: bool) -> Array:
    """What a routine gives, [pixels, channels], of elements [pixels, depth] and a ``stream``."""
    depth = x.shape[1]
    groups = np.ascontiguousarray(w).reshape(-1, depth + LANES * (4 if scales else 1))
    stored = np.ascontiguousarray(groups[:, LANES : LANES + depth]).view(np.int8)
    shape = (len(groups), depth, LANES) if by_element else (len(groups), LANES, depth)
    weight = stored.reshape(shape).transpose(0, 2, 1) if by_element else stored.reshape(shape)
    acc = x.astype(np.int64) @ weight.reshape(-1, depth).astype(np.int64).T + groups[:, :LANES].ravel()
    if not scales:
        return np.asarray(acc[:, :channels].astype(np.int32))
    multiplier, addend, shift = groups[:, LANES + depth :].reshape(-1, 3).astype(np.int64).T
    return np.asarray(np.clip(((acc * multiplier >> 32) + addend) >> shift, -128, 127).astype(np.int8)[:, :channels])


def routine(name: str, several: bool, scales: bool, by_element: bool, dtype: str) -> Instruction:
    """A routine of ``several`` windows, an even number, or of one, of elements of a dtype."""
    kind, size = ("int8*", 1) if scales else ("int32*", 4)
    words = f"(channels + {LANES - 1}) / {LANES} * (depth + {LANES * (4 if scales else 1)})"
    pixels = ("step", "y_step", "pixels") if several else ()
    where = " of windows\n   that are step apart, to results y_step apart; pixels is even" if several else ""
    numbers = dict.fromkeys((*pixels, "depth", "channels"), "int32")
    return instruction(
        Instruction(
            f"{name}{SUFFIXES[dtype]}",
            None,
            {"x": f"const {dtype}*", "w": "const int32*", "y": kind, **numbers},
            "void",
            twin(several, scales, by_element),
            lambda x, w, channels: sums(x, w, channels, scales, by_element),
            comment=f"Sums of products of elements x and packed weights w, for all channels, four at a time{where}."
            + " Each is\n   scaled to 8 bits." * scales,
            depth=1,
            lanes=LANES,
            spans={
                "x": Span("depth", (("pixels", "step"),) * several),
                "w": Span(f"4 * ({words})"),
                "y": Span(f"{size} * channels", (("pixels", f"{size} * y_step"),) * several),
            },
            counts=counts(several, by_element),
            alike=name,
        )
    )


def counts(several: bool, by_element: bool) -> dict[str, str]:
    """What costs are linear in: ARMv7-M does two windows at a time, or two groups of channels of one."""
    windows = ("pixels / 2 * " if by_element else "pixels * ") if several else ""
    together = LANES * (2 if by_element and not several else 1)
    turns = f"{windows}((channels + {together - 1}) / {together})"
    found = {"turns": turns, "blocks": f"{turns} * ((depth + {UNROLLED - 1}) / {UNROLLED})"}
    found |= {"elements": f"{turns} * depth", "results": f"{windows}channels"}
    found |= {"windows": windows.removesuffix(" * ")} if several else {}
    return found | ({"groups": f"(channels + {LANES - 1}) / {LANES}"} if together > LANES else {})


def routines(by_element: bool) -> dict[str, Routines]:
    """The routines of an order of weights, by the dtype of elements."""
    return {dtype: routines_of(dtype, by_element) for dtype in SUFFIXES}


def routines_of(dtype: str, by_element: bool) -> Routines:
    order = "element" if by_element else "channel"
    return {
        (one, scales): routine(
            f"{'multiply' if scales else 'sum'}_{'window' if one else 'windows'}_by_{order}",
            not one,
            scales,
            by_element,
            dtype,
        )
        for one in (False, True)
        for scales in (True, False)
    }


def enter(
    found: dict[str, Routines], isa: str, guard: str, assembly: Callable[[bool, bool, str], str]
) -> dict[str, Routines]:
    """Enter the routines of an instruction set, in assembly.

    It is made for several windows or not, scaled or not, and with what loads an element.
    """
    for dtype, routines in found.items():
        for (one, scales), portable in routines.items():
            portable.on(isa, assembly(not one, scales, LOADS[dtype]), guard=guard, naked=True)
    return found
