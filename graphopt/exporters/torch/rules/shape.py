"""Operators that move elements."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from graphopt import ops
from graphopt.exporters.torch.rule import torch_rule
from graphopt.exporters.torch.rules.products import around
from graphopt.ir import Batch, Shape


def bound(shape: Shape) -> list[int]:
    """The dimensions, none of which is symbolic any more; while torch exports the module, N is a SymInt."""
    return [d for d in shape if not isinstance(d, Batch)]


@torch_rule(ops.Reshape)
def reshape(op: ops.Reshape, x: Tensor) -> Tensor:
    return x.reshape(bound(op.shape))


@torch_rule(ops.Expand)
def expand(op: ops.Expand, x: Tensor) -> Tensor:
    return x.broadcast_to(bound(op.shape))


@torch_rule(ops.Transpose)
def transpose(op: ops.Transpose, x: Tensor) -> Tensor:
    return x.permute(op.perm)


@torch_rule(ops.Concat)
def concat(op: ops.Concat, *parts: Tensor) -> Tensor:
    return torch.cat(parts, op.axis)


@torch_rule(ops.Slice)
def slice_(op: ops.Slice, x: Tensor) -> Tensor:
    return x[(slice(None),) * op.axis + (slice(op.start, op.stop, op.step),)]


@torch_rule(ops.Split)
def split(op: ops.Split, x: Tensor) -> tuple[Tensor, ...]:
    return torch.split(x, list(op.sizes), op.axis)


@torch_rule(ops.Pad)
def pad(op: ops.Pad, x: Tensor) -> Tensor:
    value = op.value if x.is_floating_point() else int(op.value)
    return F.pad(x, around(op.pads[: x.ndim], op.pads[x.ndim :]), value=value)


@torch_rule(ops.Resize)
def resize(op: ops.Resize, x: Tensor) -> Tensor:
    for axis in range(len(op.sizes)):
        source = torch.tensor(op.source(axis, x.shape[axis + 2]), device=x.device)
        x = x.index_select(axis + 2, source)
    return x


@torch_rule(ops.Tile)
def tile(op: ops.Tile, x: Tensor) -> Tensor:
    return x.repeat(op.repeats)
