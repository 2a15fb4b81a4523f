"""The reference semantics against ONNX Runtime where PyTorch has no like: uneven pads, resize modes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import oracle
import pytest

from graphopt.ir import Array, Op
from graphopt.ops import AveragePool, Conv, ConvTranspose, MaxPool, Resize


def run(kind: str, arrays: list[Array | None], **attributes: Any) -> Array:
    """One ONNX node on arrays; None stands for an operand left out."""
    names = [f"i{n}" if a is not None else "" for n, a in enumerate(arrays)]
    given = {n: a for n, a in zip(names, arrays, strict=True) if a is not None}
    node = onnx.helper.make_node(kind, names, ["y"], **attributes)
    inputs = [
        onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in given.items()
    ]
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = onnx.helper.make_graph([node], "one", inputs, [output])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)], ir_version=9)
    return oracle.run(model, given)[0]


def hold(op: Op, kind: str, *shapes: tuple[int, ...], extra: tuple[Array | None, ...] = (), **attributes: Any) -> None:
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    want = run(kind, [*arrays, *extra], **attributes)
    np.testing.assert_allclose(np.asarray(op.evaluate(*arrays)), want, rtol=1e-5, atol=1e-5)


GEOMETRY: dict[str, tuple[int, ...]] = {"strides": (2, 1), "pads": (1, 0, 2, 1), "dilations": (1, 2)}


def test_uneven_conv() -> None:
    hold(Conv(**GEOMETRY, group=2), "Conv", (2, 4, 7, 6), (6, 2, 3, 2), (6,), group=2, **GEOMETRY)  # type: ignore[arg-type]


@pytest.mark.parametrize("extra", [(0, 0), (1, 0)])
def test_uneven_conv_transpose(extra: tuple[int, int]) -> None:
    op = ConvTranspose(**GEOMETRY, group=2, output_padding=extra)  # type: ignore[arg-type]
    hold(op, "ConvTranspose", (2, 4, 5, 4), (4, 3, 3, 2), (6,), group=2, output_padding=extra, **GEOMETRY)


def test_uneven_pools() -> None:
    hold(MaxPool(kernel=(3, 2), **GEOMETRY), "MaxPool", (2, 3, 7, 6), kernel_shape=(3, 2), **GEOMETRY)
    for counted in (False, True):
        op = AveragePool(kernel=(3, 2), **GEOMETRY, count_include_pad=counted)
        shape = {"kernel_shape": (3, 2), "count_include_pad": int(counted)}
        hold(op, "AveragePool", (2, 3, 7, 6), **shape, **GEOMETRY)


@pytest.mark.parametrize("coordinates", ["asymmetric", "half_pixel"])
@pytest.mark.parametrize("rounding", ["floor", "round_prefer_floor"])
@pytest.mark.parametrize("sizes", [(3, 9), (8, 2), (5, 6), (13, 1)])
def test_resize(coordinates: str, rounding: str, sizes: tuple[int, int]) -> None:
    op = Resize(sizes=sizes, coordinates=coordinates, rounding=rounding)
    target = np.array([1, 2, *sizes], np.int64)
    hold(
        op,
        "Resize",
        (1, 2, 5, 6),
        extra=(None, None, target),
        mode="nearest",
        coordinate_transformation_mode=coordinates,
        nearest_mode=rounding,
    )
