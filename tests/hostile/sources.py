"""Small sound models of many features, and the mutations that make thousands of damaged ones of them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from graphopt.passes import optimize
from graphopt.storage import SUFFIX, to_bytes
from graphopt.testing import random_graph

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
node = helper.make_node


def model(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, Any] | None = None,
    x: Sequence[int | str] = ("N", 4),
    opset: int = 21,
    outputs: Sequence[str] = ("y",),
    **fields: Any,
) -> onnx.ModelProto:
    """A model of an input x and outputs of no known shape."""
    graph = helper.make_graph(
        list(nodes),
        "hostile",
        [helper.make_tensor_value_info("x", FLOAT, list(x))],
        [helper.make_tensor_value_info(o, FLOAT, None) for o in outputs],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10, **fields)


def one(op: str, *constants: Any, x: tuple[int | str, ...] = ("N", 4), **attributes: Any) -> onnx.ModelProto:
    """A model of one operator on x and constants; None leaves an operand out."""
    names = ["x", *(f"c{i}" if c is not None else "" for i, c in enumerate(constants))]
    given = {f"c{i}": c for i, c in enumerate(constants) if c is not None}
    return model([node(op, names, ["y"], "bad", **attributes)], given, x)


def body(nodes: Sequence[onnx.NodeProto], inputs: Sequence[Any] = (), outputs: Sequence[str] = ("b",)) -> Any:
    return helper.make_graph(
        list(nodes), "body", list(inputs), [helper.make_tensor_value_info(o, FLOAT, None) for o in outputs]
    )


def own(name: str, *calls: str) -> onnx.FunctionProto:
    """A function that calls others, one after the other."""
    names = ["a", *(f"t{i}" for i in range(len(calls) - 1)), "b"]
    nodes = [node(c, [names[i]], [names[i + 1]], domain="" if c == "Relu" else "own") for i, c in enumerate(calls)]
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
    return helper.make_function("own", name, ["a"], ["b"], nodes, imports)


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def cnn() -> onnx.ModelProto:
    return model(
        [
            node("Conv", ["x", "w", "b"], ["c"], "conv", strides=[2, 1], pads=[1, 1, 1, 1], group=2),
            node("BatchNormalization", ["c", "s", "s", "s", "s"], ["n"], "norm"),
            node("Relu", ["n"], ["r"]),
            node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
            node("Flatten", ["p"], ["f"]),
            node("Gemm", ["f", "g"], ["y"], transB=1, alpha=0.5),
        ],
        {"w": floats(4, 1, 3, 3), "b": floats(4), "s": np.abs(floats(4)) + 1, "g": floats(3, 24)},
        ("N", 2, 8, 5),
    )


def shapes() -> onnx.ModelProto:
    return model(
        [
            node("Shape", ["x"], ["s"]),
            node("Gather", ["s", "zero"], ["n"], axis=0),
            node("Concat", ["n", "rest"], ["shape"], axis=0),
            node("Reshape", ["x", "shape"], ["r"]),
            node("Resize", ["r", "", "scales"], ["z"], mode="nearest", nearest_mode="floor"),
            node("Pad", ["z", "pads"], ["p"], mode="constant"),
            node("Slice", ["p", "starts", "ends", "axes"], ["c"]),
            node("Tile", ["c", "repeats"], ["t"]),
            node("ConstantOfShape", ["rest"], ["k"], value=numpy_helper.from_array(np.ones(1, np.float32))),
            node("Expand", ["t", "wide"], ["e"]),
            node("ReduceMean", ["e", "axes"], ["m"]),
            node("TopK", ["m", "one"], ["y", "i"]),
        ],
        {
            "zero": np.array([0]),
            "rest": np.array([1, 2, 2]),
            "scales": np.array([1, 1, 2, 2], np.float32),
            "pads": np.array([0, 0, 1, 0, 0, 0, 0, 1]),
            "starts": np.array([1]),
            "ends": np.array([4]),
            "axes": np.array([2]),
            "repeats": np.array([1, 2, 1, 1]),
            "wide": np.array([1, 1, 1, 1]),
            "one": np.array([1]),
        },
    )


def control() -> onnx.ModelProto:
    step = [
        helper.make_tensor_value_info("i", INT64, []),
        helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        helper.make_tensor_value_info("v", FLOAT, None),
    ]
    loop = body([node("Add", ["v", "x"], ["o"]), node("Identity", ["go"], ["again"])], step, ("again", "o"))
    return model(
        [
            node("If", ["yes"], ["a"], then_branch=body([node("Relu", ["x"], ["b"])]), else_branch=body([])),
            node("Loop", ["three", "yes", "a"], ["l"], body=loop),
            node("LSTM", ["seq", "w", "r"], ["y"], hidden_size=1),
            node("Square", ["l"], ["q"], domain="own"),
        ],
        {
            "yes": np.array(True),
            "three": np.array(3),
            "seq": floats(2, 1, 3),
            "w": floats(1, 4, 3),
            "r": floats(1, 4, 1),
        },
        outputs=("y", "q"),
        functions=[
            helper.make_function(
                "own", "Square", ["a"], ["b"], [node("Mul", ["a", "a"], ["b"])], [helper.make_opsetid("", 21)]
            )
        ],
    )


def sources() -> dict[str, bytes]:
    """The sound models, as files, by name; the suffix tells the format."""
    made = {f"{make.__name__}.onnx": make().SerializeToString() for make in (cnn, shapes, control)}
    made |= {f"drawn_{seed}.gopt": to_bytes(optimize(random_graph(seed))) for seed in (3, 7)}
    return made


Mutation = Callable[[random.Random, bytearray], bytes]


def truncate(chance: random.Random, data: bytearray) -> bytes:
    return bytes(data[: chance.randrange(len(data))])


def flip(chance: random.Random, data: bytearray) -> bytes:
    for _ in range(chance.choice([1, 1, 2, 8])):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def overwrite(chance: random.Random, data: bytearray) -> bytes:
    data[chance.randrange(len(data))] = chance.choice([0, 1, 0x7F, 0x80, 0xFF])
    return bytes(data)


def drop(chance: random.Random, data: bytearray) -> bytes:
    at = chance.randrange(len(data))
    del data[at : at + chance.choice([1, 2, 4, 16])]
    return bytes(data)


def repeat(chance: random.Random, data: bytearray) -> bytes:
    at, size = chance.randrange(len(data)), chance.choice([1, 4, 16, 64])
    return bytes(data[: at + size] + data[at:])


def enlarge(chance: random.Random, data: bytearray) -> bytes:
    """A byte becomes the largest, or a huge, varint."""
    at = chance.randrange(len(data))
    data[at : at + 1] = chance.choice([b"\xff" * 9 + b"\x01", b"\xff\xff\xff\xff\x7f", b"\x80\x80\x80\x80\x20"])
    return bytes(data)


EXTREMES = (0, -1, 1, 2**16, 2**31, 2**33, 2**62, -(2**63))
OPERATORS = sorted({schema.name for schema in onnx.defs.get_all_schemas()})


def rewrite_onnx(chance: random.Random, data: bytearray) -> bytes:
    """A model that is well-formed as a message, with another operator, operand, attribute, dimension or integer."""
    made = onnx.ModelProto.FromString(bytes(data))
    for _ in range(chance.choice([1, 1, 2, 4])):
        chosen = chance.choice(made.graph.node)
        tensor = chance.choice(made.graph.initializer)
        names = [t.name for t in made.graph.initializer] + [o for n in made.graph.node for o in n.output] + ["x", ""]
        match chance.randrange(6):
            case 0:
                chosen.op_type = chance.choice(OPERATORS)
            case 1:
                chosen.input[chance.randrange(len(chosen.input))] = chance.choice(names)
            case 2 if chosen.attribute:
                attribute = chance.choice(chosen.attribute)
                attribute.i, attribute.f = chance.choice(EXTREMES), chance.choice([0.0, 1e30, float("nan")])
                if attribute.ints:
                    attribute.ints[chance.randrange(len(attribute.ints))] = chance.choice(EXTREMES)
            case 3 if tensor.dims:
                tensor.dims[chance.randrange(len(tensor.dims))] = chance.choice(EXTREMES)
            case 4 if tensor.data_type == INT64:
                values = np.frombuffer(tensor.raw_data, np.int64).copy()
                values[chance.randrange(values.size)] = chance.choice(EXTREMES)
                tensor.raw_data = values.tobytes()
            case _:
                dims = made.graph.input[0].type.tensor_type.shape.dim
                dims[chance.randrange(len(dims))].dim_value = chance.choice(EXTREMES)
    return made.SerializeToString()


def rewrite_stored(chance: random.Random, data: bytearray) -> bytes:
    """A stored graph with other numbers, names or marks in its text."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8 : 8 + length]))
    tokens = re.split(r"([\w.]+|\W)", header["__metadata__"]["graph"])
    for _ in range(chance.choice([1, 1, 2, 4])):
        at = chance.randrange(len(tokens))
        numbers = [i for i, t in enumerate(tokens) if re.fullmatch(r"-?[\d.]+", t)]
        if chance.random() < 0.5 and numbers:
            tokens[chance.choice(numbers)] = str(chance.choice([*EXTREMES, "N", "2*N", "inf", "nan", 0.5]))
        else:
            tokens[at] = chance.choice([*tokens, "(", "}", '"', "graph", "N"])
    header["__metadata__"]["graph"] = "".join(tokens)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(data[8 + length :])


MUTATIONS: tuple[Mutation, ...] = (truncate, flip, flip, overwrite, drop, repeat, enlarge)


def mutant(seed: int, known: dict[str, bytes]) -> tuple[str, bytes]:
    """A file name and a damaged model."""
    chance = random.Random(seed)
    name = chance.choice(sorted(known))
    rewrites = rewrite_stored if name.endswith(SUFFIX) else rewrite_onnx
    mutation = rewrites if chance.random() < 0.5 else chance.choice(MUTATIONS)
    return f"{seed}_{name}", mutation(chance, bytearray(known[name]))
