"""The rules of the aten operators that resize: upsampling, padding, adaptive pooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch

from graphopt import ops
from graphopt.errors import InvalidGraph, Unsupported
from graphopt.frontends import normal
from graphopt.frontends.emit import copied, pick
from graphopt.frontends.limits import positions, room
from graphopt.frontends.torch.node import AtenNode, aten_rule
from graphopt.frontends.torch.rules.basic import each
from graphopt.ir import Array, Batch, Value


@aten_rule("constant_pad_nd.default")
def constant_pad(at: AtenNode, x: Value, pads: Sequence[int], value: float | None) -> Value:
    """Pads come as pairs, the last axis first."""
    before, after = [0] * x.type.rank, [0] * x.type.rank
    for i, (low, high) in enumerate(zip(pads[::2], pads[1::2], strict=True)):
        before[-1 - i], after[-1 - i] = low, high
    return normal.pad(at, x, before, after, value or 0.0)


MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""The modes of padding that repeat elements, from torch's names to numpy's."""


@aten_rule("pad.default")
def pad(at: AtenNode, x: Value, pads: Sequence[int], mode: str, value: float | None) -> Value:
    return constant_pad(at, x, pads, value) if mode == "constant" else padded(at, x, pads, MODES[mode])


for _name, _mode in (("reflection", "reflect"), ("replication", "edge")):
    aten_rule(*(f"{_name}_pad{n}d.default" for n in (1, 2, 3)))(
        lambda at, x, pads, mode=_mode: padded(at, x, pads, mode)
    )


def padded(at: AtenNode, x: Value, pads: Sequence[int], mode: str) -> Value:
    """Padding by elements of x: along each axis they are picked from where they stand."""
    for i, (low, high) in enumerate(zip(pads[::2], pads[1::2], strict=True)):
        axis = x.type.rank - 1 - i
        size = x.type.shape[axis]
        if isinstance(size, Batch):
            raise InvalidGraph("a padding along the batch")
        places = np.pad(np.arange(size), (max(low, 0), max(high, 0)), mode=mode)  # type: ignore[call-overload]
        places = places[max(-low, 0) : len(places) - max(-high, 0)]
        x = pick(at, x, axis, places, part=f"axis_{axis}")
    return x


def nearest(kernel: str, rank: int) -> Callable[..., Value]:
    """The rule of a resizing of so many axes that copies elements."""

    def rule(at: AtenNode, x: Value, sizes: Any, factors: Sequence[float] | None) -> Value:
        dtype = torch.float64 if x.type.dtype == "float64" else torch.float32

        def sources(axis: int, have: int, want: Any) -> list[int]:
            numbers = torch.from_numpy(positions(have)).to(dtype)
            room(want)
            return axis_sources(f"{kernel}{rank}d", numbers, want, factors[axis] if factors else None)

        both = enumerate(zip(normal.spatial(x), at.shape[2:], strict=True))
        return copied(at, x, {i + 2: sources(i, have, want) for i, (have, want) in both})

    return rule


def axis_sources(kernel: str, numbers: torch.Tensor, wanted: int, factor: float | None) -> list[int]:
    """The element that torch copies to each place of an axis: it resizes their numbers.

    torch computes the places in float64 where the elements are doubles, else in float32, and where an axis keeps its
    length the kernels of one and of two axes differ: so both are as in the model.
    """
    others = [1] * (int(kernel[-2]) - 1)
    resize = getattr(torch.ops.aten, kernel)
    picked = resize(numbers.reshape(1, 1, *others, -1), [*others, wanted], *(None for _ in others), factor)
    return [int(place) for place in picked.reshape(-1).tolist()]


for _kernel, _rank in product(("upsample_nearest", "_upsample_nearest_exact"), (1, 2, 3)):
    aten_rule(f"{_kernel}{_rank}d.vec")(nearest(_kernel, _rank))


