"""Operators that pick elements by computed positions, and put them there."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from graphopt import ops
from graphopt.exporters.torch.rule import torch_rule

SCATTERED = {"mul": "prod", "max": "amax", "min": "amin"}
"""The reductions of ``Tensor.scatter_reduce`` by ours."""


def wrapped(indices: Tensor, size: int) -> Tensor:
    """Positions as int64, counted from the start."""
    indices = indices.to(torch.int64)
    return torch.where(indices < 0, indices + size, indices)


@torch_rule(ops.Gather)
def gather(op: ops.Gather, x: Tensor, indices: Tensor) -> Tensor:
    picked = x.index_select(op.axis, wrapped(indices, x.shape[op.axis]).reshape(-1))
    return picked.reshape(*x.shape[: op.axis], *indices.shape, *x.shape[op.axis + 1 :])


@torch_rule(ops.GatherElements)
def gather_elements(op: ops.GatherElements, x: Tensor, indices: Tensor) -> Tensor:
    return x.gather(op.axis, wrapped(indices, x.shape[op.axis]))


@torch_rule(ops.GatherNd)
def gather_nd(op: ops.GatherNd, x: Tensor, indices: Tensor) -> Tensor:
    depth, batch = indices.shape[-1], x.shape[: op.batch_dims]
    flat = x.reshape(math.prod(batch), *x.shape[op.batch_dims :])
    rows = indices.reshape(flat.shape[0], math.prod(indices.shape[op.batch_dims : -1]), depth)
    picks = [wrapped(rows[..., i], flat.shape[1 + i]) for i in range(depth)]
    y = flat[(torch.arange(flat.shape[0], device=x.device)[:, None], *picks)]
    return y.reshape(*batch, *indices.shape[op.batch_dims : -1], *y.shape[2:])


@torch_rule(ops.ScatterElements)
def scatter_elements(op: ops.ScatterElements, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    return scattered(x, op.axis, wrapped(indices, x.shape[op.axis]), updates, op.reduction)


@torch_rule(ops.ScatterNd)
def scatter_nd(op: ops.ScatterNd, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """As a scatter of rows, at positions of x with its first axes made one."""
    depth = indices.shape[-1]
    flat = x.reshape(math.prod(x.shape[:depth]), math.prod(x.shape[depth:]))
    at = torch.zeros(indices.shape[:-1], dtype=torch.int64, device=x.device)
    for i in range(depth):
        at = at * x.shape[i] + wrapped(indices[..., i], x.shape[i])
    rows = updates.reshape(at.numel(), flat.shape[1])
    return scattered(flat, 0, at.reshape(-1, 1).expand_as(rows), rows, op.reduction).reshape(x.shape)


def scattered(x: Tensor, axis: int, indices: Tensor, updates: Tensor, reduction: str) -> Tensor:
    if reduction == "add":
        return x.scatter_add(axis, indices, updates)
    if reduction != "none":
        return x.scatter_reduce(axis, indices, updates, SCATTERED[reduction])
    # of several updates of one element the last wins, and the gradient must be its alone: first see which
    order = torch.arange(updates.numel(), device=x.device).reshape(updates.shape)
    last = torch.full(x.shape, -1, device=x.device).scatter_reduce(axis, indices, order, "amax")
    if not updates.numel():
        return x
    return torch.where(last < 0, x, updates.reshape(-1)[last.clamp(min=0)])


@torch_rule(ops.TopKIndices)
def top_k_indices(op: ops.TopKIndices, x: Tensor) -> Tensor:
    return x.argsort(dim=op.axis, descending=op.largest, stable=True).narrow(op.axis, 0, op.k)


@torch_rule(ops.TopK)
def top_k(op: ops.TopK, x: Tensor) -> tuple[Tensor, Tensor]:
    indices = top_k_indices(op, x)
    return x.gather(op.axis, indices), indices
