"""Elementary functions, softmax and layer norm in float32: nanoseconds an element, beside ONNX Runtime and numpy.

    python benchmarks/functions.py [TARGET] [--json]

One thread, process CPU time, medians of calls that alternate in one process.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

import graphopt
from graphopt import ops
from graphopt.ir import Array, Graph, Op, Value, arg, constant

COUNT, CALLS, ROUNDS = 37_824, 4, 60
UNARY: dict[str, tuple[Op, str, dict[str, Any], Callable[[Array], Array] | None]] = {
    "cos": (ops.Cos(), "Cos", {}, np.cos),
    "exp": (ops.Exp(), "Exp", {}, np.exp),
    "log": (ops.Log(), "Log", {}, np.log),
    "sigmoid": (ops.Sigmoid(), "Sigmoid", {}, lambda x: 1 / (1 + np.exp(-x))),
    "sin": (ops.Sin(), "Sin", {}, np.sin),
    "silu": (ops.Silu(), "Swish", {}, lambda x: x / (1 + np.exp(-x))),
    "tanh": (ops.Tanh(), "Tanh", {}, np.tanh),
    "erf": (ops.Erf(), "Erf", {}, None),
    "gelu": (ops.Gelu(), "Gelu", {}, None),
    "gelu by tanh": (ops.Gelu(tanh=True), "Gelu", {"approximate": "tanh"}, None),
    "softplus": (ops.Softplus(), "Softplus", {}, None),
    "mish": (ops.Mish(), "Mish", {}, None),
    "elu": (ops.Elu(), "Elu", {}, None),
}
"""By name: the operator, ONNX's and its attributes, and numpy's function."""


def peer(operator: str, attributes: Mapping[str, Any], x: Array, parameters: Mapping[str, Array]) -> Callable[[], Any]:
    """A call of ONNX Runtime on one thread, without copies."""
    names = ["x", *parameters]
    if operator == "Swish":
        nodes = [helper.make_node("Sigmoid", ["x"], ["s"]), helper.make_node("Mul", ["x", "s"], ["y"])]
    else:
        nodes = [helper.make_node(operator, names, ["y"], **attributes)]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, x.shape) for name in ("x", "y")]
    weights = [numpy_helper.from_array(data, name) for name, data in parameters.items()]
    graph = helper.make_graph(nodes, "graph", ports[:1], ports[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(x))
    binding.bind_ortvalue_output("y", onnxruntime.OrtValue.ortvalue_from_numpy(np.empty_like(x)))
    return lambda: session.run_with_iobinding(binding)


def nanoseconds(calls: Mapping[str, Callable[[], Any]], elements: int) -> dict[str, float]:
    """The median time of an element by each of some calls, which alternate."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            started = time.process_time_ns()
            for _ in range(CALLS):
                call()
            times[name].append((time.process_time_ns() - started) / CALLS / elements)
    return {name: statistics.median(found) for name, found in times.items()}


def measured(
    target: str,
    made: Callable[[Value], Value],
    x: Array,
    operator: str,
    attributes: Mapping[str, Any],
    numpy: Callable[[Array], Array] | None = None,
    parameters: Mapping[str, Array] | None = None,
) -> dict[str, float]:
    value = arg("x", "float32", x.shape)
    session = graphopt.compile(Graph((value,), (made(value),)), target).session()
    y = np.empty_like(x)
    calls = {
        "graphopt": lambda: session.run(x, out=y),
        "ONNX Runtime": peer(operator, attributes, x, parameters or {}),
        **({"numpy": lambda: numpy(x)} if numpy else {}),
    }
    return nanoseconds(calls, x.size)


def rows(target: str) -> dict[str, dict[str, float]]:
    rng = np.random.default_rng(0)
    x = (2 * rng.normal(size=(1, COUNT))).astype(np.float32)
    found = {
        name: measured(target, op, np.abs(x) if name == "log" else x, operator, attributes, numpy)
        for name, (op, operator, attributes, numpy) in UNARY.items()
    }
    scores = (3 * rng.normal(size=(1, 3, 197, 197))).astype(np.float32)
    found["softmax, rows of 197"] = measured(target, ops.Softmax(), scores, "Softmax", {"axis": -1})
    tokens = rng.normal(size=(1, 197, 192)).astype(np.float32)
    parameters = {name: rng.normal(size=192).astype(np.float32) for name in ("scale", "bias")}

    def norm(value: Value) -> Value:
        return ops.LayerNorm()(value, *map(constant, parameters.values()))

    found["layer norm, rows of 192"] = measured(
        target, norm, tokens, "LayerNormalization", {"axis": -1}, parameters=parameters
    )
    return found


def main(arguments: list[str]) -> None:
    target = next((word for word in arguments if not word.startswith("-")), "host")
    found = rows(target)
    if "--json" in arguments:
        print(json.dumps(found, indent=1))
        return
    peers = ("graphopt", "ONNX Runtime", "numpy")
    table = Table(title=f"nanoseconds an element, {target}, one thread")
    table.add_column("function")
    for column in (*peers, "ONNX Runtime / graphopt"):
        table.add_column(column, justify="right")
    for name, row in found.items():
        times = (f"{row[p]:.2f}" if p in row else "" for p in peers)
        table.add_row(name, *times, f"{row['ONNX Runtime'] / row['graphopt']:.2f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
