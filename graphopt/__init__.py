"""graphopt: a compiler that turns a trained network into small, fast, proven code for the edge.

    graph = graphopt.trace(model, example_inputs)   # or graphopt.load("model.onnx")
    small = graphopt.optimize(graph)                # or Pipeline([FoldBatchNorm(), Fuse()])(graph)
    program = graphopt.compile(small, target="cortex-m4")
    y = program.run(x)
    program.save("firmware/")

Names are imported when first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphopt.errors import GraphoptError as GraphoptError
    from graphopt.evaluation import compare as compare
    from graphopt.evaluation import evaluate as evaluate
    from graphopt.exporters import save as save
    from graphopt.exporters import to_onnx as to_onnx
    from graphopt.exporters import to_torch as to_torch
    from graphopt.exporters import with_parameters as with_parameters
    from graphopt.frontends import load as load
    from graphopt.frontends import trace as trace
    from graphopt.ir import Graph as Graph
    from graphopt.ir import bind_batch as bind_batch
    from graphopt.ir import parse as parse
    from graphopt.ir import verify as verify
    from graphopt.passes import Pipeline as Pipeline
    from graphopt.passes import analyze_quantization as analyze_quantization
    from graphopt.passes import analyze_sensitivity as analyze_sensitivity
    from graphopt.passes import optimize as optimize
    from graphopt.plugins import load_plugins as load_plugins
    from graphopt.runtime import Program as Program
    from graphopt.targets import Port as Port
    from graphopt.targets import Target as Target
    from graphopt.targets import compile as compile
    from graphopt.targets import cost as cost
    from graphopt.targets import get_target as get_target

    __version__: str

PUBLIC = {
    "Graph": "graphopt.ir",
    "GraphoptError": "graphopt.errors",
    "Pipeline": "graphopt.passes",
    "Port": "graphopt.targets",
    "Program": "graphopt.runtime",
    "Target": "graphopt.targets",
    "analyze_quantization": "graphopt.passes",
    "analyze_sensitivity": "graphopt.passes",
    "bind_batch": "graphopt.ir",
    "compare": "graphopt.evaluation",
    "compile": "graphopt.targets",
    "cost": "graphopt.targets",
    "evaluate": "graphopt.evaluation",
    "get_target": "graphopt.targets",
    "load": "graphopt.frontends",
    "load_plugins": "graphopt.plugins",
    "optimize": "graphopt.passes",
    "parse": "graphopt.ir",
    "save": "graphopt.exporters",
    "to_onnx": "graphopt.exporters",
    "to_torch": "graphopt.exporters",
    "trace": "graphopt.frontends",
    "verify": "graphopt.ir",
    "with_parameters": "graphopt.exporters",
}
"""The package of each public name."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("graphopt")
    if name not in PUBLIC:
        raise AttributeError(f"module 'graphopt' has no attribute {name!r}")
    return getattr(importlib.import_module(PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*PUBLIC, "__version__"])
