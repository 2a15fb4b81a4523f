"""Rounding weights so that a layer's results move least: sequential compensation, coordinate descent, scales by search.

The error of a layer over the data is quadratic in its weights, with the moments of its inputs as Hessian, as in
Optimal Brain Quantization (Frantar and Alistarh, 2022). The first integers are those of GPTQ (Frantar et al., 2023):
each is rounded to make up for the errors before it. Then each in turn takes its best value while the others are fixed,
as in QuantEase (Behdin et al., 2023); no such step raises the error.
"""

from __future__ import annotations

import numpy as np

from graphopt.ir import Array
from graphopt.passes.quantize.recover.moments import Moments

CLIPS = np.linspace(1.0, 0.5, 11)
"""The fractions of the largest weight of a channel for which a scale is tried."""
PULL = 1.0
"""How strongly the target weights are pulled to the trained ones, relative to the mean power of the inputs: following
a few samples closely does worse on unseen samples."""
DAMPING = 0.1
"""How strongly the integers are pulled to the target weights, in the same unit."""
SWEEPS = 3


def nearest(steps: Array, limit: int) -> Array:
    """The integers nearest to real ``steps`` within the limit; those of one bit are -1 and 1."""
    if limit == 1:
        return np.where(steps < 0, -1.0, 1.0)
    return np.asarray(np.clip(np.rint(steps), -limit, limit))


def round_weights(
    weights: Array, found: Moments, scale: Array, least: Array, limit: int, shared: bool = False
) -> tuple[Array, Array]:
    """Integers [g, o, k] and scales [g, o] for weights [g, o, k], whose largest fit ``scale`` [g, o].

    No channel has a larger error than with rounding to nearest and ``scale``; no scale is below ``least``. If
    ``shared``, all channels have one scale, and the promise is for the whole layer.
    """
    hessian, target = damped(weights, found)
    best, best_scale = nearest(weights / scale[..., None], limit), scale
    best_error = found.error(best * best_scale[..., None])
    for clip in CLIPS:
        tried = np.maximum(scale * clip, least)
        steps = target / tried[..., None]
        integers = descend(steps, hessian, compensated(steps, hessian, limit), limit)
        error = found.error(integers * tried[..., None])
        better = np.full(error.shape, error.sum() < best_error.sum()) if shared else error < best_error
        best = np.where(better[..., None], integers, best)
        best_scale, best_error = np.where(better, tried, best_scale), np.where(better, error, best_error)
    return best, best_scale


def damped(weights: Array, found: Moments) -> tuple[Array, Array]:
    """The Hessian [g, k, k] with damping, and the real weights of the least error with a pull to the trained ones."""
    k = weights.shape[-1]
    power = np.maximum(np.trace(found.inputs, axis1=1, axis2=2) / k, 1e-30)[:, None, None] * np.eye(k)
    aim = np.linalg.solve(found.inputs + PULL * power, (found.cross + PULL * (weights @ power)).swapaxes(1, 2))
    return found.inputs + DAMPING * power, aim.swapaxes(1, 2)


def compensated(target: Array, hessian: Array, limit: int) -> Array:
    """Integers [g, o, k] for real ones, each rounded to make up for the errors of those rounded before it.

    With H = R'R this is Babai's nearest plane, which equals GPTQ.
    """
    root = np.linalg.cholesky(hessian).swapaxes(1, 2)
    q = np.zeros_like(target)
    for j in reversed(range(target.shape[-1])):
        pull = ((target - q)[..., j + 1 :] * (root[:, None, j, j + 1 :] / root[:, None, j, j, None])).sum(-1)
        q[..., j] = nearest(target[..., j] + pull, limit)
    return q


def descend(target: Array, hessian: Array, integers: Array, limit: int) -> Array:
    """Integers [g, o, k], improved one after another, to lower (target - q) H (target - q)'."""
    q = integers.copy()
    slope = (target - q) @ hessian
    for _ in range(SWEEPS):
        for j in range(q.shape[-1]):
            step = nearest(q[..., j] + slope[..., j] / hessian[:, j, j, None], limit) - q[..., j]
            q[..., j] += step
            slope -= step[..., None] * hessian[:, None, j]
    return q
