"""Models made to do harm, each by a name that says how. Every one must be refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from safetensors.numpy import save as save_tensors

from hostile.sources import FLOAT, body, cnn, floats, model, node, one
from hostile.texts import HUGE, stored, texts
from hostile.weights import unbounded


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


def own(name: str, *calls: str) -> onnx.FunctionProto:
    """A function that calls others, one after the other."""
    names = ["a", *(f"t{i}" for i in range(len(calls) - 1)), "b"]
    nodes = [node(c, [names[i]], [names[i + 1]], domain="" if c == "Relu" else "own") for i, c in enumerate(calls)]
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
    return helper.make_function("own", name, ["a"], ["b"], nodes, imports)


def laughs() -> onnx.ModelProto:
    """Functions, each of which calls the one before ten times: 10^12 nodes."""
    functions = [own("F0", *["Relu"] * 10), *(own(f"F{i}", *[f"F{i - 1}"] * 10) for i in range(1, 12))]
    return model([node("F11", ["x"], ["y"], domain="own")], functions=functions)


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


def nested_protobuf(levels: int) -> bytes:
    """Graphs in attributes of nodes of graphs, deeper than protobuf reads."""
    graph = b""
    for _ in range(levels):
        attribute = b"\x0a\x01b\x32" + varint(len(graph)) + graph
        inner = b"\x2a" + varint(len(attribute)) + attribute
        graph = b"\x0a" + varint(len(inner)) + inner
    return b"\x08\x0a\x3a" + varint(len(graph)) + graph


def varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def external(**entries: str) -> onnx.ModelProto:
    made = model([node("Add", ["x", "k"], ["y"])], {"k": floats(4)})
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return made


def in_body(made: onnx.ModelProto) -> onnx.ModelProto:
    """The nodes and tensors of a model as the branches of an If."""
    inner = body([node("Add", ["x", "k"], ["b"])])
    inner.initializer.extend(made.graph.initializer)
    return model([node("If", ["go"], ["y"], then_branch=inner, else_branch=inner)], {"go": np.array(True)})


def in_function(made: onnx.ModelProto) -> onnx.ModelProto:
    """The tensor of a model as a constant of a function."""
    nodes = [node("Constant", [], ["k"], value=made.graph.initializer[0]), node("Add", ["a", "k"], ["b"])]
    function = helper.make_function("own", "F", ["a"], ["b"], nodes, [helper.make_opsetid("", 21)])
    return model([node("F", ["x"], ["y"], domain="own")], functions=[function])


def externals(folder: Path) -> dict[str, onnx.ModelProto]:
    """Weights that lie where they should not."""
    (folder / "weights.bin").write_bytes(bytes(16))
    outside = folder.parent / "outside.bin"
    outside.write_bytes(bytes(16))
    (folder / "link.bin").symlink_to(outside)
    (folder / "loop.bin").symlink_to(folder / "loop.bin")
    (folder / "up").symlink_to(folder.parent)
    with (folder / "sparse.bin").open("wb") as file:
        file.truncate(3 << 29)
    many = external(location="sparse.bin")
    many.graph.initializer[0].dims[:] = [3 << 27]
    for i in range(3):
        many.graph.initializer.add().CopyFrom(many.graph.initializer[0])
        many.graph.initializer[-1].name = f"k{i}"
    return {
        "parent": external(location="../outside.bin"),
        "parent_in_the_middle": external(location=f"a/../../{folder.name}/weights.bin"),
        "absolute": external(location="/etc/passwd"),
        "link": external(location="link.bin"),
        "linked_folder": external(location="up/outside.bin"),
        "link_to_itself": external(location="loop.bin"),
        "folder": external(location="."),
        "device": external(location="/dev/zero"),
        "no_location": external(),
        "missing": external(location="none.bin"),
        "name_too_long": external(location="a" * 5000),
        "name_with_nul": external(location="a\0b"),
        "length_past_the_end": external(location="weights.bin", length=str(1 << 60)),
        "offset_past_the_end": external(location="weights.bin", offset=str(1 << 60)),
        "offset_negative": external(location="weights.bin", offset="-1"),
        "offset_of_many_digits": external(location="weights.bin", offset="9" * 10_000),
        "offset_no_number": external(location="weights.bin", offset="x"),
        "length_short": external(location="weights.bin", length="3"),
        "length_of_a_sparse_file": external(location="sparse.bin", length=str(3 << 29)),
        "length_of_more_elements": external(location="weights.bin", length="12"),
        "many_of_one_sparse_file": many,
        "in_a_body": in_body(external(location="/etc/passwd")),
        "in_a_function": in_function(external(location="../outside.bin")),
    }


def files(folder: Path) -> list[Path]:
    """The whole corpus in a folder."""
    contents: dict[str, bytes] = {}
    kinds = {"large": gigabytes(), "malformed": malformed(), "weights": unbounded(), "external": externals(folder)}
    for kind, models in kinds.items():
        contents |= {f"{kind}_{name}.onnx": m.SerializeToString() for name, m in models.items()}
    sound = cnn().SerializeToString()
    contents |= {f"text_{name}.gopt": stored(text) for name, text in texts().items()}
    contents |= {
        "empty.onnx": b"",
        "empty.gopt": b"",
        "zeros.onnx": bytes(100),
        "text.onnx": b"hello, world\n" * 100,
        "nested.onnx": nested_protobuf(60),
        "nested_deep.onnx": nested_protobuf(5000),
        "name_not_text.onnx": sound.replace(b"hostile", b"host\xff\xfee"),
        "length_lies.onnx": b"\x3a\xff\xff\xff\xff\x07" + sound,
        "pickle.pt": pickle.dumps({"a": 1}),
        "pickle.onnx": pickle.dumps({"a": 1}),
        "pickle.gopt": pickle.dumps({"a": 1}),
        "zip.onnx": b"PK\x03\x04" + bytes(100),
        "tflite.onnx": b"\x1c\0\0\0TFL3" + bytes(100),
        "onnx.gopt": sound,
        "header_huge.gopt": (1 << 62).to_bytes(8, "little") + b"{}",
        "header_large.gopt": (90_000_000).to_bytes(8, "little") + b"{" + b" " * 100,
        "header_deep.gopt": (200_000).to_bytes(8, "little") + b"[" * 200_000,
        "header_offsets.gopt": with_header({"0" * 16: {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}),
        "header_overlap.gopt": with_header(
            {c * 16: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for c in "0123"}
        ),
        "header_dtype.gopt": with_header({"0" * 16: {"dtype": "F8_E5M2", "shape": [4], "data_offsets": [0, 4]}}),
        "digest.gopt": stored("graph g() { return }", {"0" * 16: np.zeros(4, np.float32)}),
        "weights.gopt": save_tensors({"weight": np.zeros(4, np.float32)}),
        "tensors.onnx": save_tensors({"weight": np.zeros(4, np.float32)}),
    }
    paths = []
    for name, data in contents.items():
        path = folder / name
        path.write_bytes(data)
        paths.append(path)
    for name, head in (
        ("sparse.onnx", b""),
        ("sparse_tail.onnx", b"\x08\x0a\x3a\xf0\xff\xff\xff\x03"),
        ("sparse.gopt", b""),
    ):
        path = folder / name
        with path.open("wb") as file:
            file.write(head)
            file.truncate(1 << 30)
        paths.append(path)
    for name in ("folder.onnx", "folder.gopt"):
        (folder / name).mkdir()
        paths.append(folder / name)
    (folder / "dangling.onnx").symlink_to(folder / "nothing")
    return [*paths, folder / "dangling.onnx", folder / "nothing.onnx", Path("/dev/zero"), Path("/dev/null")]


def with_header(header: dict[str, Any]) -> bytes:
    """A safetensors file of this header and 4 bytes."""
    header["__metadata__"] = {"format": "graphopt", "version": "1", "operators": "{}", "graph": ""}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(4)
