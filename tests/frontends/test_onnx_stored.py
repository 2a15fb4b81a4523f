"""Large tensors stay in their file until they are read, once, into the arrays of the graph."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from graphopt import load, optimize
from graphopt.errors import InvalidInput
from graphopt.frontends.onnx.stored import LARGE, MAX_FIELDS, without_tensors
from graphopt.ir import Array, Constant, Graph

SIZE = 256
W = np.random.default_rng(0).standard_normal((SIZE, SIZE)).astype("float32")


def model(nodes: list[onnx.NodeProto], weights: list[TensorProto]) -> onnx.ModelProto:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, SIZE]) for name in "xy"]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def weight(data: Array = W, name: str = "w") -> TensorProto:
    return numpy_helper.from_array(data, name)


def linear() -> onnx.ModelProto:
    return model([helper.make_node("MatMul", ["x", "w"], ["y"])], [weight()])


def in_an_attribute() -> onnx.ModelProto:
    nodes = [helper.make_node("Constant", [], ["w"], value=weight()), helper.make_node("MatMul", ["x", "w"], ["y"])]
    return model(nodes, [])


def in_a_body() -> onnx.ModelProto:
    """Of a loop of three turns, which is written out: its weight stays one constant."""
    turn = helper.make_graph(
        [helper.make_node("MatMul", ["s", "w"], ["t"]), helper.make_node("Identity", ["c"], ["d"])],
        "turn",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("s", TensorProto.FLOAT, [1, SIZE]),
        ],
        [
            helper.make_tensor_value_info("d", TensorProto.BOOL, []),
            helper.make_tensor_value_info("t", TensorProto.FLOAT, [1, SIZE]),
        ],
        [weight()],
    )
    settings = [weight(np.array(3), "n"), weight(np.array(True), "c")]
    return model([helper.make_node("Loop", ["n", "c", "x"], ["y"], body=turn)], settings)


def explicitly_inside() -> onnx.ModelProto:
    """The field that says so comes after the data."""
    made = linear()
    made.graph.initializer[0].data_location = TensorProto.DEFAULT
    return made


def in_floats() -> onnx.ModelProto:
    """Not as raw data: protobuf reads it."""
    tensor = helper.make_tensor("w", TensorProto.FLOAT, W.shape, W.ravel())
    return model([helper.make_node("MatMul", ["x", "w"], ["y"])], [tensor])


MODELS = (linear, in_an_attribute, in_a_body, explicitly_inside, in_floats)


def weights(graph: Graph) -> list[Array]:
    return [n.op.value for n in graph.nodes if isinstance(n.op, Constant) and n.op.value.size == W.size]


@pytest.mark.parametrize("make", MODELS)
def test_tensors_are_read_where_they_lie(make: Callable[[], onnx.ModelProto], tmp_path: Path) -> None:
    made = make()
    onnx.save(made, tmp_path / "m.onnx")
    data = (tmp_path / "m.onnx").read_bytes()
    small = without_tensors(data)
    assert (len(small) < LARGE) == (make is not in_floats)
    x = np.ones((1, SIZE), "float32")
    graph = load(tmp_path / "m.onnx")
    np.testing.assert_array_equal(graph(x)[0], load(made)(x)[0])
    assert len(weights(graph)) == 1


@pytest.mark.parametrize("outside", [False, True], ids=["in the file", "beside it"])
def test_a_tensor_is_read_once_and_not_copied(outside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = model([helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)], [weight()])
    onnx.save(made, tmp_path / "m.onnx", save_as_external_data=outside, location="w.bin", size_threshold=0)
    read, real = list[Array](), np.fromfile

    def fromfile(*arguments: object, **options: object) -> Array:
        read.append(real(*arguments, **options))  # type: ignore[call-overload]
        return read[-1]

    monkeypatch.setattr(np, "fromfile", fromfile)
    (found,) = weights(optimize(load(tmp_path / "m.onnx")))
    assert len(read) == 1 and np.shares_memory(found, read[0]) and not found.flags.writeable


@pytest.mark.parametrize(("transposed", "bound"), [(1, 1.4), (0, 2.2)])
def test_the_memory_of_loading_and_optimising(transposed: int, bound: float, tmp_path: Path) -> None:
    """Of what is transposed there may be two, but for very large models (see ``importer.MAX_GARBAGE``)."""
    big = np.ones((1024, 1024), "float32")
    steps = enumerate(pairwise(["x", *(f"y{i}" for i in range(7)), "y"]))
    nodes = [helper.make_node("Gemm", [x, f"w{i}"], [y], transB=transposed) for i, (x, y) in steps]
    made = model(nodes, [weight(big + i, f"w{i}") for i in range(8)])
    for port in (*made.graph.input, *made.graph.output):
        port.type.tensor_type.shape.dim[1].dim_value = 1024
    onnx.save(made, tmp_path / "m.onnx")
    del made
    load(tmp_path / "m.onnx")  # what is imported and cached the first time
    tracemalloc.start()
    try:
        optimize(load(tmp_path / "m.onnx"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < bound * 8 * big.nbytes


def test_a_model_may_be_a_link(tmp_path: Path) -> None:
    """As in the caches of model hubs."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "models").mkdir()
    onnx.save(linear(), tmp_path / "blobs" / "m")
    (tmp_path / "models" / "m.onnx").symlink_to(tmp_path / "blobs" / "m")
    assert weights(load(tmp_path / "models" / "m.onnx"))


