"""Other tools that run the same graphs on this machine, on one thread each; what is not installed is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

import graphopt
from graphopt.ir import Array, Graph

Call = Callable[[], object]


def onnx_runtime(graph: Graph, inputs: list[Array]) -> tuple[Call, list[Array]]:
    """ONNX Runtime at its default level: a call, and what it gives."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    made = onnxruntime.InferenceSession(graphopt.to_onnx(graph).SerializeToString(), options)
    given = {port.name: x for port, x in zip(made.get_inputs(), inputs, strict=True)}
    return lambda: made.run(None, given), [np.asarray(y) for y in made.run(None, given)]


def openvino(graph: Graph, inputs: list[Array]) -> tuple[Call, list[Array]]:
    """OpenVINO, its floats in float32: by default it takes bfloat16 where the processor has it."""
    import openvino as ov

    core = ov.Core()
    model = core.read_model(graphopt.to_onnx(graph).SerializeToString())
    settings = {
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    given = dict(enumerate(inputs))

    def call() -> object:
        return request.infer(given, share_inputs=True, share_outputs=True)

    call()
    return call, [np.array(y.data) for y in request.output_tensors]


def torch_compile(module: torch.nn.Module, inputs: list[Array]) -> tuple[Call, list[Array]]:
    """The module by ``torch.compile``, its weights frozen."""
    compiled = torch.compile(module, options={"freezing": True})
    given = [torch.from_numpy(x) for x in inputs]

    @torch.no_grad()
    def call() -> object:
        return compiled(*given)

    results = call()
    return call, [y.numpy() for y in (results if isinstance(results, tuple) else (results,))]


def lite_rt(file: Path, inputs: list[Array]) -> tuple[Call, list[Array]]:
    """LiteRT with its default kernels, XNNPACK where they apply: a call, and what it gives."""
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(model_path=str(file), num_threads=1)
    made.allocate_tensors()
    for port, x in zip(made.get_input_details(), inputs, strict=True):
        made.set_tensor(port["index"], x)
    made.invoke()
    return made.invoke, [made.get_tensor(port["index"]) for port in made.get_output_details()]


PEERS: dict[str, Callable[[Graph, list[Array]], tuple[Call, list[Array]]]] = {
    "ONNX Runtime": onnx_runtime,
    "OpenVINO": openvino,
}
PACKAGES = {"ONNX Runtime": "onnxruntime", "OpenVINO": "openvino"}
"""Of the peers that run any graph."""


def versions(packages: Mapping[str, str] = PACKAGES) -> dict[str, str]:
    """The versions of those that are installed, by their names here."""
    found = {}
    for name, package in packages.items():
        try:
            found[name] = version(package)
        except ImportError:
            continue
    return found
