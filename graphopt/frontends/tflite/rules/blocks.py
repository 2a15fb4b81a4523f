"""Pixels of a block moved to channels or to the batch, and back."""

from __future__ import annotations

import numpy as np

from graphopt.errors import InvalidGraph, InvalidInput
from graphopt.frontends import normal
from graphopt.frontends.tflite.node import TfliteNode, tflite_rule
from graphopt.frontends.tflite.rules.convolution import check_image
from graphopt.ir import Value, numel


def block_of(at: TfliteNode, kind: str) -> int:
    block = int(at.options(kind).BlockSize())
    if block < 1:
        raise InvalidInput(f"blocks of {block}")
    return block


@tflite_rule("DEPTH_TO_SPACE", layout="first")
def depth_to_space(at: TfliteNode) -> Value:
    check_image(at)
    (x,), block = at.kept(0), block_of(at, "DepthToSpaceOptions")
    return normal.depth_to_space(at, x, block, depth_first=True)


@tflite_rule("SPACE_TO_DEPTH", layout="first")
def space_to_depth(at: TfliteNode) -> Value:
    """Pixels of a block become channels, row by row, in front of those that were there."""
    check_image(at)
    (x,), block = at.kept(0), block_of(at, "SpaceToDepthOptions")
    n, (c, h, w) = x.type.shape[0], x.type.with_shape(x.type.shape[1:]).static_shape
    if h % block or w % block:
        raise InvalidGraph(f"{x.type} in blocks of {block}")
    y = normal.reshape(at, x, (n, c, h // block, block, w // block, block), "blocks")
    y = normal.transpose(at, y, (0, 3, 5, 1, 2, 4), "interleave")
    return normal.reshape(at, y, (n, c * block * block, h // block, w // block))


@tflite_rule("SPACE_TO_BATCH_ND")
def space_to_batch(at: TfliteNode) -> Value:
    """Spatial axes padded and dealt out to the batch, by blocks."""
    x, blocks, pads = at.kept(0)[0], at.integers(1), np.asarray(at.integers(2)).reshape(-1, 2)
    count = len(blocks)
    if len(pads) != count or x.type.rank < count + 1 or min(blocks, default=1) < 1 or pads.min(initial=0) < 0:
        raise InvalidInput(f"blocks {blocks} and pads {pads.tolist()} for {x.type}")
    rest = x.type.rank - count - 1
    parameters = at.tensor(0).parameters
    value = float(parameters.zero_point[0]) if parameters and at.alike(0) else 0.0
    before, after = ([0, *(int(p) for p in column), *[0] * rest] for column in pads.T)
    x = normal.pad(at, x, before, after, value)
    n, *spatial = x.type.shape[: count + 1]
    sizes = x.type.with_shape(spatial).static_shape
    if any(s % b for s, b in zip(sizes, blocks, strict=True)):
        raise InvalidGraph(f"{x.type} in blocks of {blocks}")
    behind = x.type.shape[count + 1 :]
    parts = [d for s, b in zip(sizes, blocks, strict=True) for d in (s // b, b)]
    y = normal.reshape(at, x, (n, *parts, *behind), "blocks")
    order = [*range(2, 2 * count + 1, 2), 0, *range(1, 2 * count, 2), *range(2 * count + 1, 2 * count + 1 + rest)]
    y = normal.transpose(at, y, order, "deal")
    small = [s // b for s, b in zip(sizes, blocks, strict=True)]
    return normal.reshape(at, y, (numel((n, *blocks)), *small, *behind))


@tflite_rule("BATCH_TO_SPACE_ND")
def batch_to_space(at: TfliteNode) -> Value:
    """The inverse of ``space_to_batch``, cropped."""
    x, blocks, crops = at.kept(0)[0], at.integers(1), np.asarray(at.integers(2)).reshape(-1, 2)
    count = len(blocks)
    if len(crops) != count or x.type.rank < count + 1 or min(blocks, default=1) < 1 or crops.min(initial=0) < 0:
        raise InvalidInput(f"blocks {blocks} and crops {crops.tolist()} for {x.type}")
    rest = x.type.rank - count - 1
    sizes, behind = x.type.with_shape(x.type.shape[1 : count + 1]).static_shape, x.type.shape[count + 1 :]
    n = normal.quotient(x.type.shape[0], int(np.prod(blocks)))
    y = normal.reshape(at, x, (*blocks, n, *sizes, *behind), "blocks")
    pairs = [a for i in range(count) for a in (count + 1 + i, i)]
    y = normal.transpose(at, y, [count, *pairs, *range(2 * count + 1, 2 * count + 1 + rest)], "deal")
    y = normal.reshape(at, y, (n, *(s * b for s, b in zip(sizes, blocks, strict=True)), *behind), "whole")
    for axis, (before, after) in enumerate(crops.tolist(), 1):
        size = y.type.with_shape((y.type.shape[axis],)).static_shape[0]
        y = normal.take(at, y, axis, before, size - after, part=f"axis_{axis}")
    return y
