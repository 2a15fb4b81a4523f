"""Convolutions. Layout [n, channels, *spatial] with one to three spatial axes; always with a bias."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphopt.ir import Array, Op, Sampler, TensorType, Trait, Value, expect
from graphopt.ops.windows import Window, sample_window

__all__ = ["Conv", "ConvTranspose"]


def window_macs(positions: TensorType, weight: TensorType) -> int:
    """The multiply-accumulates of a convolution: kernel elements times channels of a group, at each position."""
    return math.prod(positions.static_shape) * math.prod(weight.static_shape[1:])


class Conv(Op, name="conv", version=2):
    """ONNX Conv: x [n, c, *s], weight [o, c/group, *k], bias [o] -> [n, o, *s'].

    ``pads`` has the pads before every axis, then those after. Empty tuples mean ones (strides,
    dilations) and zeros (pads).
    """

    traits = Trait.PRODUCT | Trait.WINDOW | Trait.PER_SAMPLE

    strides: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    group: int = 1

    def window(self, weight: TensorType) -> Window:
        return Window.of(weight.shape[2:], self.strides, self.pads, self.dilations)

    def infer(self, *inputs: TensorType) -> TensorType:
        x, w, b = inputs
        expect(3 <= x.rank <= 5 and w.rank == x.rank, f"conv of {x} by {w}")
        expect(x.dtype == w.dtype == b.dtype, f"conv mixes {x.dtype}, {w.dtype} and {b.dtype}")
        channels, out = w.static_shape[1] * self.group, w.static_shape[0]
        expect(self.group > 0 and x.shape[1] == channels, f"{x} must have {channels} channels for {w}")
        expect(out % self.group == 0 and b.shape == (out,), f"{w} with group {self.group} and bias {b}")
        return x.with_shape((x.shape[0], out, *self.window(w).output_shape(x.shape[2:])))

    def macs(self, inputs: Sequence[TensorType], results: Sequence[TensorType]) -> int:
        return window_macs(results[0], inputs[1])

    def evaluate(self, *inputs: Array) -> Array:
        x, w, b = inputs
        window = Window.of(w.shape[2:], self.strides, self.pads, self.dilations)
        view = window.view(x, 0)
        n, out = x.shape[0], view.shape[2 : 2 + window.rank]
        axes = (0, 1, *range(3, 3 + window.rank), 2, *range(3 + window.rank, 3 + 2 * window.rank))
        columns = view.reshape(n, self.group, -1, *view.shape[2:]).transpose(axes)
        columns = columns.reshape(n, self.group, math.prod(out), -1)
        kernels = w.reshape(self.group, w.shape[0] // self.group, -1)
        y = np.matmul(kernels[None], columns.swapaxes(2, 3)).reshape(n, w.shape[0], *out)
        return np.asarray(y + b.reshape(-1, *[1] * window.rank))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        window = sample_window(draw, x.type)
        channels = x.type.shape[1] if x.type.rank > 1 else 0
        if window is None or not isinstance(channels, int) or not channels or not x.type.is_float:
            return None
        group = draw.choice([g for g in range(1, channels + 1) if channels % g == 0])
        out = group * draw.integer(1, 3)
        op = cls(strides=window.strides, pads=window.pads, dilations=window.dilations, group=group)
        return op(x, draw.weights(out, channels // group, *window.kernel), draw.weights(out))


class ConvTranspose(Op, name="conv_transpose"):
    """ONNX ConvTranspose: x [n, c, *s], weight [c, o/group, *k], bias [o] -> [n, o, *s'].

    s' = (s - 1) * stride + dilation * (k - 1) + 1 - pads + output_padding.
    """

    traits = Trait.PRODUCT | Trait.WINDOW | Trait.PER_SAMPLE

    strides: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()
    group: int = 1

    def window(self, weight: TensorType) -> Window:
        return Window.of(weight.shape[2:], self.strides, self.pads, self.dilations)

    def infer(self, *inputs: TensorType) -> TensorType:
        x, w, b = inputs
        expect(3 <= x.rank <= 5 and w.rank == x.rank, f"conv_transpose of {x} by {w}")
        expect(x.dtype == w.dtype == b.dtype, f"conv_transpose mixes {x.dtype}, {w.dtype} and {b.dtype}")
        channels, out = w.static_shape[0], w.static_shape[1] * self.group
        expect(self.group > 0 and channels % self.group == 0, f"{channels} channels in {self.group} groups")
        expect(x.shape[1] == channels, f"{x} must have {channels} channels for {w}")
        expect(b.shape == (out,), f"bias {b} must have {out} elements")
        window = self.window(w)
        extra = self.output_padding or (0,) * window.rank
        expect(len(extra) == window.rank and min(extra) >= 0, f"output_padding {self.output_padding}")
        shape = []
        for axis, size in enumerate(x.with_shape(x.shape[2:]).static_shape):
            room = (size - 1) * window.strides[axis] + window.extent[axis] - sum(window.axis_pads(axis)) + extra[axis]
            expect(room > 0 and size > 0, f"the output of axis {axis} would have {room} elements")
            shape.append(room)
        return x.with_shape((x.shape[0], out, *shape))

    def macs(self, inputs: Sequence[TensorType], results: Sequence[TensorType]) -> int:
        return window_macs(inputs[0], inputs[1])

    def evaluate(self, *inputs: Array) -> Array:
        x, w, b = inputs
        types = [TensorType(str(a.dtype), a.shape) for a in inputs]
        window, y_shape = self.window(types[1]), self.infer(*types).static_shape
        n, g, spatial = x.shape[0], self.group, x.shape[2:]
        kernels = w.reshape(g, w.shape[0] // g, -1)
        columns = np.matmul(kernels.swapaxes(1, 2)[None], x.reshape(n, g, x.shape[1] // g, -1))
        columns = columns.reshape(n, y_shape[1], *window.kernel, *spatial)
        pads = [window.axis_pads(a) for a in range(window.rank)]
        full = np.zeros((n, y_shape[1], *(s + sum(p) for s, p in zip(y_shape[2:], pads, strict=True))), x.dtype)
        for tap in np.ndindex(*window.kernel):
            at = [slice(None), slice(None)]
            for axis, k in enumerate(tap):
                start = k * window.dilations[axis]
                step = window.strides[axis]
                at.append(slice(start, start + (spatial[axis] - 1) * step + 1, step))
            full[tuple(at)] += columns[(slice(None), slice(None), *tap)]
        crop = tuple(slice(p[0], p[0] + s) for s, p in zip(y_shape[2:], pads, strict=True))
        return np.asarray(full[(slice(None), slice(None), *crop)] + b.reshape(-1, *[1] * window.rank))

    @classmethod
    def sample(cls, draw: Sampler, x: Value) -> Value | None:
        window = sample_window(draw, x.type)
        channels = x.type.shape[1] if x.type.rank > 1 else 0
        if window is None or not isinstance(channels, int) or not channels or not x.type.is_float:
            return None
        group = draw.choice([g for g in range(1, channels + 1) if channels % g == 0])
        extra = tuple(draw.integer(0, s - 1) for s in window.strides)
        # a pad of at most half the window leaves at least one element
        pads = tuple(draw.integer(0, (e - 1) // 2) for _ in range(2) for e in window.extent)
        op = cls(strides=window.strides, pads=pads, dilations=window.dilations, output_padding=extra, group=group)
        out = draw.integer(1, 3)
        return op(x, draw.weights(channels, out, *window.kernel), draw.weights(out * group))
