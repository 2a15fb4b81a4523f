"""Models whose weights lie in files where they should not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from hostile.sources import body, floats, model, node


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
