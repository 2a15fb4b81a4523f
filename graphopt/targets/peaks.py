"""What the multipliers of this machine can do: a tile of sums in registers, compiled as kernels are, and timed.

Its factors are a few kilobytes in the first cache. So it does what the innermost loop of a matrix product does, and
nothing else. A kernel of the same instruction is faster only if it multiplies less, as Winograd's form does.
"""

from __future__ import annotations

import ctypes
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as builder

from graphopt.ir import Array
from graphopt.runtime.buffers import address, aligned
from graphopt.runtime.build import require, run_tool
from graphopt.runtime.profile import opened
from graphopt.targets.codegen_llvm import compile_object
from graphopt.targets.instructions.vectors import word_in_lanes
from graphopt.targets.kernels import Built
from graphopt.targets.kernels.sdot_products import SIGNED_FOURS
from graphopt.targets.kernels.vnni_products import FOURS
from graphopt.targets.kernels.words import Words
from graphopt.targets.kernels.x86_products import PAIRS
from graphopt.targets.target import Target
from graphopt.targets.tir import Expr, Locals, loop

WORDS = {"vnni": ("VPDPBUSD", FOURS), "dotprod": ("SDOT", SIGNED_FOURS), "x86": ("PMADDWD", PAIRS)}
"""How elements of 8 bits are multiplied, by instruction set."""
PIXELS, TURNS, REPEATS = 6, 512, 21
WEIGHT_BYTES = 1 << 14
"""Half of a first cache: the more words in a row, the rarer is the jump back that no branch predictor sees."""
FLOAT = Words(1, "float32", "float32", lambda target, lanes, total, x, w: total + x * w)


@dataclass(frozen=True)
class Peak:
    """The most multiply-accumulates of a dtype in a second, and the instruction that does them."""

    products: str
    instruction: str
    macs_per_second: float


def measured_peaks(target: Target) -> tuple[Peak, ...]:
    """The peaks of this machine as a target uses it, in float32 and, if it has instructions for it, int8.

    Seconds are those of the CPU. The target must be for this machine. Raises ``ToolFailed`` without a linker.
    """
    kinds = {"float32": ("multiply and add", FLOAT)}
    words = next((WORDS[isa] for isa in target.isa if isa in WORDS), None)
    if words is not None:
        kinds["int8"] = words
    built = {name: Built(name, kernel(target, word), ()) for name, (_, word) in kinds.items()}
    with tempfile.TemporaryDirectory(prefix="graphopt-") as temporary:
        folder = Path(temporary)
        (folder / "peaks.o").write_bytes(compile_object(built, target))
        compiler = require(target.toolchain.compiler, target.toolchain.package)
        run_tool([compiler, *target.toolchain.flags, "-shared", "peaks.o", "-o", "peaks.so"], folder)
        with opened(folder / "peaks.so") as library:
            times = {name: seconds(library[name], target, word) for name, (_, word) in kinds.items()}
    macs = TURNS * depth(target) * PIXELS * vectors(target) * target.lanes
    found = {name: macs * word.size / times[name] for name, (_, word) in kinds.items()}
    return tuple(Peak(name, instruction, found[name]) for name, (instruction, _) in kinds.items())


def vectors(target: Target) -> int:
    """Of sums for each pixel, so many that registers remain for the factors."""
    return max(1, (target.registers - 4) // PIXELS)


def depth(target: Target) -> int:
    """How many words each sum has in a turn; each lane of weights has 32 bits."""
    return WEIGHT_BYTES // (4 * vectors(target) * target.lanes)


def kernel(target: Target, words: Words) -> tirx.PrimFunc:
    """Sums of products of the words of a few pixels with vectors of weights, all again and again."""
    lanes, wide, steps = target.lanes, vectors(target), depth(target)
    result = "float32" if words is FLOAT else "int32"
    with IRBuilder() as made, builder.prim_func(s_tir=True):
        builder.func_name("kernel")
        builder.func_attr({"tirx.noalias": True})
        x = builder.arg("x", builder.buffer((steps * PIXELS * words.size,), words.dtype))
        w = builder.arg("w", builder.buffer((steps * wide * lanes * words.size,), words.weights))
        y = builder.arg("y", builder.buffer((PIXELS * wide * lanes,), result))
        sums = Locals("sums", PIXELS * wide, result, lanes)
        for i in range(PIXELS * wide):
            sums[i] = sums.constant(0)
        with loop("turn", 0, TURNS), loop("at", 0, steps) as at:
            step = lanes * words.size
            columns = [w[tirx.Ramp((at * wide + i) * step, 1, step)] for i in range(wide)]
            for p in range(PIXELS):
                word = spread(x, (at * PIXELS + p) * words.size, words.size, lanes)
                for i, column in enumerate(columns):
                    sums[p * wide + i] = words.add(target, lanes, sums[p * wide + i], word, column)
        for i in range(PIXELS * wide):
            builder.buffer_store(y, sums[i], [tirx.Ramp(i * lanes, 1, lanes)])
    return made.get()


def spread(x: Expr, at: Expr, size: int, lanes: int) -> Expr:
    """A word of so many elements in each lane."""
    return tirx.Broadcast(x[at], lanes) if size == 1 else word_in_lanes(x[tirx.Ramp(at, 1, size)], lanes)


def seconds(function: ctypes._NamedFuncPointer, target: Target, words: Words) -> float:
    """Of the fastest of some calls: a peak is what goes undisturbed."""
    count = depth(target) * words.size
    sizes = {"x": (count * PIXELS, words.dtype), "w": (count * vectors(target) * target.lanes, words.weights)}
    given: list[Array] = [aligned((size,), dtype, target.alignment) for size, dtype in sizes.values()]
    for data in given:
        data[...] = np.arange(data.size) % 5
    out = aligned((PIXELS * vectors(target) * target.lanes,), "float32", target.alignment)
    pointers = [ctypes.c_void_p(address(data)) for data in (*given, out)]
    taken = []
    for _ in range(REPEATS):
        started = time.thread_time_ns()
        function(*pointers)
        taken.append(time.thread_time_ns() - started)
    return min(taken) / 1e9
