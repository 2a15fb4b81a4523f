"""The kernel that decompresses sparse constants into the workspace."""

from __future__ import annotations

from contextlib import ExitStack

from tvm import tirx

from graphopt.ops import Decompress
from graphopt.targets.kernels.base import Frame, Kernel, Task, kernel_rule
from graphopt.targets.tir import Expr, Locals, Point, loop


@kernel_rule(Decompress)
def decompress_kernel(task: Task[Decompress]) -> Kernel:
    """One sweep in row-major order that counts the ones; a count beyond the values gives the last value."""
    bv, vv = task.inputs
    last = vv.type.static_shape[0] - 1

    def emit(frame: Frame) -> None:
        bits, values, epilogue = frame.tensors[bv], frame.tensors[vv], frame.epilogue()
        shape = task.result.type.static_shape
        count = Locals("count", 1, "int32")
        count[0] = tirx.const(0, "int32")
        with ExitStack() as loops:
            index = tuple(loops.enter_context(loop(f"i{axis}", 0, size)) for axis, size in enumerate(shape))
            element: Expr = 0
            for position, size in zip(index, shape, strict=True):
                element = element * size + position
            byte = tirx.Cast("int32", bits.load(Point((tirx.floordiv(element, 8),))))
            one = tirx.bitwise_and(tirx.shift_right(byte, tirx.floormod(element, 8)), 1)
            value = values.load(Point((tirx.min(count[0], last),)))
            at = Point(index)
            frame.out.store(at, epilogue(tirx.Select(tirx.NE(one, 0), value, tirx.const(0, values.dtype)), at))
            count[0] = count[0] + one

    return Kernel("decompress", emit, {})
