"""Models that hold together nowhere."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from hostile.sources import body, floats, model, node, one, own


def malformed() -> dict[str, onnx.ModelProto]:
    """Models that hold together nowhere."""
    image = (1, 2, 4, 4)
    weight = floats(2, 2, 3, 3)
    cyclic = [node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["b"], ["y"])]
    missing = model([node("Add", ["x", "nowhere"], ["y"])])
    short = model([node("Add", ["x", "k"], ["y"])], {"k": floats(4)})
    short.graph.initializer[0].raw_data = b"\0"
    long = model([node("Add", ["x", "k"], ["y"])], {"k": floats(4)})
    long.graph.initializer[0].dims[:] = [1 << 40]
    negative = model([node("Add", ["x", "k"], ["y"])], {"k": floats(4)})
    negative.graph.initializer[0].dims[:] = [-4]
    twice = model([node("Relu", ["x"], ["y"]), node("Abs", ["x"], ["y"])])
    inputs = model([node("Relu", ["x"], ["y"])])
    inputs.graph.input.append(inputs.graph.input[0])
    outputs = model([node("Relu", ["x"], ["y"])], outputs=("y", "y"))
    stored = model([node("Add", ["x", "k"], ["y"])], {"k": floats(4)})
    stored.graph.initializer.append(stored.graph.initializer[0])
    untyped = model([node("Relu", ["x"], ["y"])])
    untyped.graph.input[0].ClearField("type")
    dtype = model([node("Relu", ["x"], ["y"])])
    dtype.graph.input[0].type.tensor_type.elem_type = 9999
    strange = model([node("Add", ["x", "k"], ["y"])], {"k": floats(4)})
    strange.graph.initializer[0].data_type = 9999
    kind = model([node("Softmax", ["x"], ["y"], axis=1)])
    kind.graph.node[0].attribute[0].type = 7
    unnamed = model([node("Relu", ["x"], ["y"])])
    unnamed.graph.node[0].op_type = ""
    return {
        "rank_of_conv": one("Conv", floats(3, 3), x=image),
        "stride_zero": one("Conv", weight, x=image, strides=[0, 0]),
        "stride_negative": one("Conv", weight, x=image, strides=[-1, 1]),
        "stride_absurd": one("MaxPool", x=image, kernel_shape=[2**62, 2**62], strides=[2**62, 1]),
        "pads_absurd": one("Conv", weight, x=image, pads=[2**62] * 4),
        "dilation_absurd": one("Conv", weight, x=image, dilations=[2**62, 2**62]),
        "group_zero": one("Conv", weight, x=image, group=0),
        "group_negative": one("Conv", weight, x=image, group=-2),
        "kernel_zero": one("AveragePool", x=image, kernel_shape=[0, 0]),
        "kernel_missing": one("MaxPool", x=image),
        "dims_negative": one("Relu", x=(2, -4, 4)),
        "reshape_negative": one("Reshape", np.array([-5, 4])),
        "reshape_twice_open": one("Reshape", np.array([-1, -1])),
        "reshape_past_64_bits": one("Reshape", np.array([2**62, 2**62])),
        "axis_absurd": one("Softmax", axis=2**62),
        "axes_absurd": one("ReduceSum", np.array([2**62])),
        "perm_repeats": one("Transpose", perm=[0, 0]),
        "split_absurd": one("Split", np.array([2**62, 2**62]), axis=1),
        "split_by_zero": one("Split", axis=1, num_outputs=0),
        "top_k_absurd": one("TopK", np.array([2**62])),
        "gather_outside": one("Gather", np.array([2**62]), axis=1),
        "slice_by_zero": one("Slice", *map(np.array, ([0], [4], [1], [0]))),
        "depth_to_space_zero": one("DepthToSpace", x=(1, 4, 2, 2), blocksize=0),
        "depth_to_space_negative": one("DepthToSpace", x=(1, 4, 2, 2), blocksize=-2),
        "einsum_nonsense": one("Einsum", equation="(((((->" * 1000),
        "dtypes_mixed": one("Add", np.arange(4)),
        "operands_missing": model([node("Add", ["x"], ["y"])]),
        "operands_many": model([node("Relu", ["x"] * 1000, ["y"])]),
        "results_many": model([node("Relu", ["x"], ["y", *(f"y{i}" for i in range(1000))])], outputs=("y", "y1")),
        "operator_unknown": one("NoSuchOperator"),
        "operator_without_name": unnamed,
        "attribute_of_another_type": one("Softmax", axis="one"),
        "attribute_type_lies": kind,
        "cyclic": model(cyclic),
        "reads_itself": model([node("Add", ["x", "y"], ["y"])]),
        "name_computed_twice": twice,
        "name_of_input_computed": model([node("Relu", ["x"], ["x"]), node("Relu", ["x"], ["y"])]),
        "input_twice": inputs,
        "output_twice": outputs,
        "initializer_twice": stored,
        "output_computed_nowhere": model([node("Relu", ["x"], ["z"])]),
        "initializer_missing": missing,
        "initializer_short": short,
        "initializer_long": long,
        "initializer_negative": negative,
        "initializer_of_unknown_type": strange,
        "input_of_unknown_type": dtype,
        "input_without_type": untyped,
        "function_calls_itself": model([node("F", ["x"], ["y"], domain="own")], functions=[own("F", "F")]),
        "functions_call_each_other": model(
            [node("F", ["x"], ["y"], domain="own")], functions=[own("F", "G"), own("G", "F")]
        ),
        "opset_absurd": model([node("Relu", ["x"], ["y"])], opset=2**31),
        "opset_negative": model([node("Relu", ["x"], ["y"])], opset=-1),
        "branches_deep": deep(20),
    }


def deep(levels: int) -> onnx.ModelProto:
    """If in If in If, of a condition that is not known."""
    inner = body([node("Relu", ["x"], ["b"])])
    for _ in range(levels):
        inner = body([node("If", ["go"], ["b"], then_branch=inner, else_branch=body([node("Abs", ["x"], ["b"])]))])
    return model(
        [
            node("Cast", ["x"], ["go"], to=TensorProto.BOOL),
            node("If", ["go"], ["y"], then_branch=inner, else_branch=body([node("Abs", ["x"], ["b"])])),
        ]
    )
