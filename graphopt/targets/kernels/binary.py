"""Kernels of packed signs: packing, and products by XOR and popcount."""

from __future__ import annotations

import math
from contextlib import ExitStack

from tvm import tirx

from graphopt.ops import WORD, ConvXnor, PackSigns
from graphopt.targets.kernels.base import Frame, Kernel, Task, kernel_rule
from graphopt.targets.kernels.geometry import Plane
from graphopt.targets.kernels.nest import Index, emit_nest, reduced
from graphopt.targets.tir import Expr, Locals, Point, cast, loop


@kernel_rule(PackSigns, strided=True)
def pack_signs_kernel(task: Task[PackSigns]) -> Kernel:
    """Packs one word at a time, from up to 32 comparisons."""
    (xv,), threshold = task.inputs, task.op.threshold
    channels = xv.type.static_shape[1]

    def emit(frame: Frame) -> None:
        x = frame.tensors[xv]

        def value(index: Index) -> Expr:
            n, word, *at = index

            def step(acc: Expr, r: Index) -> Expr:
                element = x.load(Point((n, word * WORD + r[0], *at)))
                negative = cast(element < tirx.const(threshold, x.dtype), "uint32")
                return tirx.bitwise_or(acc, tirx.shift_left(negative, tirx.Cast("uint32", r[0])))

            def guard(r: Index) -> Expr:
                return word * WORD + r[0] < channels if channels > WORD and channels % WORD else True

            return reduced("uint32", tirx.const(0, "uint32"), (min(channels, WORD),), step, guard)

        emit_nest(frame, value)

    return Kernel("pack_signs", emit, {})


@kernel_rule(ConvXnor, strided=True)
def conv_xnor_kernel(task: Task[ConvXnor]) -> Kernel:
    """Counts the differing signs over the taps inside the input; the number of products is known without counting."""
    op, (xv, wv, bv) = task.op, task.inputs
    window = op.window(wv.type)
    plane = Plane(xv.type.static_shape[2:], task.result.type.static_shape[2:], window)

    def emit(frame: Frame) -> None:
        x, w, b = (frame.tensors[v] for v in (xv, wv, bv))

        def value(index: Index) -> Expr:
            n, o, *at = index
            taps = [plane.taps(axis, position) for axis, position in enumerate(at)]
            differing = Locals("differing", 1, "int32")
            differing[0] = tirx.const(0, "int32")
            with ExitStack() as loops:
                tap = [loops.enter_context(loop(f"k{axis}", *ends)) for axis, ends in enumerate(taps)]
                word = loops.enter_context(loop("word", 0, wv.type.static_shape[1]))
                source = [plane.source(axis, at[axis], k) for axis, k in enumerate(tap)]
                both = tirx.bitwise_xor(x.load(Point((n, word, *source))), w.load(Point((o, word, *tap))))
                differing[0] = differing[0] + cast(tirx.popcount(both), "int32")
            products = math.prod(high - low for low, high in taps) * (op.channels * op.unit)
            return b.load(Point((o,))) + products - differing[0] * (2 * op.unit)

        emit_nest(frame, value)

    return Kernel("xnor_{}".format("x".join(map(str, window.kernel))) if window.rank else "xnor", emit, {})
