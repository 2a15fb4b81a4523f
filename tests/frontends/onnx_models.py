"""ONNX models of a few nodes, and their comparison with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from oracle import session

from graphopt.frontends import load
from graphopt.ir import Batch, Graph, parse, print_graph

FLOAT = TensorProto.FLOAT


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-2, 2, shape).astype(np.float32)


def make(
    nodes: Sequence[onnx.NodeProto],
    shapes: dict[str, Sequence[int | str | None]],
    constants: dict[str, Any] | None = None,
    opset: int = 17,
    outputs: Sequence[str] = ("y",),
) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in shapes.items()]
    results = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(nodes, "net", inputs, results, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def feeds(graph: Graph, batch: int) -> dict[str, np.ndarray]:
    shapes = [[d.factor * batch if isinstance(d, Batch) else d for d in v.type.shape] for v in graph.inputs]
    names = [graph.names[v.node] for v in graph.inputs]
    return {n: floats(*s, seed=i + batch) for i, (n, s) in enumerate(zip(names, shapes, strict=True))}


def compare(graph: Graph, source: bytes | str, batches: Sequence[int] = (1, 3)) -> None:
    """The graph equals ONNX Runtime at each batch."""
    reference = session(source)
    for batch in batches if graph.is_symbolic else [1]:
        given = feeds(graph, batch)
        expected = reference.run(list(graph.output_names), given)
        for a, b in zip(graph(*given.values()), expected, strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
            assert np.abs(a - b.astype(np.float64)).max() <= 1e-5 * max(np.abs(b).max(), 1e-30)


def check(model: onnx.ModelProto) -> Graph:
    graph = load(model)
    compare(graph, model.SerializeToString())
    assert print_graph(parse(print_graph(graph), graph.constants)) == print_graph(graph)
    return graph


def node(op: str, inputs: Sequence[str] = ("x",), outputs: Sequence[str] = ("y",), **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs, outputs, name=f"the_{op}", **attributes)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


IMAGE = ("N", 4, 8, 8)
Case = tuple[onnx.NodeProto, dict[str, Any], int]
W = floats(6, 4, 3, 3)


def flattening(*rest: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Shape -> Gather -> Unsqueeze -> Concat -> Reshape, as exporters write ``x.view(x.size(0), -1)``."""
    return [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Constant", [], ["zero"], value=numpy_helper.from_array(np.int64(0))),
        helper.make_node("Gather", ["shape", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["row"]),
        helper.make_node("Concat", ["row", "minus"], ["target"], axis=0),
        *rest,
    ]
