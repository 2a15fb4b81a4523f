"""Small models that ask for much memory or time."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from hostile.sources import FLOAT, body, floats, model, node, one, own
from hostile.texts import HUGE


def of_constants(op: str, *constants: Any, **attributes: Any) -> onnx.ModelProto:
    """A model that adds to x what an operator makes of constants."""
    names = [f"c{i}" for i in range(len(constants))]
    nodes = [node(op, names, ["k"], "bad", **attributes), node("Add", ["x", "k"], ["y"])]
    return model(nodes, dict(zip(names, constants, strict=True)))


def gigabytes() -> dict[str, onnx.ModelProto]:
    """Small models that ask for much memory or time."""
    two, many = np.array([1 << 16, 1 << 16]), np.array([HUGE])
    scalar = np.float32(1)
    doubled = [node("Concat", [f"d{i}", f"d{i}"], [f"d{i + 1}"], axis=0) for i in range(40)]
    multiplied = [node("Expand", ["d0", "wide"], ["e"]), node("Add", ["e", "e"], ["y"])]
    image = (1, 1, 4, 4)
    return {
        "constant_of_shape": of_constants("ConstantOfShape", two),
        "constant_of_shape_past_64_bits": of_constants("ConstantOfShape", np.array([1 << 62, 1 << 62])),
        "expand_constant": of_constants("Expand", scalar, two),
        "expand": one("Expand", many),
        "tile_constant": of_constants("Tile", floats(1, 1), two),
        "tile": one("Tile", np.array([1, HUGE])),
        "range": of_constants("Range", np.float32(0), np.float32(1e10), scalar),
        "range_for_ever": of_constants("Range", np.float32(0), np.float32(np.inf), scalar),
        "range_nowhere": of_constants("Range", np.float32(0), np.float32(1), np.float32(0)),
        "resize_by_scale": one("Resize", None, np.array([1, 1, 1e9, 1e9], np.float32), x=image),
        "resize_to_size": one("Resize", None, None, np.array([1, 1, 1 << 28, 1]), x=image),
        "resize_linear": one("Resize", None, None, np.array([1, 1, 1 << 28, 1]), x=image, mode="linear"),
        "resize_antialias": one(
            "Resize", None, np.array([1, 1, 1e-9, 1], np.float32), x=(1, 1, 1 << 30, 1), mode="linear", antialias=1
        ),
        "resize_nan": one("Resize", None, np.array([1, 1, np.nan, 1], np.float32), x=image),
        "upsample": model(
            [node("Upsample", ["x", "s"], ["y"])], {"s": np.array([1, 1, 1e9, 1e9], np.float32)}, image, 9
        ),
        "pad": one("Pad", np.array([0, HUGE, 0, HUGE])),
        "pad_past_64_bits": one("Pad", np.array([0, 2**63 - 1, 0, 2**63 - 1])),
        "pad_reflect": one("Pad", np.array([0, 1 << 30, 0, 0]), mode="reflect"),
        "one_hot": model(
            [node("Cast", ["x"], ["i"], to=TensorProto.INT64), node("OneHot", ["i", "d", "v"], ["y"])],
            {"d": np.array(1 << 30), "v": np.array([0, 1], np.float32)},
        ),
        "one_hot_constant": of_constants("OneHot", np.arange(4), np.array(HUGE), np.array([0, 1], np.float32)),
        "eye_like": one("EyeLike", x=(1 << 18, 1 << 18)),
        "trilu": one("Trilu", x=(1 << 18, 1 << 18)),
        "reversed_slice": one("Slice", *map(np.array, ([-1], [-(2**63)], [0], [-1])), x=(1 << 36,)),
        "input": one("Relu", x=(1 << 20, 1 << 21)),
        "input_without_elements": one("Relu", x=(0, 1 << 62)),
        "input_past_64_bits": one("Relu", x=(1 << 40, 1 << 40)),
        "doubling_concat": model([*doubled, node("Add", ["x", "d40"], ["y"])], {"d0": floats(1024)}),
        "doubling_value": model(
            [
                node("Relu", ["x"], ["d0"]),
                *(node("Concat", [f"d{i}", f"d{i}"], [f"d{i + 1}"], axis=1) for i in range(60)),
                node("Relu", ["d60"], ["y"]),
            ]
        ),
        "broadcast": model(
            [node("Mul", ["a", "b"], ["k"]), node("Add", ["x", "k"], ["y"])],
            {"a": np.zeros((1 << 18, 1), np.float32), "b": np.zeros((1, 1 << 18), np.float32)},
        ),
        "gather_wide": of_constants("Gather", floats(1, 1 << 16), np.zeros(1 << 18, np.int64)),
        "many_expanded": model(
            [
                *(node("Expand", ["one", "wide"], [f"e{i}"]) for i in range(64)),
                *(node("Relu", [f"e{i}"], [f"r{i}"]) for i in range(64)),
                node("Sum", ["x", *(f"r{i}" for i in range(64))], ["y"]),
            ],
            {"one": scalar, "wide": np.array([1 << 26])},
        ),
        "expanded_sum": model(multiplied, {"d0": scalar, "wide": np.array([1 << 30])}),
        "depth_to_space": one("DepthToSpace", x=(1, 4, 2, 2), blocksize=1 << 32),
        "space_to_depth": one("SpaceToDepth", x=(1, 4, 2, 2), blocksize=1 << 32),
        "loops_in_loops": loops(),
        "functions_of_functions": laughs(),
        "conv_transpose_group": one("ConvTranspose", floats(1, 1, 3, 3), x=(1, 1, 4, 4), group=1 << 40),
    }


def loops() -> onnx.ModelProto:
    """Loops of a thousand steps, three deep."""
    inner: onnx.NodeProto = node("Relu", ["x"], ["b"])
    for depth in range(3):
        step = [
            helper.make_tensor_value_info(f"i{depth}", TensorProto.INT64, []),
            helper.make_tensor_value_info(f"g{depth}", TensorProto.BOOL, []),
            helper.make_tensor_value_info(f"v{depth}", FLOAT, None),
        ]
        graph = body([inner, node("Identity", [f"g{depth}"], ["again"])], step, ("again", "b"))
        inner = node("Loop", ["steps", "yes", "x"], ["b"], body=graph)
    return model([inner, node("Relu", ["b"], ["y"])], {"steps": np.array(1000), "yes": np.array(True)})


def laughs() -> onnx.ModelProto:
    """Functions, each of which calls the one before ten times: 10^12 nodes."""
    functions = [own("F0", *["Relu"] * 10), *(own(f"F{i}", *[f"F{i - 1}"] * 10) for i in range(1, 12))]
    return model([node("F11", ["x"], ["y"], domain="own")], functions=functions)