LINEAR = {f"upsample_{n}.vec": f"upsample_{n}" for n in ("linear1d", "bilinear2d", "trilinear3d", "bicubic2d")}
LINEAR |= {f"_upsample_{n}_aa.vec": f"_upsample_{n}_aa" for n in ("bilinear2d", "bicubic2d")}


def interpolation(kernel: str) -> Callable[..., Value]:
    """The rule of a resizing that weighs neighbours: along each axis a product with a constant matrix."""

    def rule(at: AtenNode, x: Value, sizes: Any, align: bool, factors: Sequence[float] | None) -> Value:
        for i, (have, want) in enumerate(zip(normal.spatial(x), at.shape[2:], strict=True)):
            weights = axis_weights(kernel, have, want, align, factors[i] if factors else None)
            if have != want or not np.array_equal(weights, np.eye(have)):
                matrix = at.constant(weights.astype(x.type.dtype), f"weights_{i}")
                x = along(at, x, i + 2, matrix)
        return x

    return rule


def along(at: AtenNode, x: Value, axis: int, matrix: Value) -> Value:
    """x with an axis multiplied by a matrix [new size, size]."""
    y = normal.swap(at, x, axis, x.type.rank - 1)
    y = normal.linear(at, y, matrix, None)
    return normal.swap(at, y, axis, x.type.rank - 1)


def axis_weights(kernel: str, size: int, wanted: Any, align: bool, factor: float | None) -> Array:
    """What torch makes of each element of an axis, as a matrix [wanted, size]: it resizes the unit vectors."""
    unit = torch.eye(size, dtype=torch.float64)[None]
    if "linear" in kernel and not kernel.endswith("_aa"):
        weights = torch.ops.aten.upsample_linear1d(unit, [wanted], align, factor)
    else:
        # along the last axis: torch 2.13 is wrong along the other one where the last has one element
        resize = getattr(torch.ops.aten, kernel)
        weights = resize(unit[:, :, None], [1, wanted], align, None, factor)[:, :, 0]
    return np.asarray(weights[0].T.numpy())


for _name, _kernel in LINEAR.items():
    aten_rule(_name)(interpolation(_kernel))


@aten_rule("adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default", "adaptive_avg_pool3d.default")
def adaptive_avg_pool(at: AtenNode, x: Value, sizes: Any) -> Value:
    """Cells of one size are a pooling, others a product with a constant matrix along each axis."""
    have = normal.spatial(x)
    wanted = [d for d in at.shape[2:] if isinstance(d, int)]
    if not any(h % w for h, w in zip(have, wanted, strict=True)):
        return normal.adaptive_average_pool(at, x, wanted)
    for i, (size, want) in enumerate(zip(have, wanted, strict=True)):
        cells = [(j * size // want, -(-(j + 1) * size // want)) for j in range(want)]
        weights = np.array([[(a <= k < b) / (b - a) for k in range(size)] for a, b in cells], x.type.dtype)
        x = along(at, x, i + 2, at.constant(weights, f"weights_{i}")) if size != want else x
    return x


@aten_rule("_adaptive_avg_pool2d.default", "_adaptive_avg_pool3d.default")
def internal_adaptive_avg_pool(at: AtenNode, x: Value, sizes: Any) -> Value:
    return adaptive_avg_pool(at, x, sizes)


@aten_rule("adaptive_max_pool1d.default", "adaptive_max_pool2d.default", "adaptive_max_pool3d.default")
def adaptive_max_pool(at: AtenNode, x: Value, sizes: Any) -> tuple[Value, None]:
    have, wanted = normal.spatial(x), each(sizes, x.type.rank - 2)
    if all(s == 1 for s in wanted):
        return normal.reduce(at, ops.ReduceMax, x, range(2, x.type.rank), keepdims=True), None
    if any(h % w for h, w in zip(have, wanted, strict=True)):
        raise Unsupported(f"adaptive max pooling of {have} to {wanted}", advice="use sizes that divide the input")
    kernel = tuple(h // w for h, w in zip(have, wanted, strict=True))
    return normal.max_pool(at, ops.MaxPool(kernel=kernel, strides=kernel), x), None
