"""Resizing against ONNX Runtime and PyTorch: lengths, positions and weights, where a last digit decides as well."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional

import graphopt
from frontends.onnx_models import floats, make, node
from graphopt.errors import Unsupported
from graphopt.frontends import load
from graphopt.ir import Array

SCALES = [round(0.1 * k, 1) for k in range(1, 41)]
COORDINATES = (
    "half_pixel",
    "asymmetric",
    "pytorch_half_pixel",
    "align_corners",
    "half_pixel_symmetric",
    "tf_half_pixel_for_nn",
)
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
TOLERANCE = 3e-6
"""Of max|x|, for results may cancel: both compute weights in float32, and sum in another order."""


def by_scales(x: Array, scales: Sequence[float], opset: int = 19, **attrs: Any) -> onnx.ModelProto:
    names = ["x", "s"] if opset < 11 else ["x", "", "s"]
    return make([node("Resize", names, **attrs)], {"x": x.shape}, {"s": np.array(scales, np.float32)}, opset)


def by_sizes(
    x: Array, sizes: Sequence[int], opset: int = 19, roi: Array | None = None, **attrs: Any
) -> onnx.ModelProto:
    constants: dict[str, Any] = {"z": np.array(sizes)} | ({} if roi is None else {"r": roi})
    one = node("Resize", ["x", "" if roi is None else "r", "", "z"], **attrs)
    return make([one], {"x": x.shape}, constants, opset)


def by_onnxruntime(model: onnx.ModelProto, x: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def hold(model: onnx.ModelProto, x: Array, tolerance: float = TOLERANCE) -> None:
    want = by_onnxruntime(model, x)
    if want.size == 0:
        with pytest.raises(Unsupported, match="no elements"):
            load(model)
        return
    (got,) = load(model)(x)
    assert got.shape == want.shape, (got.shape, want.shape)
    assert np.abs(got - want).max() <= tolerance * np.abs(x).max(), str(model.graph.node[0])


def hold_nearest(lengths: Sequence[int], scales: Sequence[float], sizes: Sequence[int]) -> None:
    """Elements are copied, so that all is equal."""
    for length, coordinates, rounding in product(lengths, COORDINATES, ROUNDINGS):
        x = np.arange(1.0, length + 1, dtype=np.float32)
        how: dict[str, Any] = {"coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
        for scale in scales:
            hold(by_scales(x, [scale], 13, **how), x, 0)
        for size in sizes:
            hold(by_sizes(x, [size], 18, **how), x, 0)


def test_nearest() -> None:
    hold_nearest([40], [0.7, 1.3, 1.6], [12, 19])


@pytest.mark.slow
def test_nearest_everywhere() -> None:
    hold_nearest([1, 2, 3, 5, 7, 8, 10, 40, 64], SCALES, range(1, 30))


def test_positions_near_the_middle_of_two_elements() -> None:
    """microsoft/onnxruntime #28291: 14.5 is no float32 result, and counts as the middle all the same."""
    x = np.arange(20.0, dtype=np.float32)
    ceil = by_sizes(x, [6], nearest_mode="round_prefer_ceil")
    assert load(ceil)(x)[0].tolist() == [1, 5, 8, 11, 15, 18]
    floor = by_sizes(x, [6], nearest_mode="round_prefer_floor")
    assert load(floor)(x)[0].tolist() == [1, 4, 8, 11, 14, 18]


@pytest.mark.parametrize("length", [1, 2, 7, 40])
def test_before_opset_11(length: int) -> None:
    x = np.arange(1.0, length + 1, dtype=np.float32)
    for scale in SCALES[:: 1 if length == 7 else 4]:
        hold(by_scales(x, [scale], 10), x, 0)
        if scale >= 1:
            up = {"s": np.array([scale], np.float32)}
            hold(make([node("Upsample", ["x", "s"])], {"x": x.shape}, up, 9), x, 0)
            hold(make([node("Upsample", scales=[scale])], {"x": x.shape}, {}, 7), x, 0)
    image = floats(1, 2, 5, 7)
    for mode in ("linear", "nearest"):
        hold(by_scales(image, [1, 1, 1.3, 0.6], 10, mode=mode), image)
        up = {"s": np.array([1, 1, 1.7, 2.3], np.float32)}
        hold(make([node("Upsample", ["x", "s"], mode=mode)], {"x": image.shape}, up, 9), image)


def hold_mixing(shapes: Sequence[tuple[int, int]], scales: Sequence[float]) -> None:
    """Modes that mix elements, with and without antialiasing, both axes by scales of their own."""
    ways: list[tuple[int, dict[str, Any]]] = [
        (13, {"mode": "linear"}),
        (13, {"mode": "cubic"}),
        (13, {"mode": "cubic", "exclude_outside": 1, "cubic_coeff_a": -0.5}),
        *((18, {"mode": m, "antialias": 1, "exclude_outside": e}) for m in ("linear", "cubic") for e in (0, 1)),
    ]
    for shape, i, coordinates, (opset, how) in product(shapes, range(len(scales)), COORDINATES[:5], ways):
        x = floats(*shape)
        pair = [scales[i], scales[i * 7 % len(scales)]]
        hold(by_scales(x, pair, opset, coordinate_transformation_mode=coordinates, **how), x)


