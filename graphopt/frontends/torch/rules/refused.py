"""The core operators of ATen that are refused for what they are, and why."""

from __future__ import annotations

from graphopt.frontends.torch.node import ATEN_RULES

REASONS: dict[str, tuple[str, ...]] = {
    "it belongs to training": (
        *("_adaptive_avg_pool2d_backward.default", "avg_pool2d_backward.default", "convolution_backward.default"),
        *("max_pool2d_with_indices_backward.default", "native_dropout.default"),
    ),
    "it normalizes by the statistics of its batch": (
        "_native_batch_norm_legit.default",
        "_native_batch_norm_legit.no_stats",
    ),
    "it is what is left of aten.group_norm, which has a rule, in a program that was decomposed": (
        "native_group_norm.default",
    ),
    "samples by a grid are imported from ONNX only": ("grid_sampler_2d.default",),
    "it is random": ("rand.default", "randn.default", "randperm.default"),
    "its elements are not initialized": ("empty.memory_format", "empty_strided.default"),
    "the shape of its result depends on data": ("nonzero.default",),
    "how many elements it takes depends on data": ("masked_scatter.default",),
    "the lengths of its bags depend on data": ("_embedding_bag.default",),
    "it makes a number of Python of data": ("_local_scalar_dense.default",),
    "it works on complex numbers": ("_fft_c2r.default", "_fft_r2c.default"),
    "it reads memory by strides, and the graph has none": ("as_strided.default",),
    "it changes the size of a tensor in place": ("resize_.default",),
    "its number depends on the batch": ("scalar_tensor.default",),
    "no operator stands for distances of all pairs": ("_cdist_forward.default", "_pdist_forward.default"),
    "no operator stands for the angle of two operands": ("atan2.default", "atan2.out"),
}

for why, names in REASONS.items():
    ATEN_RULES.unsupported(why, *(f"aten.{name}" for name in names))