def claimed(count: int, **entries: object) -> onnx.ModelProto:
    """Tensors that say of themselves where in the file they lie."""
    tensors = [TensorProto(name=f"w{i}", data_type=1, dims=[SIZE, SIZE], data_location=1) for i in range(count)]
    for tensor in tensors:
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=str(value))
    nodes = [helper.make_node("MatMul", ["x" if i == 0 else f"y{i - 1}", f"w{i}"], [f"y{i}"]) for i in range(count)]
    nodes[-1].output[0] = "y"
    made = model(nodes, tensors)
    made.graph.doc_string = "x" * W.nbytes
    return made


CLAIMS = {
    "beyond the end": (claimed(1, embedded=1 << 20), "is cut short"),
    "no number": (claimed(1, embedded="-8"), "its data lies at '-8'"),
    "of another length": (claimed(1, embedded=0, length=12), "its data has 12 bytes, its shape and type take 262,144"),
    "the same bytes often": (claimed(8, embedded=0), "the model keeps 2,097,152 bytes in its file"),
}


@pytest.mark.parametrize("case", CLAIMS)
def test_claims_are_checked(case: str, tmp_path: Path) -> None:
    made, message = CLAIMS[case]
    onnx.save(made, tmp_path / "m.onnx")
    with pytest.raises(InvalidInput, match=message):
        load(tmp_path / "m.onnx")


def test_a_length_that_is_not_that_of_the_shape(tmp_path: Path) -> None:
    made = linear()
    made.graph.initializer[0].dims[0] = SIZE - 1
    onnx.save(made, tmp_path / "m.onnx")
    with pytest.raises(InvalidInput, match=r"tensor 'w': its data has 262,144 bytes, its shape and type take 261,120"):
        load(tmp_path / "m.onnx")


@pytest.mark.parametrize("cut", [1, 10, 1000, W.nbytes])
def test_a_file_that_is_cut_short(cut: int, tmp_path: Path) -> None:
    onnx.save(linear(), tmp_path / "m.onnx")
    (tmp_path / "m.onnx").write_bytes((tmp_path / "m.onnx").read_bytes()[:-cut])
    with pytest.raises(InvalidInput, match="the file is not ONNX, or is cut short"):
        load(tmp_path / "m.onnx")


def test_a_file_of_very_many_fields_is_left_to_protobuf() -> None:
    fields = b"\x08\x00" * (MAX_FIELDS + 1)
    with pytest.raises(ValueError, match="fields"):
        without_tensors(fields)


def test_what_a_caller_freezes_stays_the_callers() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    made = model(nodes, [])
    made.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [SIZE, SIZE]))
    given = W.copy()
    graph = load(made, constants={"w": given})
    given[...] = 0
    np.testing.assert_array_equal(np.sort(weights(graph)[0], None), np.sort(W, None))


def test_a_model_in_memory_stays_the_callers() -> None:
    made = linear()
    before = made.SerializeToString()
    x = np.ones((1, SIZE), "float32")
    wanted = load(made)(x)[0]
    assert made.SerializeToString() == before
    np.testing.assert_array_equal(load(made)(x)[0], wanted)