def test_mixing() -> None:
    hold_mixing([(5, 7)], [1.5, 0.6])
    hold_mixing([(1, 3)], [3.1])


@pytest.mark.slow
def test_mixing_everywhere() -> None:
    hold_mixing([(1, 1), (1, 3), (5, 7), (8, 2), (13, 4)], SCALES)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_ranks_axes_and_policies(mode: str) -> None:
    for rank in (1, 2, 3, 4, 5):
        if mode == "nearest" or (mode == "linear" and rank > 1) or rank in (2, 4):
            x = floats(*(1, 2, 2, 3, 5)[-rank:])
            scales = [1.0] * 2 * (rank > 3) + [1.8, 0.7, 1.3][-rank if rank < 4 else 2 - rank :]
            hold(by_scales(x, scales, mode=mode), x)
    x = floats(5, 7)
    for policy, size in product(("stretch", "not_larger", "not_smaller"), ([9, 3], [5, 8], [4, 7])):
        hold(by_sizes(x, size, mode=mode, keep_aspect_ratio_policy=policy), x)
        hold(by_sizes(x, size[:1], mode=mode, keep_aspect_ratio_policy=policy, axes=[1]), x)
        hold(by_sizes(x, size, mode=mode, keep_aspect_ratio_policy=policy, axes=[1, 0]), x)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_cropping(mode: str) -> None:
    x = floats(5, 7)
    how: dict[str, Any] = {
        "mode": mode,
        "coordinate_transformation_mode": "tf_crop_and_resize",
        "extrapolation_value": 3.5,
    }
    for roi in ([0.1, 0.2, 0.9, 0.7], [-0.2, 0, 0.8, 1.3], [0.5, 0.5, 0.5, 0.6]):
        for sizes in ([3, 4], [8, 9], [1, 6]):
            hold(by_sizes(x, sizes, roi=np.array(roi, np.float32), **how), x)


def test_cropping_an_axis_that_keeps_its_length() -> None:
    """ONNX Runtime copies such an axis whole; ONNX's formula has no such exception."""
    x = np.arange(5.0, dtype=np.float32)
    how: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"}
    (y,) = load(by_sizes(x, [5], roi=np.array([0.5, 1.0], np.float32), **how))(x)
    np.testing.assert_allclose(y, [2, 2.5, 3, 3.5, 4], atol=1e-6)


def test_a_policy_that_resizes_the_batch_fixes_it(caplog: pytest.LogCaptureFixture) -> None:
    constants = {"z": np.array([1, 3, 8, 8])}
    one = node("Resize", ["x", "", "", "z"], keep_aspect_ratio_policy="not_larger")
    graph = load(make([one], {"x": ("N", 3, 4, 4)}, constants, 19))
    assert not graph.is_symbolic


@pytest.mark.parametrize("scale", [1.5, 0.6])
def test_aligned_corners_of_a_model_from_pytorch(scale: float) -> None:
    """onnx/onnx #4275: the whole length counts, not the length times the scale."""
    net, x = nn.Upsample(scale_factor=scale, mode="bilinear", align_corners=True), torch.randn(1, 1, 5, 7)
    file: Any = io.BytesIO()
    torch.onnx.export(net, (x,), file, dynamo=False, opset_version=13)
    want = net(x).numpy()
    for graph in (load(onnx.load_from_string(file.getvalue())), graphopt.trace(net, (x,))):
        assert np.abs(graph(x.numpy())[0] - want).max() <= TOLERANCE * x.abs().max()


class Nearest(nn.Module):
    """One tensor by many scales, or to many sizes."""

    def __init__(self, mode: str, scales: Sequence[float], sizes: Sequence[int] = ()) -> None:
        super().__init__()
        self.mode, self.scales, self.sizes = mode, scales, sizes

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        scaled = [functional.interpolate(x, scale_factor=s, mode=self.mode) for s in self.scales]
        return scaled + [functional.interpolate(x, size=(s,) * (x.ndim - 2), mode=self.mode) for s in self.sizes]


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize("shape", [(40,), (9,), (10, 7), (3, 4, 5)])
def test_nearest_of_pytorch(mode: str, shape: tuple[int, ...]) -> None:
    net = Nearest(mode, (*SCALES[3 :: len(shape)], 1.1), (1, 3, 12, 19))
    x = torch.arange(float(np.prod(shape))).reshape(1, 1, *shape)
    for got, want in zip(graphopt.trace(net, (x,))(x.numpy()), net(x), strict=True):
        np.testing.assert_array_equal(got, want.numpy())


@pytest.mark.parametrize("dtype", [torch.float64, torch.uint8])
def test_nearest_of_pytorch_in_other_types(dtype: torch.dtype) -> None:
    x = torch.arange(40).reshape(1, 1, 40).to(dtype)
    net = Nearest("nearest", SCALES[3:])
    for got, want in zip(graphopt.trace(net, (x,))(x.numpy()), net(x), strict=True):
        np.testing.assert_array_equal(got, want.numpy())
