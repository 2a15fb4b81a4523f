"""Routines that unpack weights of four bits or one into the bytes of a stream, for routines that multiply bytes.

Codes of words of four weights are side by side in the bits of a word: of four bits, w + 8 of two words, of one bit,
(1 - w) / 2 of eight. So a mask, a sum and an exclusive or give a word of weights, without a carry between its bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from graphopt.ir import Array
from graphopt.ops import StoredForm
from graphopt.targets.instructions.base import Instruction
from graphopt.targets.instructions.dsp_codes import CODED_WORDS, unpacking_routine
from graphopt.targets.instructions.mve import GUARD

BEYOND = 8
"""So many words behind the last may be overwritten: eight are made at once."""
Stream = Callable[[Array, Array, Array, int], Array]


def coded_bytes(
    weight: Array, bias: Array, scaling: Array, lanes: int, form: StoredForm, stream: Stream
) -> tuple[Array, Array]:
    """Codes [groups, n] and numbers [groups, lanes or 4 * lanes] of the words of a ``stream``."""
    groups, numbers = -(-len(weight) // lanes), lanes * scaling.shape[1]
    words = stream(weight, bias, scaling, lanes).reshape(groups, -1)
    starts, weights, scalings = np.split(words, [lanes, words.shape[1] - numbers], axis=1)
    many, bits = CODED_WORDS[form], 8 // CODED_WORDS[form]
    filled = np.pad(weights, ((0, 0), (0, -weights.shape[1] % many)))
    whole = np.ascontiguousarray(filled).view(np.int8).reshape(groups, -1, many, 4).astype(np.int64)
    codes = whole + 8 if form is StoredForm.NIBBLES else (whole < 0).astype(np.int64)
    packed = (codes << (bits * np.arange(many)[:, None])).sum(axis=2).astype(np.uint8)
    return np.ascontiguousarray(packed).view(np.int32).reshape(groups, -1), np.hstack([starts, scalings])


def meant(codes: Array, numbers: Array, words: int, lanes: int, form: StoredForm) -> Array:
    """The stream of ``coded_bytes``; weights that fill it up may be others."""
    many, bits = CODED_WORDS[form], 8 // CODED_WORDS[form]
    raw = np.ascontiguousarray(codes).view(np.uint8).reshape(len(codes), -1, 1, 4).astype(np.int64)
    found = raw >> (bits * np.arange(many)[:, None]) & ((1 << bits) - 1)
    weights = (found - 8 if form is StoredForm.NIBBLES else 1 - 2 * found).astype(np.int8)
    unpacked = np.ascontiguousarray(weights.reshape(len(codes), -1)).view(np.int32)[:, :words]
    return np.hstack([numbers[:, :lanes], unpacked, numbers[:, lanes:]]).astype(np.int32).ravel()


WORDS = {
    StoredForm.NIBBLES: """\
            target[i] = (int32_t)(((code & 0x0f0f0f0fu) + 0x78787878u) ^ 0x80808080u);
            target[i + 1] = (int32_t)(((code >> 4 & 0x0f0f0f0fu) + 0x78787878u) ^ 0x80808080u);""",
    StoredForm.BITS: "\n".join(
        f"            target[i + {j}] = (int32_t)((0x81818181u - ({moved} & 0x02020202u)) ^ 0x80808080u);"
        for j, moved in enumerate(["code << 1", "code", *(f"code >> {j}" for j in range(1, 7))])
    ),
}
"""What makes words of one of codes."""


def twin(form: StoredForm) -> str:
    return f"""\
    for (int32_t group = 0; group < groups; ++group) {{
        for (int32_t i = 0; i < lanes; ++i) {{
            *target++ = *numbers++;
        }}
        for (int32_t i = 0; i < words; i += {CODED_WORDS[form]}) {{
            const uint32_t code = (uint32_t)*codes++;
{WORDS[form]}
        }}
        target += words;
        for (int32_t i = 0; i < sums; ++i) {{
            *target++ = *numbers++;
        }}
    }}"""


def unpacking(form: StoredForm) -> Instruction:
    many = CODED_WORDS[form]
    comment = """\
Groups of weights and numbers for the routines that multiply bytes: of each group so many numbers as it has lanes,
   words of unpacked weights, and the other numbers."""
    return unpacking_routine(
        f"unpack_bytes_of_{form.name.lower()}",
        form,
        twin(form),
        partial(meant, form=form),
        comment,
        BEYOND,
        apart=True,
        counts={
            "groups": "groups",
            "numbers": "groups * (lanes + sums)",
            "codes": f"groups * ((words + {many - 1}) / {many})",
        },
    )


UNPACK_BYTES = {form: unpacking(form) for form in CODED_WORDS}

MVE_NIBBLES = """\
vctp.32 r8
vpst
vldrwt.u32 q0, [r1]
vshr.u8 q1, q0, #4
vand q0, q0, q2
vsub.i8 q1, q1, q3
vsub.i8 q0, q0, q3
vst20.32 {q0, q1}, [r12]
vst21.32 {q0, q1}, [r12]!
adds r1, r1, #16
subs r8, r8, #4
bgt 3b
add r1, r1, r8, lsl #2"""
MVE_BITS = """\
ldr r4, [r1], #4
vdup.32 q0, r4
vshl.u32 q1, q0, q3
vshl.u32 q0, q0, q2
vand q1, q1, q4
vand q0, q0, q4
vsub.i8 q1, q5, q1
vsub.i8 q0, q5, q0
vstrw.32 q0, [r12], #16
vstrw.32 q1, [r12], #16
subs r8, r8, #1
bgt 3b"""
MVE = {
    StoredForm.NIBBLES: ("vmov.i8 q2, #15\nvmov.i8 q3, #8", MVE_NIBBLES),
    StoredForm.BITS: (
        "movs r4, #1\nvddup.u32 q2, r4, #1\nvddup.u32 q3, r4, #1\nvmov.i8 q4, #2\nvmov.i8 q5, #1",
        MVE_BITS,
    ),
}
"""The constants; the loop over codes, whose words r8 counts, which makes eight words a turn."""

for _form, (_constants, _loop) in MVE.items():
    _many = CODED_WORDS[_form]
    UNPACK_BYTES[_form].on(  # lanes are four, and the numbers behind the weights four or a multiple
        "mve",
        f"""\
push {{r4-r8, lr}}
vpush {{d8-d11}}
ldrd r5, r6, [sp, #60]
{_constants}
adds r7, r3, #{_many - 1}
lsrs r7, r7, #{_many.bit_length() - 1}
1:
vldrw.u32 q0, [r2], #16
vstrw.32 q0, [r0], #16
mov r12, r0
mov r8, r7
3:
{_loop}
add r0, r0, r3, lsl #2
movs r8, r5
beq 5f
4:
vldrw.u32 q0, [r2], #16
vstrw.32 q0, [r0], #16
subs r8, r8, #4
bne 4b
5:
subs r6, r6, #1
bne 1b
vpop {{d8-d11}}
pop {{r4-r8, pc}}""",
        guard=GUARD,
        naked=True,
        counts={"1": "groups", "3": "groups * ((words + 7) / 8)", "4": "groups * (sums / 4)"},
    )
