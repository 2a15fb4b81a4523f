"""Direct convolution and matrix product with constant weights, by register tiles."""

from __future__ import annotations

from graphopt.ir import Array, Op
from graphopt.ops import Conv, ConvInteger, Linear, LinearInteger, Window
from graphopt.targets.kernels.base import Frame, Kernel, Task, View, kernel_rule
from graphopt.targets.kernels.channelwise import depthwise_kernel
from graphopt.targets.kernels.geometry import Plane, as_plane, as_row, as_rows, plane_of
from graphopt.targets.kernels.nest import conv_nest, linear_nest
from graphopt.targets.kernels.order import tiled_reads
from graphopt.targets.kernels.quantized import folded_zero_point, prove_no_overflow
from graphopt.targets.kernels.tail import Tail
from graphopt.targets.kernels.tiled import Channels, PackedWeights, TiledConv, biased, finishing, pack_weights
from graphopt.targets.schedule import channel_segments, choose_tile
from graphopt.targets.weights import storage_of

TILED = ("float32", "int8", "uint8", "int16")
"""The dtypes of activations that have tiled kernels."""


@kernel_rule(Conv, ConvInteger, strided=True)
def conv_kernel(task: Task[Conv | ConvInteger]) -> Kernel:
    """Convolution with constant weights; the plain nest does any other."""
    x, w, b = task.inputs
    weight, bias = w.constant, b.constant
    if weight is None or bias is None or x.type.dtype not in TILED:
        return conv_nest(task)
    prove_no_overflow(task.op, weight, bias, x.type.dtype, task.region.node.name)
    (n, c, *size), (_, o, *out) = x.type.static_shape, task.result.type.static_shape
    plane = plane_of(tuple(size), tuple(out), task.op.window(w.type))
    channels = Channels(task.op.group, c // task.op.group, o // task.op.group)
    weight = weight.reshape(*weight.shape[:2], *plane.window.kernel)
    if channels.group_in == channels.group_out == 1 and task.region.tail is None:
        if plane.rank > 2:
            return conv_nest(task)
        return depthwise_kernel(task, plane, weight, bias)
    pointwise = plane.window == Window.of((1, 1), (), ()) and task.region.tail is None
    if pointwise and as_row(task.strided(x)) is not None and task.allows(as_row):
        pixels = plane.out[0] * plane.out[1]
        plane = Plane((1, pixels), (1, pixels), plane.window)
        return tiled_kernel(task, "conv_1x1", n, channels, plane, weight, bias, as_row)
    name = "conv_" + "x".join(map(str, plane.window.kernel))
    return tiled_kernel(task, name, n, channels, plane, weight, bias, as_plane)


@kernel_rule(Linear, LinearInteger, strided=True)
def linear_kernel(task: Task[Linear | LinearInteger]) -> Kernel:
    """A matrix product with constant weights is a pointwise convolution over one row; the plain nest does any other."""
    x, w, b = task.inputs
    weight, bias = w.constant, b.constant
    rows = as_rows(task.strided(x))
    if weight is None or bias is None or rows is None or not task.allows(as_rows) or x.type.dtype not in TILED:
        return linear_nest(task)
    prove_no_overflow(task.op, weight, bias, x.type.dtype, task.region.node.name)
    pixels = rows.shape[3]
    plane = Plane((1, pixels), (1, pixels), Window.of((1, 1), (), ()))
    channels = Channels(1, weight.shape[1], weight.shape[0])
    return tiled_kernel(task, "linear", 1, channels, plane, weight[:, :, None, None], bias, as_rows)


def tiled_kernel(
    task: Task[Op], name: str, batch: int, channels: Channels, plane: Plane, weight: Array, bias: Array, view: View
) -> Kernel:
    """The kernel of a convolution over a plane; ``view`` views its tensors as [n, c, h, w]."""
    first, last = plane.interior(plane.rank - 1)
    row = max(1, last - first)
    tile = choose_tile(task.target, row, channels.group_out, integers="int" in task.result.type.dtype)
    segments = channel_segments(channels.group_out, task.target.lanes, tile.vectors)
    _, w, b = task.inputs
    bias, zero_point = folded_zero_point(task.op, weight, bias, any(plane.window.pads))
    storage = storage_of(w)
    packed = {"bias": bias, **storage.pack(weight, lambda data: pack_weights(data, channels, segments))}

    def emit(frame: Frame) -> None:
        x, tail = view(frame.tensors[task.inputs[0]]), Tail(frame, view)
        assert x is not None
        tail.prefill()
        dtype, codegen = task.result.type.dtype, task.target.codegen
        weights = PackedWeights(frame.packed, storage, dtype, codegen)
        store = finishing(frame, view, tail)
        start = biased(frame.packed["bias"])
        loops = TiledConv(x, channels, plane, tile.pixels, weights, start, store, zero_point, pixels_first(task))
        loops.emit(batch, segments)

    reads = tiled_reads(task, plane, view, tile.pixels, segments[-1].width) if pixels_first(task) else {}
    return Kernel(name, emit, packed, replaced=(w, b), tile=tile, reads=reads)


def pixels_first(task: Task[Op]) -> bool:
    """Whether all channels of a tile are computed before the next: where the result may then lie over its operand.

    It costs microcontrollers 1 to 3 % of their instructions.
    """
    return task.inputs[0] in task.covered and task.region.tail is None and task.inputs[0].type.rank < 5
